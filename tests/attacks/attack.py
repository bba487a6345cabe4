"""``python attack.py files|pickles|servers FOLDER [SEED]``: attack minires, and print what happened as JSON.

An attack may end well or with a named error. Its message is printable, of a bounded length, and ends with a full stop.
"""

import json
import re
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

import minires as mr
from minires.errors import LONGEST, MiniresError

SECONDS = 20  # for one attack, to find what hangs


class Log:
    def __init__(self):
        self.outcomes, self.failures = Counter(), []

    def attempt(self, name, function, *arguments):
        """Call the function, and note its outcome. Return whether it ended without an error."""
        start = time.perf_counter()
        try:
            function(*arguments)
            outcome = "none"
        except MiniresError as error:
            outcome, text = type(error).__name__, str(error)
            if not text.isprintable() or len(text) > LONGEST or not text.endswith("."):
                self.failures.append(f"{name}: {text!r}")
        except BaseException as error:
            outcome = "wrong"
            self.failures.append(f"{name}: {type(error).__name__}: {error!s:.300}")
        if time.perf_counter() - start > SECONDS:
            self.failures.append(f"{name}: {time.perf_counter() - start:.0f} seconds")
        self.outcomes[outcome] += 1
        return outcome == "none"


def files(log, root, seed=23):
    from damage import KINDS, kinds_in
    from PIL import Image

    for i in range(10):
        (root / "own" / "p").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (i, 0, 0)).save(root / "own" / "p" / f"{i}.png")
    digits = mr.data.digits()
    splits = [mr.data.Split(split.images[:70], split.labels[:70]) for split in (digits.train, digits.test)]
    few = mr.data.Dataset("digits", digits.classes, *splits)
    mr.data.DATASETS["digits"] = lambda: few
    mr.training.train(mr.training.Config(model="resnet8", epochs=1, out=str(root / "run"), log_gradients=True))
    for number, (kind, (content, damage, read, count)) in enumerate({**KINDS, **kinds_in(root / "run")}.items()):
        rng = np.random.default_rng([seed, number])
        path = root / kind
        path.write_bytes(content)
        if not log.attempt(f"{kind}, whole", read, path):
            log.failures.append(f"{kind}: the whole file is refused")
        for i in range(count):
            path.write_bytes(damage(rng, content))
            log.attempt(f"{kind} {i}", read, path)


def pickles(log, root):
    from damage import LABELS, PIXELS
    from payloads import payloads

    from minires.data.cifar import _read

    for number, payload in enumerate(payloads(PIXELS, LABELS)):
        path = root / "batch"
        path.write_bytes(payload)
        if log.attempt(f"payload {number}", _read, "cifar", root, "batch", 5, 1, b"labels"):
            log.failures.append(f"payload {number} is read")
        path.write_bytes(payload + bytes(max(0, 160_000 - len(payload))))
        for read in (mr.load, lambda path: mr.interop.load_weights(mr.nn.Linear(2, 3), path), mr.data.images.read):
            log.attempt(f"payload {number} as weights or image", read, path)


def servers(log, root):
    from manners import answering, manners, with_length

    from minires.data import fetch
    from minires.data.places import Archive, PublishedFiles

    content = np.random.default_rng(0).bytes(9000)
    packed = fetch.gzip.compress(content)
    sums = {"one": fetch.hashlib.md5(content).hexdigest()}
    archive = Archive("one.gz", fetch.hashlib.md5(packed).hexdigest(), len(packed))
    fetch.TIMEOUT, fetch.PIECE = 0.25, 1000

    def source(*mirrors):
        return PublishedFiles("made-up", "none", "idx", mirrors, (archive,), {"idx": sums})

    with answering(with_length(packed)) as good:
        for number, (name, script) in enumerate(manners(packed).items()):
            with answering(script) as bad:
                part = root / f"{number}" / "idx" / "one.gz.part"
                if number % 3 == 0:  # some of it was there before
                    part.parent.mkdir(parents=True)
                    part.write_bytes(packed[:100])
                log.attempt(f"{name}, alone", fetch.fetch, source(bad), root / f"{number}")
                if not log.attempt(f"{name}, and a good one", fetch.fetch, source(bad, good), root / f"{number} again"):
                    log.failures.append(f"{name} stops the other mirror")
                elif (root / f"{number} again" / "idx" / "one.gz").read_bytes() != packed:
                    log.failures.append(f"{name}: another file")


def most_memory():
    """Return the most memory that this process has used, in MB. ``ru_maxrss`` would include the parent's."""
    status = Path("/proc/self/status")  # Linux only
    return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 1024 if status.exists() else 0


if __name__ == "__main__":
    log, root = Log(), Path(sys.argv[2])
    {"files": files, "pickles": pickles, "servers": servers}[sys.argv[1]](log, root, *map(int, sys.argv[3:]))
    print(json.dumps({"outcomes": log.outcomes, "failures": log.failures, "MB": most_memory()}))
