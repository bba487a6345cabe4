"""Parameter names of other code are translated, and what does not fit is reported before anything changes."""

import os

import numpy as np
import pytest
from mutations import as_npz, as_safetensors, npy, zipped

import minires as mr
from minires.errors import ArgumentError, DataError, StateDictError
from minires.interop import load_weights


def resnet(**options):
    return mr.models.resnet8(**{"shortcut": "B", **options})


def write(tmp_path, arrays, encode=as_safetensors):
    path = tmp_path / "weights"
    path.write_bytes(encode(arrays))
    return path


def theirs(rng, model, prefix="", fc="fc", downsample="downsample"):
    """Weights under the names of other code, with the counters that PyTorch adds."""
    arrays = {}
    for name, array in model.state_dict().items():
        name = prefix + name.replace("fc", fc).replace("downsample", downsample)
        arrays[name] = rng.standard_normal(array.shape).astype("f")
        if name.endswith("running_mean"):
            arrays[name.replace("running_mean", "num_batches_tracked")] = np.array(7)
    return arrays


@pytest.mark.parametrize("encode", [as_safetensors, as_npz])
@pytest.mark.parametrize(
    "names",
    [
        {},
        {"prefix": "module."},
        {"fc": "linear", "downsample": "shortcut"},
        {"prefix": "_orig_mod.module.", "fc": "linear"},
        {"prefix": "model.", "downsample": "shortcut"},
        {"prefix": "net.", "fc": "classifier"},
        {"prefix": "module.backbone.", "fc": "head"},
    ],
)
def test_names_of_other_code(tmp_path, rng, names, encode):
    model = resnet()
    arrays = theirs(rng, model, **names)
    load_weights(model, write(tmp_path, arrays, encode))
    state = model.state_dict()
    kept = [array for name, array in arrays.items() if "num_batches" not in name]
    assert len(kept) == len(state)
    for array, loaded in zip(kept, state.values(), strict=True):
        np.testing.assert_array_equal(loaded, array)


def test_names_that_the_model_has_are_taken_as_they_are(tmp_path, rng):
    class Net(mr.nn.Module):
        def __init__(self):
            self.model = mr.nn.Linear(2, 3)
            self.linear = mr.nn.Linear(3, 1)

    arrays = {name: rng.standard_normal(array.shape).astype("f") for name, array in Net().state_dict().items()}
    net = Net()
    load_weights(net, write(tmp_path, arrays))
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, arrays[name])


MISFITS = [
    (lambda a: a.pop("conv1.weight"), "missing conv1.weight; left over none"),
    (lambda a: a.update(extra=np.zeros(2, "f")), "left over extra; of another shape or type none"),
    (lambda a: a.update({"fc.weight": np.zeros((7, 64), "f")}), r"shape or type fc.weight \(7x64 for 10x64\)"),
    (lambda a: a.update({"fc.bias": np.zeros(7, "f")}), r"The file holds a network with 7 classes: num_classes=7\."),
    (lambda a: a.update({"fc.bias": np.zeros((), "f")}), r"fc.bias \(scalar for 10\)\.$"),
    (lambda a: a.update({"conv1.weight": np.zeros((16, 1, 3, 3), "f")}), r"1 input channels: in_channels=1\."),
    (lambda a: a.update({"fc.bias": np.zeros(10, "i4")}), r"fc.bias \(int32 for float32\)"),
    (lambda a: a.update({"module.fc.bias": a["fc.bias"]}), r"has fc.bias and module.fc.bias, both for fc.bias\."),
    (lambda a: [a.pop(n) for n in list(a) if "downsample" in n], r"without projections: another shortcut option"),
    (lambda a: [a.update({f"x.{n}": a.pop(n)}) for n in list(a)], r"Without the prefix 'x.', its names fit"),
    (lambda a: a.update({"layer1.1.conv1.weight": np.zeros(2, "f")}), r"Is it a network of another depth\?"),
]


@pytest.mark.parametrize(("change", "words"), MISFITS)
def test_nothing_changes_if_anything_does_not_fit(tmp_path, rng, change, words):
    model = resnet()
    before = model.state_dict()
    arrays = theirs(rng, model)
    change(arrays)
    with pytest.raises(StateDictError, match=words) as caught:
        load_weights(model, write(tmp_path, arrays))
    assert "\n" not in str(caught.value)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_projections_that_the_model_has_not(tmp_path, rng):
    path = write(tmp_path, theirs(rng, resnet(), downsample="shortcut"))
    with pytest.raises(StateDictError, match=r"left over layer2.0.shortcut.0.weight, .* with projections"):
        load_weights(resnet(shortcut="A"), path)


def test_other_precisions(tmp_path):
    """bfloat16 is the upper half of a float32; NumPy has no such numbers, so the bytes are made here."""
    model = mr.nn.Linear(3, 1)
    values = np.array([[1.5, -3.0e38, 2.0**-130]], "f")
    halves = (values.view("u4") >> 16).astype("u2")
    assert (values[0, 0], values[0, 2]) == tuple((halves.astype("u4") << 16).view("f")[0, [0, 2]])  # exact in 8 bits
    content = as_safetensors({"weight": halves, "bias": np.zeros(1, "f2")}).replace(b'"U16"', b'"BF16"')
    header = content[8 : 8 + int.from_bytes(content[:8], "little")].rstrip()
    path = tmp_path / "weights"
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[-8:])
    load_weights(model, path)
    np.testing.assert_array_equal(model.weight.numpy().view("u4") >> 16, halves)
    assert not (model.weight.numpy().view("u4") & 0xFFFF).any() and model.weight.dtype == np.float32
    load_weights(model, write(tmp_path, {"weight": np.asfortranarray(values.astype(">f8")), "bias": [0.5]}, as_npz))
    np.testing.assert_array_equal(model.weight.numpy(), values)
    with pytest.raises(DataError, match="entry 'bias' holds numbers too large for float32"):
        load_weights(model, write(tmp_path, {"weight": values, "bias": np.array([1e300])}))


BAD_ZIPS = [
    (
        zipped([("a.npy", npy(np.zeros(2, "f"), descr="|O"))]),
        r"member 'a.npy' does not have the header of an array of numbers, but {'descr': '\|O'",
    ),
    (zipped([("a.npy", npy(np.zeros(2, "f"), shape="(3,)"))]), "needs 12 bytes for its shape, but 8 follow"),
    (zipped([("a.npy", npy(np.zeros(2, "f"))), ("a.npy", npy(np.zeros(2, "f")))]), "member 'a' occurs twice"),
    (zipped([("a.npy", b"text")]), "member 'a.npy' is not an array"),
    (zipped([("a.npy", npy(np.zeros(2, "f"), shape=f"({' ' * 20_000}2,)"))]), "does not have the header of an array"),
    (zipped([("a.npy", npy(np.zeros(2, "f")))], 14), "compressed in a way that NumPy does not write"),
    (zipped([("a.npy", npy(np.zeros(2, "f")))])[:-30], "its end is missing"),
    (zipped([("a" * 60_000 + str(n), b"") for n in range(60)]), "its directory is longer than 3145728 bytes"),
]


@pytest.mark.parametrize(("content", "words"), BAD_ZIPS)
def test_a_bad_npz_is_one_sentence(tmp_path, content, words):
    path = tmp_path / "weights.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        load_weights(mr.nn.Linear(2, 1), path)
    assert str(caught.value).startswith(f"load_weights: {path} cannot be read as weights: ")


@pytest.mark.parametrize("content", [zipped([("archive/data.pkl", b"")]), b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."])
def test_a_pickle_is_refused_with_the_way_out(tmp_path, content):
    path = tmp_path / "resnet.pth"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"is a pickle, which can run code .* convert it where PyTorch is: safetensors"):
        load_weights(mr.nn.Linear(2, 1), path)


def test_what_is_no_file_or_no_module(tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        load_weights(mr.nn.Linear(2, 1), tmp_path / "missing")
    with pytest.raises(DataError, match="it is not a file"):
        load_weights(mr.nn.Linear(2, 1), tmp_path)
    with pytest.raises(ArgumentError, match="model is dict"):
        load_weights({}, tmp_path)


@pytest.mark.parity
def test_the_conversion_that_the_error_names(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    theirs = torch.nn.Linear(3, 2)
    for new in (True, False):
        torch.save(theirs.state_dict(), tmp_path / "net.pth", _use_new_zipfile_serialization=new)
        with pytest.raises(DataError, match="is a pickle"):
            load_weights(mr.nn.Linear(3, 2), tmp_path / "net.pth")
    save_file(torch.load(tmp_path / "net.pth", weights_only=True), os.fspath(tmp_path / "weights.safetensors"))
    model = mr.nn.Linear(3, 2)
    load_weights(model, tmp_path / "weights.safetensors")
    np.testing.assert_array_equal(model.weight.numpy(), theirs.weight.detach().numpy())
