"""Standard deviations of responses: after batch norm and before addition and ReLU, even if one op does all three."""

import numpy as np
import pytest
from PIL import Image

import minires as mr
from minires.errors import ArgumentError
from minires.explain import responses_figure

RNG = np.random.default_rng(1)
IMAGES = RNG.standard_normal((5, 1, 8, 8)).astype(np.float32)


def names(result):
    return [(row["layer"], row["norm"]) for row in result.rows]


def test_numbers_worked_out_by_hand(device):
    """The layer gives what it reads; batch norm doubles it. The ReLU that follows would make it (2, 0, 6, 2)."""
    model = mr.nn.Sequential(mr.nn.Linear(2, 2), mr.nn.BatchNorm1d(2, eps=1e-12), mr.nn.ReLU(), mr.nn.Linear(2, 3))
    weights = {"0.weight": np.eye(2), "0.bias": np.zeros(2), "1.weight": [2.0, 2.0]}
    model.load_state_dict(weights, strict=False)
    result = mr.explain.responses(model.to(device), np.array([[1, -1], [3, 1]], np.float32))
    assert names(result) == [("0", "1")], "what the last layer gives is the output, not a response"
    assert result.rows[0]["std"] == pytest.approx(np.std([2, -2, 6, 2])) and result.rows[0]["shortcut_std"] is None


def normalised(norm, x):
    """Batch norm in evaluation, by its definition."""
    mean, var, gamma, beta = (
        t.numpy().reshape(1, -1, 1, 1) for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return (x - mean) / np.sqrt(var + norm.eps) * gamma + beta


def settled(model):
    """A model with nontrivial batch norms: random scales and shifts, and statistics of some batches."""
    for module in model.modules():
        if isinstance(module, mr.nn.BatchNorm2d):
            module.weight.data = RNG.uniform(0.5, 2, module.num_features).astype(np.float32)
            module.bias.data = RNG.standard_normal(module.num_features).astype(np.float32)
    for _ in range(3):
        model.train()(mr.tensor(IMAGES * 2))
    return model.eval()


def test_a_block_that_adds_and_rectifies_in_one_op():
    """F and the shortcut are measured separately, before the ReLU after the addition."""
    model = settled(mr.models.resnet8(in_channels=1))
    rows = {row["layer"]: row for row in mr.explain.responses(model, IMAGES).rows}
    block = model.layer1[0]
    with mr.no_grad():
        x = model.bn1(model.conv1(mr.tensor(IMAGES)), activation="relu")
        inner = normalised(block.bn1, block.conv1(x).numpy())
        outer = normalised(block.bn2, block.conv2(mr.tensor(np.maximum(inner, 0))).numpy())
    assert rows["layer1.0.conv1"]["std"] == pytest.approx(inner.std(), rel=1e-4)
    assert rows["layer1.0.conv2"]["std"] == pytest.approx(outer.std(), rel=1e-4)
    assert rows["layer1.0.conv2"]["shortcut_std"] == pytest.approx(x.numpy().std(), rel=1e-4)
    assert np.maximum(outer + x.numpy(), 0).std() != pytest.approx(outer.std(), rel=0.05), "or this shows nothing"


def test_which_layers_respond_and_after_what():
    plain = mr.explain.responses(mr.models.plain8(in_channels=1), IMAGES)
    assert len(plain.rows) == 7 and all(row["shortcut_std"] is None for row in plain.rows)
    projected = names(mr.explain.responses(mr.models.resnet8(in_channels=1, shortcut="B"), IMAGES))
    assert ("layer2.0.downsample.0", "layer2.0.downsample.1") in projected and len(projected) == 9
    preactivated = names(mr.explain.responses(mr.models.resnet8(in_channels=1, preactivation=True), IMAGES))
    assert preactivated[:3] == [("conv1", "layer1.0.bn1"), ("layer1.0.conv1", "layer1.0.bn2"), ("layer1.0.conv2", None)]


def test_a_shortcut_given_by_name_is_measured_as_well():
    class Block(mr.nn.Module):
        def __init__(self, names):
            self.conv, self.bn, self.last = mr.nn.Conv2d(1, 1, 1), mr.nn.BatchNorm2d(1), mr.nn.Conv2d(1, 1, 1)
            self.names = names

        def forward(self, x):
            y = self.bn(self.conv(x=x), shortcut=x) if self.names else self.bn(self.conv(x), x)
            return self.last(y)

    block = Block(names=False)
    expected = mr.explain.responses(block, IMAGES).rows
    block.names = True
    assert mr.explain.responses(block, IMAGES).rows == expected and expected[0]["shortcut_std"] > 0


class TwoBranches(mr.nn.Module):
    """Both layers come before both batch norms, in the other order."""

    def __init__(self):
        self.a, self.b, self.fc = mr.nn.Linear(2, 2), mr.nn.Linear(2, 2), mr.nn.Linear(2, 2)
        self.norm_a, self.norm_b = mr.nn.BatchNorm1d(2), mr.nn.BatchNorm1d(2)

    def forward(self, x):
        a, b = self.a(x), self.b(x)
        return self.fc(self.norm_b(b) + self.norm_a(a))


def test_a_layer_belongs_to_the_batch_norm_that_reads_its_output():
    assert names(mr.explain.responses(TwoBranches(), np.eye(2, dtype=np.float32))) == [("a", "norm_a"), ("b", "norm_b")]


@pytest.mark.parametrize("model", [mr.nn.Linear(64, 2), mr.nn.Sequential(mr.nn.Flatten(), mr.nn.Linear(64, 2))])
def test_without_responses_there_is_an_error(model):
    with pytest.raises(ArgumentError, match=r"^responses: \w+ called no layer with weights"):
        mr.explain.responses(model, IMAGES if len(list(model.children())) else IMAGES.reshape(5, 64))
    with pytest.raises(ArgumentError, match=r"made by nn\.fold, use the original"):
        mr.explain.responses(mr.nn.fold(mr.models.resnet8(in_channels=1)), IMAGES)


def test_the_figure_of_several_networks():
    """Two panels: in order, and ranked; twins share a colour, and the plain one is dashed."""
    networks = {
        name: mr.explain.responses(mr.models.build(name, in_channels=1), IMAGES) for name in ("plain8", "resnet8")
    }
    by_depth, ranked = responses_figure(networks, "a title").axes
    plain, residual = by_depth.lines
    assert plain.get_ydata().tolist() == [row["std"] for row in networks["plain8"].rows]
    assert plain.get_color() == residual.get_color() and plain.get_linestyle() != residual.get_linestyle()
    assert ranked.lines[1].get_ydata().tolist() == sorted(residual.get_ydata(), reverse=True)


def test_the_result_is_an_image_and_a_table(tmp_path):
    result = mr.explain.responses(mr.models.resnet8(in_channels=1), IMAGES)
    with Image.open(result.save(tmp_path / "responses.png")) as image:
        assert image.format == "PNG" and len(set(image.convert("L").tobytes())) > 50
    assert result._repr_png_().startswith(b"\x89PNG") and "7 rows" in repr(result)
    lines = result.save_csv(tmp_path / "responses.csv").read_text().splitlines()
    assert lines[0] == "layer,norm,std,shortcut_std" and lines[1].startswith("conv1,bn1,") and lines[1].endswith(",")
    for save in (result.save, result.save_csv):
        with pytest.raises(mr.errors.DataError, match="cannot be written"):
            save(tmp_path / "nowhere" / "file.png")
    with pytest.raises(ArgumentError, match=r"save: responses.pdf must end in .png"):
        result.save(tmp_path / "responses.pdf")
