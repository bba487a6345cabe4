"""Make video.npz: values of torch and torchvision for clips, which tests/vision/test_temporal.py compares with.

Made with torch 2.14.1 and torchvision 0.29.1 (CPU): ``python tests/vision/golden/make_video.py``.

Weights are not stored: both sides draw them with ``seeded`` from the names and shapes of the parameters.
"""

import zlib
from pathlib import Path

import numpy as np


def seeded(name, shape):
    """Weights for a parameter or buffer, float32, which depend only on its name and on its number of elements."""
    values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(int(np.prod(shape)))
    if name.endswith("running_var"):
        values = 0.5 + np.abs(values)
    elif len(shape) > 1:
        values *= np.sqrt(2 / np.prod(shape[1:]))
    elif name.endswith("weight"):  # gamma
        values = 1 + 0.1 * values
    else:
        values *= 0.1
    return values.reshape(shape).astype(np.float32)


def clip(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def main():
    import torch
    import torchvision

    torch.set_num_threads(1)
    golden = {}

    model = torchvision.models.video.r2plus1d_18(num_classes=5)
    state = {name: torch.from_numpy(seeded(name, tuple(value.shape))) for name, value in model.state_dict().items()
             if not name.endswith("num_batches_tracked")}  # fmt: skip
    model.load_state_dict(state, strict=False)
    golden["r2plus1d_names"] = np.array(sorted(state))
    x = torch.from_numpy(clip(1, 2, 5, 3, 32, 40)).transpose(1, 2)  # (N, C, T, H, W)
    model.eval()
    golden["r2plus1d_eval"] = model(x).detach().numpy()
    model.double().train()  # in float32, batch norm of the last maps, of a few pixels, amplifies rounding errors
    logits = model(x.double())
    golden["r2plus1d_train"] = logits.detach().numpy()
    torch.nn.functional.cross_entropy(logits, torch.tensor([1, 4])).backward()
    for name in ("stem.0.weight", "layer2.0.downsample.0.weight", "layer3.1.conv2.0.3.weight", "fc.weight"):
        gradient = dict(model.named_parameters())[name].grad.flatten()
        golden[f"r2plus1d_grad_{name}"] = gradient[:: max(1, len(gradient) // 500)].numpy()
    golden["r2plus1d_running_var"] = model.state_dict()["layer4.1.conv2.1.running_var"].numpy()

    # The published algorithm, for clips one after the other: Lin et al., arXiv 1811.08383, figure 1.
    for dtype in (torch.float32, torch.float64):
        x = torch.from_numpy(clip(2, 3 * 4, 17, 2, 5)).to(dtype).requires_grad_()
        upstream = torch.from_numpy(clip(3, 3 * 4, 17, 2, 5)).to(dtype)
        for online in (False, True):
            videos = x.reshape(3, 4, 17, 2, 5)
            out = videos.clone()
            out[:, :, : 2 if online else 4] = 0
            if online:
                out[:, 1:, :2] = videos[:, :-1, :2]
            else:
                out[:, :-1, :2] = videos[:, 1:, :2]
                out[:, 1:, 2:4] = videos[:, :-1, 2:4]
            out = out.reshape(x.shape)
            (gradient,) = torch.autograd.grad((out * upstream).sum(), x)
            golden[f"shift_{out.dtype}_{online}".replace("torch.", "")] = out.detach().numpy()[:, :5]
            golden[f"shift_grad_{out.dtype}_{online}".replace("torch.", "")] = gradient.numpy()[:, :5]
    np.savez_compressed(Path(__file__).with_name("video.npz"), **golden)


if __name__ == "__main__":
    main()
