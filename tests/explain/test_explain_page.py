"""The page: it is one file, names and sources are escaped, and it stays small."""

import base64
import html
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

import minires as mr
from minires.explain import block_loss, step
from minires.explain.page import encode, shown_part


class Reader(HTMLParser):
    """Parse a page as a browser does: its elements, their attributes, and the text of each <script>."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.scripts, self.inside = [], [], None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts[-1] += data

    def handle_endtag(self, tag):
        self.inside = None


def data_of(page):
    return json.loads(Reader(page).scripts[0])


def decoded(encoded):
    """Decode a tensor as the page's script does."""
    low, high = encoded["range"]
    levels = np.frombuffer(base64.b64decode(encoded["bytes"]), np.uint8).astype(float)
    numbers = np.where(levels == 0, np.nan, low + (levels - 1) / 254 * (high - low))
    return numbers.reshape(encoded["shown"])


@pytest.fixture(scope="module")
def example():
    found = block_loss()
    return step(found.loss, found.network, {"x": found.x})


def test_the_page_of_a_block_is_small(example):
    assert len(example.html.encode()) < 300_000


def test_so_is_that_of_a_block_on_a_colour_image_of_32x32(rng):
    block = mr.models.resnet20().layer1[0]
    x = mr.tensor(rng.normal(size=(1, 16, 32, 32)).astype("f"), requires_grad=True)
    stepper = step(block(x).mean(), block)
    assert 150_000 < len(stepper.html.encode()) < 300_000
    cut = data_of(stepper.html)["tensors"][0]
    assert cut["shape"] == [1, 16, 32, 32] and cut["shown"][2:] == [32, 32] and 1 < cut["shown"][1] < 16


def test_nothing_in_it_comes_from_elsewhere(example):
    reader = Reader(example.html)
    addresses = [
        value for _, attributes in reader.elements for key, value in attributes.items() if key in ("src", "href")
    ]
    assert addresses == ["data:,"]
    assert set(re.findall(r"https?://[^\s\"'`]+", example.html)) == {"http://www.w3.org/2000/svg"}
    (policy,) = [a["content"] for _, a in reader.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert len(reader.scripts) == 2


def test_numbers_of_the_page_are_those_of_the_tape(example):
    data = data_of(example.html)
    assert [node["name"] for node in data["nodes"]] == [node.name for node in example.tape.nodes]
    for shown, node in zip(data["nodes"], example.tape.nodes, strict=True):
        for key, array in (("value", node.value), ("gradient", node.gradient)):
            tensor = data["tensors"][shown[key]]
            assert tensor["shape"] == list(array.shape) == tensor["shown"]
            assert tensor["stats"]["norm"] == pytest.approx(np.linalg.norm(array.astype(float)), rel=1e-8)
            step_size = (tensor["range"][1] - tensor["range"][0]) / 254
            assert np.abs(decoded(tensor) - array).max() <= step_size / 2 * (1 + 1e-5)


def test_an_array_is_there_once(example):
    """If only one op sends a gradient to a node, this is the node's gradient."""
    data = data_of(example.html)
    node = next(node for node in data["nodes"] if node["kind"] == "relu")
    sender = data["nodes"][node["arrivals"][-1]["consumer"]]
    assert len(node["arrivals"]) == 2 and sender["inputs"][0]["gradient"] != node["gradient"]
    for node in data["nodes"]:
        if len(node["arrivals"]) == 1:
            arrival = node["arrivals"][0]
            assert data["nodes"][arrival["consumer"]]["inputs"][arrival["input"]]["gradient"] == node["gradient"]


def test_a_class_is_there_once_with_its_textbook(example):
    data = data_of(example.html)
    kinds = {node["kind"] for node in data["nodes"]} - {"leaf"}
    assert len(data["sources"]) == len(kinds)
    relu = data["sources"][next(node["source"] for node in data["nodes"] if node["kind"] == "relu")]
    assert "return array_module(x).maximum(x, 0)" in relu["forward"]["text"]
    assert "return upstream.masked_fill(self.output <= 0, 0)" in relu["backward"]["text"]
    assert re.fullmatch(r"minires/ops/activation.py, line \d+", relu["forward"]["place"])


def test_a_source_that_calls_super_brings_the_class_above(rng):
    bn = mr.nn.BatchNorm2d(3)
    x = mr.tensor(rng.normal(size=(2, 3, 2, 2)).astype("f"))
    (act, _) = data_of(step(bn(x, activation="relu").sum()).html)["sources"]
    assert act["forward"]["text"].startswith("class BatchNormAct:") and "class BatchNorm:" in act["forward"]["text"]


def test_an_op_without_a_source():
    names = {"mr": mr}
    exec("class Twice(mr.Op):\n  forward = lambda self, x: 2 * x\n  backward = lambda self, u: 2 * u", names)
    x = mr.tensor([1.0], requires_grad=True)
    source = data_of(step(names["Twice"]()(x).sum()).html)["sources"][0]
    assert source["forward"]["text"].endswith("# Python does not have its source")


HOSTILE = "</script><script>alert(1)</script><!--{{data}}"


def test_hostile_names_are_text():
    x = mr.tensor([1.0, 2.0], requires_grad=True)
    model = mr.nn.Module()
    setattr(model, HOSTILE, mr.nn.Parameter([3.0, 4.0]))
    op = type(HOSTILE, (mr.Op,), {"forward": lambda self, x, y: x * y, "backward": lambda self, u: (u, u)})
    loss = op()(x, getattr(model, HOSTILE)).sum()
    stepper = step(loss, model, {HOSTILE + "x": x, HOSTILE + "loss": loss})
    reader = Reader(stepper.html)
    assert len(reader.scripts) == 2
    data = json.loads(reader.scripts[0])
    assert [node["name"] for node in data["nodes"][:2]] == [HOSTILE + "x", HOSTILE]
    assert data["nodes"][2]["kind"] == HOSTILE.lower()
    assert data["title"] == HOSTILE + "loss, step by step"
    frame = Reader(stepper._repr_html_())
    assert [tag for tag, _ in frame.elements] == ["iframe"] and frame.elements[0][1]["srcdoc"] == stepper.html


def test_a_notebook_gets_a_sandboxed_frame(example):
    ((tag, attributes),) = Reader(example._repr_html_()).elements
    assert tag == "iframe" and attributes["sandbox"] == "allow-scripts"
    assert attributes["srcdoc"] == example.html and attributes["title"] == html.unescape(example.title)


def test_save(example, tmp_path):
    path = example.save(tmp_path / "step.html")
    assert path.read_text(encoding="utf-8") == example.html
    with pytest.raises(FileNotFoundError):
        example.save(tmp_path / "no" / "step.html")


def test_repr_says_how_large_it_is(example):
    assert re.fullmatch(r"<Stepper: 24 forward and 24 backward steps, \d+ kB; .save\(path\)>", repr(example))


def test_not_a_number_infinity_and_zero_keep_their_places():
    encoded = encode(np.array([[0.0, -2.0, np.nan], [np.inf, 1.0, -np.inf]]), 100)
    assert list(base64.b64decode(encoded["bytes"])) == [128, 1, 0, 0, 191, 0]  # 191.5 is rounded to an even step
    assert encoded["range"] == [-2.0, 2.0]
    assert encoded["exact"] == [0.0, -2.0, "NaN", "Infinity", 1.0, "-Infinity"]
    deviation = pytest.approx(np.std([0, -2, 1]))
    finite = {"min": -2.0, "max": 1.0, "mean": pytest.approx(-1 / 3), "std": deviation}
    assert encoded["stats"] == {**finite, "norm": "NaN", "zeros": 1, "not_finite": 3}


@pytest.mark.parametrize("numbers", [[], [np.nan], [0.0, 0.0], [1e308, -1e308, 1e308], [5e-324, 0]])
def test_odd_arrays_can_be_encoded(numbers):
    encoded = json.loads(json.dumps(encode(np.array(numbers), 100), allow_nan=False))
    finite = [x for x in numbers if np.isfinite(x)]
    assert encoded["stats"]["max"] == (max(finite) if finite else None)
    assert len(base64.b64decode(encoded["bytes"])) == len(numbers)


@pytest.mark.parametrize("shape", [(), (0,), (7,), (3, 0, 5), (50, 70), (9, 8, 7, 6, 5), (2, 3, 300, 400)])
@pytest.mark.parametrize("limit", [16, 100, 5000])
def test_the_part_that_is_shown_fits(shape, limit):
    shown = shown_part(shape, limit)
    assert len(shown) == len(shape) and all(1 <= s <= size or size == 0 for s, size in zip(shown, shape, strict=True))
    assert np.prod(shown) <= limit
    if np.prod(shape) <= limit:
        assert shown == shape
