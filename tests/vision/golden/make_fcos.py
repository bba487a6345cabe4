"""Write fcos.npz: what torchvision computes for FCOS. Run by hand, with torch 2.14.1 and torchvision 0.29.1 installed.

Weights and other large inputs are not stored. They are drawn from their names by ``drawn``, here and in the tests.
"""

import zlib
from pathlib import Path

import numpy as np

SIZE, CLASSES = (128, 64), 6  # height and width
STRIDES = (8, 16, 32, 64, 128)
IMAGES = (3, 3, *SIZE)
CONFIDENCE = np.array([0, 6, 30]).reshape(3, 1, 1)  # is taken from the logits of three images


def drawn(name, shape, scale=1.0, shift=0.0):
    """Numbers that are the same in every version of NumPy."""
    return shift + scale * np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)


def weights(shapes):
    """Draw each tensor of a network so that activations keep about the same size."""
    values = {}
    for name, shape in shapes.items():
        if len(shape) > 1:
            values[name] = drawn(name, shape, (2 / np.prod(shape[1:])) ** 0.5)
        elif name.endswith("running_var"):
            values[name] = 1 + np.abs(drawn(name, shape, 0.3))
        else:
            values[name] = drawn(name, shape, 0.1, 1.0 if name.endswith("weight") else 0.0)
    return values


def places(size, strides, offset=0.5):
    """The points (L, 2), strides (L,) and numbers of the locations of each map, one after the other."""
    points, steps, counts = [], [], []
    for stride in strides:
        before = len(points)
        for row in range(-(-size[0] // stride)):
            for column in range(-(-size[1] // stride)):
                points.append(((column + offset) * stride, (row + offset) * stride))
                steps.append(stride)
        counts.append(len(points) - before)
    return np.array(points), np.array(steps), counts


def boxes_of(rng, count, size):
    """Boxes at multiples of 4 pixels, so that many distances are the end of a range, or at any eighth of a pixel."""
    step = rng.choice([0.125, 4])
    corners = np.sort(rng.uniform(0, 1, (2, count, 2)) * (size[1], size[0]) // step * step, axis=0)
    return np.maximum(np.concatenate(corners, axis=1), 0) + [0, 0, step, step]


def main():
    """Compute all values and write the file."""
    import torch
    import torchvision
    from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
    from torchvision.models.detection.fcos import FCOS
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7

    torch.set_default_dtype(torch.float64)
    body = torchvision.models.resnet18()
    pyramid = _resnet_fpn_extractor(body, 5, returned_layers=[2, 3, 4], extra_blocks=LastLevelP6P7(256, 256))
    model = FCOS(pyramid, CLASSES)
    state = {name: tensor.shape for name, tensor in model.state_dict().items() if "num_batches" not in name}
    model.load_state_dict({name: torch.tensor(array) for name, array in weights(state).items()}, strict=False)
    saved = {"names": np.array(sorted(state))}

    def anchors(points, steps):
        half = torch.tensor(steps[:, None] / 2)
        return torch.cat([torch.tensor(points) - half, torch.tensor(points) + half], dim=1)

    # a training step: outputs, losses, gradients
    rng = np.random.RandomState(0)
    targets = []
    for number, count in enumerate((4, 0, 2)):
        saved[f"step_boxes{number}"] = boxes_of(rng, count, SIZE)
        saved[f"step_labels{number}"] = rng.randint(0, CLASSES, count)
        targets.append({key: torch.tensor(saved[f"step_{key}{number}"]) for key in ("boxes", "labels")})
    images = torchvision.models.detection.image_list.ImageList(torch.tensor(drawn("images", IMAGES)), [SIZE] * 3)
    maps = list(model.backbone(images.tensors).values())
    outputs = model.head(maps)
    own = model.anchor_generator(images, maps)
    losses = model.compute_loss(targets, outputs, own, [each[0, 0].numel() for each in maps])
    sum(losses.values()).backward()
    for number, each in enumerate(maps):
        saved[f"map{number}"] = np.tensordot(each.detach(), drawn("channels", 256), (1, 0))
    for key, output in outputs.items():
        saved[key] = output.detach().numpy()
    saved["anchors"] = own[0].numpy()
    saved["losses"] = np.array([losses[key].item() for key in ("classification", "bbox_regression", "bbox_ctrness")])
    for name, parameter in model.named_parameters():
        gradient = parameter.grad.numpy()
        saved[f"grad.{name}"] = np.array([np.linalg.norm(gradient), np.vdot(gradient, drawn(name, gradient.shape))])

    # assignment
    size = (256, 192)
    points, steps, counts = places(size, STRIDES)
    matched = []
    model.head.compute_loss = lambda targets, outputs, anchors, indices: matched.extend(indices)
    for number in range(40):
        saved[f"assign_boxes{number}"] = boxes_of(rng, number % 9, size)
        target = {"boxes": torch.tensor(saved[f"assign_boxes{number}"])}
        model.compute_loss([target], None, [anchors(points, steps)], counts)
    saved["assign"] = torch.stack(matched).numpy().astype(np.int8)

    # detection: more than 1000 candidates of the first map in the first image, few in the second, none in the third
    points, steps, counts = places(size, STRIDES)
    shapes = {"cls_logits": (3, len(points), CLASSES), "bbox_regression": (3, len(points), 4)}
    outputs = {key: drawn(key, shape) for key, shape in shapes.items()}
    outputs["cls_logits"] -= CONFIDENCE
    outputs["bbox_regression"] = np.abs(outputs["bbox_regression"]) * 2
    outputs["bbox_ctrness"] = drawn("bbox_ctrness", (3, len(points), 1))
    found = model.postprocess_detections(
        {key: list(torch.tensor(array).split(counts, dim=1)) for key, array in outputs.items()},
        [list(anchors(points, steps).split(counts))] * 3,
        [size] * 3,
    )
    for number, of_image in enumerate(found):
        for key, tensor in of_image.items():
            saved[f"detect_{key}{number}"] = tensor.numpy()

    # single functions
    x, t = drawn("focal", (7, 5), 4), drawn("truth", (7, 5)) > 0.5
    for number, (alpha, gamma) in enumerate([(0.25, 2), (-1, 2), (0.6, 0.5), (0.25, 0)]):
        logits = torch.tensor(x, requires_grad=True)
        focal = torchvision.ops.sigmoid_focal_loss(logits, torch.tensor(t.astype(float)), alpha, gamma)
        focal.sum().backward()
        saved[f"focal{number}"] = np.stack([focal.detach().numpy(), logits.grad.numpy()])
    a, b = (boxes_of(np.random.RandomState(seed), 60, (20, 30)) for seed in (1, 2))
    b[:5], a[5:8, 2:] = a[:5], a[5:8, :2]  # equal boxes, and some without an area
    a = torch.tensor(a, requires_grad=True)
    giou = torchvision.ops.generalized_box_iou_loss(a, torch.tensor(b))
    giou.sum().backward()
    saved |= {"giou_a": a.detach().numpy(), "giou_b": b, "giou": giou.detach().numpy(), "giou_grad": a.grad.numpy()}
    boxes = boxes_of(np.random.RandomState(3), 500, (100, 100))
    scores = np.random.RandomState(4).randint(0, 40, 500) / 40  # many are equal
    saved |= {"nms_boxes": boxes, "nms_scores": scores}
    for threshold in (0, 0.3, 0.6):
        saved[f"nms{threshold}"] = torchvision.ops.nms(torch.tensor(boxes), torch.tensor(scores), threshold).numpy()
    np.savez_compressed(Path(__file__).with_name("fcos.npz"), **saved)


if __name__ == "__main__":
    main()
