"""Clips: the shift and R(2+1)D against torch's values, the classifiers against one frame at a time."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minires as mr
from minires.vision.temporal import SpatialConv, TemporalConv, shift

HERE = Path(__file__).parent / "golden"
_spec = importlib.util.spec_from_file_location("make_video", HERE / "make_video.py")
made = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(made)


@pytest.fixture(scope="module")
def golden():
    with np.load(HERE / "video.npz") as file:
        return dict(file)


def shifted(x, frames, moved, online):
    """A naive reference: one number at a time."""
    y = np.zeros_like(x)
    for row in range(len(x)):
        t = row % frames
        for channel in range(x.shape[1]):
            step = 0
            if channel < moved:
                step = -1 if online else 1
            elif channel < 2 * moved and not online:
                step = -1
            if 0 <= t + step < frames:
                y[row, channel] = x[row + step, channel]
    return y


@pytest.mark.parametrize("online", [False, True])
@pytest.mark.parametrize(
    ("clips", "frames", "channels", "fold_div"), [(2, 4, 9, 8), (1, 1, 8, 4), (3, 2, 7, 2), (1, 5, 3, 8)]
)
def test_shift_equals_the_naive_reference(clips, frames, channels, fold_div, online):
    x = np.random.default_rng(0).standard_normal((clips * frames, channels, 2, 3))
    before = x.copy()
    found = shift(mr.tensor(x), frames, fold_div, online).numpy()
    np.testing.assert_array_equal(found, shifted(x, frames, channels // fold_div, online))
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("online", [False, True])
def test_shift_and_its_gradient_equal_torchs_values(golden, dtype, online):
    x = mr.tensor(made.clip(2, 12, 17, 2, 5).astype(dtype), requires_grad=True)
    y = shift(x, frames=4, online=online)
    (y * mr.tensor(made.clip(3, 12, 17, 2, 5).astype(dtype))).sum().backward()
    np.testing.assert_array_equal(y.numpy()[:, :5], golden[f"shift_{dtype}_{online}"])
    np.testing.assert_array_equal(y.numpy()[:, 5:], x.numpy()[:, 5:])
    np.testing.assert_array_equal(x.grad.numpy()[:, :5], golden[f"shift_grad_{dtype}_{online}"])


@pytest.mark.parametrize("online", [False, True])
def test_shift_can_be_differentiated_twice(online):
    x = mr.tensor(np.random.default_rng(1).standard_normal((6, 5, 1, 2)), requires_grad=True)
    assert mr.gradcheck(lambda x: shift(x, 3, 4, online), x, order=2)
    assert mr.gradcheck(lambda x: shift(x, 3, 2, online) ** 3, x, order=2)


@given(frames=st.one_of(st.integers(-3, 0), st.floats(), st.text(max_size=2)), fold_div=st.integers(-4, 1))
def test_shift_refuses_bad_arguments(frames, fold_div):
    x = mr.zeros(4, 8, 1, 1)
    with pytest.raises(mr.errors.ArgumentError, match="frames"):
        shift(x, frames)
    with pytest.raises(mr.errors.ArgumentError, match="fold_div"):
        shift(x, 2, fold_div)


def test_shift_refuses_sizes_that_do_not_fit():
    with pytest.raises(mr.errors.ShapeError, match=r"holds 4 images, which are not clips of 3 frames"):
        shift(mr.zeros(4, 8, 1, 1), 3)
    with pytest.raises(mr.errors.ShapeError, match="4 are needed"):
        shift(mr.zeros(1, 4, 8, 1, 1), 4)


NETWORKS = {"resnet8": {}, "resnet14": {"preactivation": True}, "plain8": {}, "resnet9": {"width": 8}, "resnet18": {}}


@pytest.mark.parametrize("name", NETWORKS)
def test_tsn_averages_the_logits_of_single_frames(name):
    mr.manual_seed(0)
    network = mr.models.build(name, num_classes=5, **NETWORKS[name]).eval()
    clips = mr.randn(2, 3, 3, 32, 40)
    expected = np.mean([network(clips[:, t]).numpy() for t in range(3)], axis=0)
    model = mr.vision.tsn(network, 5).eval()
    np.testing.assert_allclose(model(clips).numpy(), expected, rtol=1e-4, atol=1e-5)
    assert [f"network.{key}" for key in network.state_dict()] == list(model.state_dict())


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("online", [False, True])
def test_tsm_shifts_before_the_first_convolution_of_each_branch_only(name, online):
    """The reference runs the unchanged network, and shifts the input of each conv1 on the way with the naive shift."""
    mr.manual_seed(0)
    network = mr.models.build(name, num_classes=4, **NETWORKS[name]).eval()
    keys = list(network.state_dict())
    clips = mr.randn(2, 3, 3, 32, 32)
    seen = []

    def with_shift(conv, inputs, output):
        x = inputs[0].numpy()
        seen.append(x.shape)
        return mr.ops.conv2d(
            mr.tensor(shifted(x, 3, x.shape[1] // 8, online)), conv.weight, stride=conv.stride, padding=conv.padding
        )

    blocks = [module for module in network.modules() if isinstance(module, mr.models.blocks.ResidualBlock)]
    handles = [block.conv1.register_forward_hook(with_shift) for block in blocks]
    expected = network(clips.reshape(6, 3, 32, 32)).numpy().reshape(2, 3, 4).mean(axis=1)
    assert len(seen) == len(blocks)
    for handle in handles:
        handle.remove()
    model = mr.vision.tsm(network, 4, online=online).eval()
    np.testing.assert_allclose(model(clips).numpy(), expected, rtol=1e-4, atol=1e-5)
    assert [f"network.{key}" for key in keys] == list(model.state_dict())  # a classifier's weights fit


def test_the_order_of_the_frames_matters_to_tsm_and_r2plus1d_but_not_to_tsn():
    mr.manual_seed(0)
    clips = mr.randn(2, 4, 3, 16, 16)
    reverse = clips[:, ::-1]
    for model, matters in (
        (mr.vision.tsn("resnet8", 3), False),
        (mr.vision.tsm("resnet8", 3), True),
        (mr.vision.r2plus1d(3), True),
    ):
        model.eval()
        assert np.allclose(model(clips).numpy(), model(reverse).numpy(), atol=1e-5) is not matters


def test_no_frame_of_the_online_network_depends_on_a_later_one():
    mr.manual_seed(0)
    model = mr.vision.tsm("resnet8", 3, online=True).eval()
    clips = mr.randn(1, 4, 3, 16, 16)
    model(clips)
    per_frame = model.network(clips.reshape(4, 3, 16, 16)).numpy()
    changed = clips.numpy().copy()
    changed[:, 2:] += 1
    model.network(mr.tensor(changed.reshape(4, 3, 16, 16)))
    after = model.network(mr.tensor(changed.reshape(4, 3, 16, 16))).numpy()
    np.testing.assert_array_equal(after[:2], per_frame[:2])
    assert not np.allclose(after[2:], per_frame[2:])


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_clips_of_any_length_fit(frames):
    clips = mr.rand(1, frames, 1, 16, 24)
    for model in (
        mr.vision.tsn("resnet8", 3, in_channels=1),
        mr.vision.tsm("resnet8", 3, in_channels=1),
        mr.vision.r2plus1d(3, in_channels=1, depth=14),
    ):
        assert model(clips).shape == (1, 3)


def test_a_trained_network_keeps_its_weights_and_gets_a_new_head():
    network = mr.models.resnet8(num_classes=10)
    kept = {name: array.copy() for name, array in network.state_dict().items()}
    model = mr.vision.tsm(network, 2)
    assert model(mr.zeros(1, 2, 3, 16, 16)).shape == (1, 2)
    model = mr.vision.tsm(mr.models.resnet8(num_classes=10), 10)
    model.network.load_state_dict(kept)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, kept[name.removeprefix("network.")])


def test_a_folded_network_computes_the_same():
    mr.manual_seed(0)
    clips = mr.rand(2, 3, 3, 16, 16)
    for model in (mr.vision.tsm("resnet8", 3), mr.vision.r2plus1d(3)):
        model(clips)
        model.eval()
        np.testing.assert_allclose(mr.nn.fold(model)(clips).numpy(), model(clips).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("build", [lambda: mr.vision.tsm("resnet8", 3), lambda: mr.vision.r2plus1d(3)])
def test_onnx_runtime_computes_the_same(tmp_path, build):
    runtime = pytest.importorskip("onnxruntime")
    mr.manual_seed(0)
    clips = mr.rand(2, 5, 3, 16, 24)
    model = build()
    model(clips)
    model.eval()
    mr.interop.export_onnx(model, tmp_path / "m.onnx", (1, 5, 3, 16, 24))
    session = runtime.InferenceSession(tmp_path / "m.onnx")
    for n in (1, 2):  # any number of clips
        (found,) = session.run(None, {session.get_inputs()[0].name: clips.numpy()[:n]})
        np.testing.assert_allclose(found, model(clips[:n]).numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("backbone", [mr.nn.Linear(3, 4), None, 8, mr.nn.Sequential(mr.nn.Conv2d(3, 4, 1))])
def test_a_backbone_that_is_not_a_network_of_mr_models_is_refused(backbone):
    for build in (mr.vision.tsn, mr.vision.tsm):
        with pytest.raises(mr.errors.ArgumentError, match="give a name such as 'resnet18'"):
            build(backbone, 2)


def test_bad_arguments_are_refused():
    with pytest.raises(mr.errors.ArgumentError, match="resnet17"):
        mr.vision.tsm("resnet17", 2)
    with pytest.raises(mr.errors.ArgumentError, match="num_classes is 0"):
        mr.vision.tsn("resnet8", 0)
    with pytest.raises(mr.errors.ArgumentError, match="fold_div is 1"):
        mr.vision.tsm("resnet8", 2, fold_div=1)
    with pytest.raises(mr.errors.ArgumentError, match="depth is 20; it must be one of 8, 14, 18, 34"):
        mr.vision.r2plus1d(2, depth=20)
    for model in (mr.vision.tsm("resnet8", 2), mr.vision.r2plus1d(2)):
        with pytest.raises(mr.errors.ShapeError, match=r"5 are needed, \(N, T, C, H, W\)"):
            model(mr.zeros(2, 3, 16, 16))
        with pytest.raises(mr.errors.ShapeError, match="2x0x3x16x16"):
            model(mr.zeros(2, 0, 3, 16, 16))


def test_spatial_and_temporal_convolutions_equal_the_definition():
    """Each output is the sum of products, written as loops over the kernel."""
    mr.manual_seed(0)
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 4, 6)).astype("float32")
    space, time = SpatialConv(3, 4, 3, stride=2), TemporalConv(3, 4, stride=2)
    padded = np.pad(x, ((0, 0), (0, 0), (0, 0), (1, 1), (1, 1)))
    expected = sum(
        np.einsum("nctij,oc->notij", padded[..., i : i + 4 : 2, j : j + 6 : 2], space.weight.numpy()[:, :, i, j])
        for i in range(3)
        for j in range(3)
    )
    np.testing.assert_allclose(space(mr.tensor(x)).numpy(), expected, rtol=1e-4, atol=1e-5)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0), (0, 0)))
    expected = sum(
        np.einsum("nctij,oc->notij", padded[:, :, k : k + 5 : 2], time.weight.numpy()[:, :, k, 0]) for k in range(3)
    )
    np.testing.assert_allclose(time(mr.tensor(x)).numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def torchvisions():
    """R(2+1)D-18 with the weights of the golden model, which are reshaped where a kernel size is 1."""
    model = mr.vision.r2plus1d(5, depth=18)
    state = model.state_dict()
    model.load_state_dict({name: made.seeded(name, array.shape) for name, array in state.items()})
    return model


def test_r2plus1d_has_torchvisions_names(golden, torchvisions):
    assert sorted(torchvisions.state_dict()) == golden["r2plus1d_names"].tolist()


def test_r2plus1d_computes_torchvisions_values(golden, torchvisions):
    clips = mr.tensor(made.clip(1, 2, 5, 3, 32, 40))
    torchvisions.eval()
    np.testing.assert_allclose(torchvisions(clips).numpy(), golden["r2plus1d_eval"], rtol=1e-5, atol=1e-5)
    model = torchvisions.to("float64").train()
    logits = model(clips.to("float64"))
    np.testing.assert_allclose(logits.numpy(), golden["r2plus1d_train"], rtol=1e-9)
    mr.ops.cross_entropy(logits, np.array([1, 4])).backward()
    parameters = dict(model.named_parameters())
    for key, expected in golden.items():
        if key.startswith("r2plus1d_grad_"):
            gradient = parameters[key.removeprefix("r2plus1d_grad_")].grad.numpy().ravel()
            gradient = gradient[:: max(1, len(gradient) // 500)]
            assert np.abs(gradient - expected).max() <= 1e-9 * np.abs(expected).max(), key
    found = model.state_dict()["layer4.1.conv2.1.running_var"]
    np.testing.assert_allclose(found, golden["r2plus1d_running_var"], rtol=1e-9)
