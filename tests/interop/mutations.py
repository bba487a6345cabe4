"""Weight files, damaged at random or on purpose. The same seed gives the same files."""

import io
import json
import re
import warnings
import zipfile

import numpy as np
from safetensors.numpy import save as encode

ODD_NUMBERS = ["-1", "0", "1", "3", "4.0", "1e400", "true", "null", '"2"', "[]", "{}", "9" * 25, "9" * 5000,
               str(2**31), str(2**40), str(2**62), str(2**63), str(2**64)]  # fmt: skip
ODD_TYPES = ["BF16", "F8_E4M3", "F16", "F64", "BOOL", "C64", "I64", "X", ""]
ODD_DESCRS = ["|O", "<f8", ">f4", "<f2", "<i4", "|u1", "|V4", "<U3", "<f16", "<f3", "<M8[s]", "f4", "<c8", "|b1"]
ODD_SHAPES = ["()", "(-1,)", f"({2**40},)", f"({2**62}, 4)", "(0, 5)", "(4,", "(4, x)", "4", f"({'1, ' * 70})",
              f"({'9' * 30},)"]  # fmt: skip
ODD_NAMES = [
    "../../etc/passwd",
    "/fc.weight.npy",
    "C:\\fc.weight.npy",
    ".npy",
    "fc.weight",
    "fc.weight.npy\0x",
    "é\n.npy",
]


def as_safetensors(arrays):
    return encode(arrays)


def as_npz(arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def flipped(rng, content, places):
    """Change a few bytes at positions drawn from ``places``."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        content[places[rng.integers(len(places))]] ^= int(rng.integers(1, 256))
    return bytes(content)


def cut(rng, content):
    """Cut or extend an end, or remove or repeat something in the middle."""
    first, second = sorted(rng.integers(0, len(content) + 1, 2))
    return [
        content[:first], content[first:], content + content[first:second], content[:first] + content[second:],
        content[:second] + content[first:],
    ][rng.integers(5)]  # fmt: skip


def with_header(header, body):
    header = header.encode("utf-8", "surrogatepass")
    return len(header).to_bytes(8, "little") + header + body


def mutated_safetensors(rng, content):
    start = 8 + int.from_bytes(content[:8], "little")
    header, body = content[8:start].decode(), content[start:]
    numbers = list(re.finditer(r"\d+", header))
    number = numbers[rng.integers(len(numbers))]
    odd = ODD_NUMBERS[rng.integers(len(ODD_NUMBERS))]
    entries = json.loads(header)
    first, second = rng.permutation([name for name in entries if name != "__metadata__"])[:2]
    kind = rng.integers(10)
    if kind == 0:
        return flipped(rng, content, range(len(content)))
    if kind == 1:
        return flipped(rng, content, range(8, start))
    if kind == 2:
        return cut(rng, content)
    if kind == 3:
        return int(rng.choice([0, 1, start, 2**20, 2**31, 2**40, 2**63 - 1])).to_bytes(8, "little") + content[8:]
    if kind == 4:
        return with_header(header[: number.start()] + odd + header[number.end() :], body)
    if kind == 5:  # a name twice
        return with_header(header.replace(f'"{first}"', f'"{second}"'), body)
    if kind == 6:
        entries[first]["dtype"] = ODD_TYPES[rng.integers(len(ODD_TYPES))]
        return with_header(json.dumps(entries), body)
    if kind == 7:  # two overlap, or a gap
        entries[first]["data_offsets"] = [int(n) + int(rng.integers(-8, 9)) for n in entries[second]["data_offsets"]]
        return with_header(json.dumps(entries), body)
    if kind == 8:  # a valid file of another network
        entries[first]["shape"].reverse()
        return with_header(json.dumps(entries), body)
    junk = ["[" * 100_000, '{"a":' * 50_000, "", "[]", "null", '{"__metadata__": 3}', "\ud800",
            header + " " * 2**22]  # fmt: skip
    return with_header(junk[rng.integers(len(junk))], body)


def npy(array, descr=None, shape=None):
    """A .npy file whose header makes false claims."""
    file = io.BytesIO()
    np.lib.format.write_array(file, array)
    content = file.getvalue()
    header, body = (
        content[10 : 10 + int.from_bytes(content[8:10], "little")].decode(),
        content[10:][len(content[10:]) - array.nbytes :],
    )
    if descr is not None:
        header = re.sub(r"'<f4'", repr(descr), header)
    if shape is not None:
        header = re.sub(r"\(.*?\)", lambda _: shape, header)
    return content[:8] + len(header).to_bytes(2, "little") + header.encode() + body


def mutated_npz(rng, content):
    members = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in archive.namelist():
            members[name] = np.load(io.BytesIO(archive.read(name)))
    names = list(members)
    name = names[rng.integers(len(names))]
    files = {key: npy(array) for key, array in members.items()}
    kind = rng.integers(10)
    if kind == 0:
        return flipped(rng, content, range(len(content)))
    if kind == 1:
        return flipped(rng, content, range(content.index(b"PK\1\2"), len(content)))
    if kind == 2:
        return cut(rng, content)
    if kind == 3:
        files[name] = npy(members[name], descr=ODD_DESCRS[rng.integers(len(ODD_DESCRS))])
    if kind == 4:
        files[name] = npy(members[name], shape=ODD_SHAPES[rng.integers(len(ODD_SHAPES))])
    if kind == 5:
        files[name] = flipped(rng, files[name], range(len(files[name])))
    if kind == 6:
        files[name] = cut(rng, files[name])
    if kind == 7:
        files[ODD_NAMES[rng.integers(len(ODD_NAMES))]] = files.pop(name)
    if kind == 8:
        array = np.array([object], object) if rng.integers(2) else np.zeros(2, "f4,i4")
        file = io.BytesIO()
        np.save(file, array, allow_pickle=True)
        files[name] = file.getvalue()
    packed = zipped([*files.items(), *([(name, files[name])] if kind == 9 else [])], rng.choice([0, 8, 12]))
    if rng.integers(4) == 0:  # the flag of a member says that it is encrypted
        packed = bytearray(packed)
        packed[packed.index(b"PK\1\2") + 8] |= 1
    return bytes(packed)


def zipped(files, method=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", int(method)) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that occurs twice
        for name, content in files:
            archive.writestr(name, content)
    return file.getvalue()
