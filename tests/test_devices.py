"""Everything that is not an op also works on every device."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import minires as mr


@pytest.fixture
def images(rng, device):
    return mr.tensor(rng.standard_normal((4, 3, 8, 8)).astype("f"), device=device)


@pytest.fixture
def model(device):
    return mr.models.resnet8(num_classes=5).to(device)


def loss_of(model, images):
    return mr.ops.cross_entropy(model(images), [0, 4, 2, 2])


def test_a_profile_counts_on_each_device(model, images):
    with mr.profile() as p:
        loss_of(model, images).backward()
    assert p.rows["conv2d", "forward"].calls == 7
    assert p.rows["conv2d", "backward"].calls == 7
    assert "batch_norm_act" in str(p)


def test_the_first_nan_is_found_on_each_device(device):
    x = mr.tensor([[1.0, -1.0]], device=device)
    found = pytest.raises(mr.errors.AnomalyError, match=r"log: the result \(1x2\) holds a NaN at index \(0, 1\)")
    with mr.detect_anomaly(), np.errstate(invalid="ignore"), found:
        mr.ops.log(x)


def test_a_folded_model_computes_the_same(model, images):
    model.eval()
    np.testing.assert_allclose(mr.nn.fold(model)(images).numpy(), model(images).numpy(), rtol=1e-4, atol=1e-5)


def test_weights_go_to_disk_and_back(model, images, device, tmp_path):
    mr.save(tmp_path / "w.safetensors", model.state_dict())
    other = mr.models.resnet8(num_classes=5).to(device)
    other.load_state_dict(mr.load(tmp_path / "w.safetensors"))
    np.testing.assert_array_equal(other.eval()(images).numpy(), model.eval()(images).numpy())


def test_clipping_and_averaging(model, images):
    ema = mr.optim.EMA(model, decay=0.5)
    loss_of(model, images).backward()
    before = [p.grad.numpy() for p in model.parameters()]
    norm = mr.optim.clip_grad_norm(model.parameters(), max_norm=0.1)
    assert norm == pytest.approx(np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in before)), rel=1e-5)
    after = np.sqrt(sum((p.grad.numpy().astype(np.float64) ** 2).sum() for p in model.parameters()))
    assert after == pytest.approx(0.1, rel=1e-3)
    mr.optim.SGD(model.parameters(), lr=1.0).step()
    ema.update()
    averages, latest = ema.module.state_dict(), model.state_dict()
    assert any(not np.array_equal(averages[name], latest[name]) for name in latest)


def test_a_layer_that_the_kernels_do_not_know(device, rng):
    """Groups, transposed convolutions and other normalisations run in the textbook."""
    net = mr.nn.Sequential(
        mr.nn.Conv2d(4, 6, 3, padding=1, groups=2), mr.nn.ReLU(), mr.nn.ConvTranspose2d(6, 2, 2, stride=2),
        mr.nn.AvgPool2d(2), mr.nn.Flatten(), mr.nn.LayerNorm(32), mr.nn.Dropout(0.5), mr.nn.Linear(32, 3),
    )  # fmt: skip
    x = rng.standard_normal((2, 4, 4, 4)).astype("f")
    outputs = []
    for where in ("cpu", device):
        mr.manual_seed(4)
        net.to(where).zero_grad()
        y = net(mr.tensor(x, device=where))
        (y * y).sum().backward()
        outputs.append([y.numpy(), *(p.grad.numpy() for p in net.parameters())])
    for got, right in zip(outputs[1], outputs[0], strict=True):
        np.testing.assert_allclose(got, right, rtol=1e-4, atol=1e-5 * np.abs(right).max())


def test_what_stays_on_the_cpu_says_so(cuda):
    x = mr.tensor([[1.0, 2.0]], device="cuda")
    assert repr(x) == "tensor([[1., 2.]], device='cuda')"
    assert x.to("cuda") is x
    assert x.to("cpu").device == "cpu"
    assert float(x.sum()) == 3.0


def test_memory_is_reported(cuda):
    mr.cuda.synchronize()
    memory = mr.cuda.memory()
    assert 0 <= memory.used <= memory.pool <= memory.total
    assert " MiB used, " in str(memory)
    mr.cuda.free_memory()


def test_tf32_is_a_choice(cuda):
    import cupy

    linalg = cupy._core._routines_linalg
    assert linalg.get_compute_type(np.float32) != linalg.COMPUTE_TYPE_TF32
    mr.cuda.allow_tf32()
    assert linalg.get_compute_type(np.float32) == linalg.COMPUTE_TYPE_TF32
    mr.cuda.allow_tf32(False)
    assert linalg.get_compute_type(np.float32) != linalg.COMPUTE_TYPE_TF32


def test_without_a_gpu_everything_of_cuda_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert not mr.cuda.is_available()
    for ask in (
        mr.cuda.synchronize,
        mr.cuda.memory,
        mr.cuda.free_memory,
        mr.cuda.allow_tf32,
        lambda: mr.cuda.graph(len),
    ):
        with pytest.raises(mr.errors.DeviceError, match="needs CuPy, which is not installed: pip install"):
            ask()
