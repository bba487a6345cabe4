"""Make deeplab.npz: what torchvision's parts of segmentation networks compute, given weights and images from seeds.

Ran with torch 2.14.1, torchvision 0.29.1 and NumPy 2.4.6 on x86-64: ``python make_deeplab.py``. The test draws the same
weights and images, so the file only holds results: maps, and for each gradient its norm and its product with a random
direction.
"""

from pathlib import Path

import numpy as np

IMAGES, CLASSES, RATES = (3, 3, 64, 80), 5, [1, 2, 3]
MAPS = (3, 16, 5, 7)  # the input of the parts that are tested alone
SIZES = [(5, 7), (10, 14), (13, 3), (1, 20)]


def draw(seed, shape):
    return np.random.default_rng(seed).standard_normal(shape)


def weights(shapes, seed):
    """Return a state dict in float64: positive numbers near 1 for scales and variances, others around 0."""
    rng, state = np.random.default_rng(seed), {}
    for name in sorted(shapes):
        shape = tuple(shapes[name])
        if len(shape) > 1:
            state[name] = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        elif name.endswith(("weight", "running_var")):
            state[name] = rng.uniform(0.5, 1.5, shape)
        else:
            state[name] = rng.standard_normal(shape) / 10
    return state


def labels():
    """Return the classes of all pixels, a tenth of which do not count."""
    rng = np.random.default_rng(7)
    classes = rng.integers(0, CLASSES, (IMAGES[0], *IMAGES[2:]))
    classes[rng.random(classes.shape) < 0.1] = 255
    return classes.astype(np.uint8)


def summary(gradients):
    """Return a row for each gradient, by name: its norm, and its product with a random direction of norm 1."""
    rows = []
    for number, name in enumerate(sorted(gradients)):
        gradient = gradients[name]
        direction = draw(1000 + number, gradient.shape)
        rows.append((np.linalg.norm(gradient), (gradient * direction).sum() / np.linalg.norm(direction)))
    return np.array(rows)


def main():
    import torch
    from torch import nn
    from torch.nn import functional as fn
    from torchvision.models import resnet18
    from torchvision.models.segmentation.deeplabv3 import ASPP
    from torchvision.models.segmentation.fcn import FCNHead

    def load(module, seed):
        shapes = {name: array.shape for name, array in module.state_dict().items() if "num_batches" not in name}
        state = {name: torch.tensor(array) for name, array in weights(shapes, seed).items()}
        module.double().load_state_dict(state, strict=False)
        for part in module.modules():
            if isinstance(part, nn.Dropout):
                part.p = 0.0
        return module

    def conv_norm_relu(c, o, size):
        conv = nn.Conv2d(c, o, size, padding=size // 2, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(o), nn.ReLU())

    class Backbone(nn.Module):
        def __init__(self):
            super().__init__()
            net = resnet18()
            for name in ("conv1", "bn1", "maxpool", "layer1", "layer2", "layer3", "layer4"):
                setattr(self, name, getattr(net, name))
            first, second = self.layer4
            first.conv1.stride = first.downsample[0].stride = (1, 1)
            for conv in (first.conv2, second.conv1, second.conv2):
                conv.dilation = conv.padding = (2, 2)

        def forward(self, x):
            x = self.maxpool(self.bn1(self.conv1(x)).relu())
            fine = self.layer1(x)
            return fine, self.layer4(self.layer3(self.layer2(fine)))

    class DeepLabV3Plus(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = Backbone()
            self.aspp = ASPP(512, RATES)
            self.low_level = conv_norm_relu(64, 48, 1)
            self.decoder = nn.Sequential(conv_norm_relu(304, 256, 3), conv_norm_relu(256, 256, 3))
            self.classifier = nn.Conv2d(256, CLASSES, 1)

        def forward(self, x):
            fine, coarse = self.backbone(x)
            fine = self.low_level(fine)
            coarse = fn.interpolate(self.aspp(coarse), fine.shape[2:], mode="bilinear", align_corners=False)
            y = self.classifier(self.decoder(torch.cat([coarse, fine], dim=1)))
            return fn.interpolate(y, x.shape[2:], mode="bilinear", align_corners=False)

    results, x = {}, torch.tensor(draw(1, MAPS))
    for size in SIZES:
        for mode in ("nearest", "bilinear"):
            results[f"resize {mode} {size}"] = fn.interpolate(x[:, :2], size, mode=mode).numpy()
    for name, module in (("fcn head", FCNHead(16, CLASSES)), ("aspp", ASPP(16, RATES, 6))):
        load(module, 2)
        results[f"{name} evaluation"] = module.eval()(x).detach().numpy()
        results[f"{name} training"] = module.train()(x).detach().numpy()
    model, images = load(DeepLabV3Plus(), 3), torch.tensor(draw(4, IMAGES))
    results["deeplab evaluation"] = model.eval()(images).detach().numpy()[:, :, ::8, ::8]
    for dtype in (torch.float64, torch.float32):
        model = load(DeepLabV3Plus(), 3).to(dtype).train()
        logits = model(images.to(dtype))
        loss = fn.cross_entropy(logits, torch.tensor(labels()).long(), ignore_index=255)
        loss.backward()
        gradients = summary({name: p.grad.double().numpy() for name, p in model.named_parameters()})
        if dtype == torch.float64:
            results["deeplab training"] = logits.detach().numpy()[:, :, ::8, ::8]
            results["deeplab loss"] = loss.detach().numpy()
            results["deeplab gradients"] = gradients
        else:
            deviations = np.abs(gradients - results["deeplab gradients"]) / results["deeplab gradients"][:, :1]
            results["deeplab deviations of float32"] = deviations
            print(deviations.max(), deviations.mean())
    np.savez_compressed(Path(__file__).with_name("deeplab.npz"), **results)


if __name__ == "__main__":
    main()
