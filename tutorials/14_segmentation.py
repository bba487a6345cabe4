# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 14. Segmentation
#
# Segmentation gives every pixel a class. A classifier can already do most of it: you will turn one into a fully
# convolutional network (FCN), see what its strides cost, and get the details back with the parts of DeepLabv3+. The
# last figure shows **an image, its true mask, the masks of both networks, and where the networks differ**.

# %%
import os
import time
from itertools import islice

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb

import minires as mr
from minires import nn, ops
from minires.course.tutorials import check
from minires.vision.backbone import Backbone

FAST = bool(os.environ.get("FAST"))  # for tests: everything on a smaller scale


def show(panel, image, title, masks=(), dim=0.4):
    """Draw an image (3, H, W); pixels of the masks {colour: (H, W)} get their colours."""
    picture = dim * image.transpose(1, 2, 0) / 255  # (H, W, 3)
    for colour in masks:
        picture[masks[colour]] = to_rgb(colour)
    panel.imshow(picture, interpolation="nearest")
    panel.set_title(title, loc="left", fontsize=10)
    panel.axis("off")


# %% [markdown]
# ## A classifier at every pixel
#
# A ResNet ends with the mean over all pixels of its last map, and a linear layer. Leave out the mean, and let the layer
# look at each pixel: as a 1x1 convolution with the same weights.
#
# **Predict 14.1.** The last map is (N, 64, 16, 16) and there are 6 classes. How many numbers do the logits of one image
# have?

# %%
answer = None
### BEGIN SOLUTION
### END SOLUTION
check("14.1", answer)

# %%
mr.manual_seed(0)
classifier = mr.models.build("resnet8", num_classes=6).eval()
trunk = Backbone(classifier).eval()
at_each_pixel = nn.Conv2d(64, 6, kernel_size=1)
at_each_pixel.weight = nn.Parameter(classifier.fc.weight.numpy()[:, :, None, None])  # (6, 64) -> (6, 64, 1, 1)
at_each_pixel.bias = classifier.fc.bias
x = mr.randn(2, 3, 64, 64)
with mr.no_grad():
    scores = at_each_pixel(trunk(x)[-1])  # (2, 6, 16, 16)
    print("the mean of the map of scores is the classifier's answer:",
          np.allclose(scores.mean(axis=(2, 3)).numpy(), classifier(x).numpy(), atol=1e-4))  # fmt: skip

# %% [markdown]
# <details><summary>Solution 14.1</summary>
#
# ```python
# answer = 6 * 16 * 16
# ```
#
# </details>
#
# ## Back to the size of the image
#
# The map has one pixel for 4x4 pixels of the image, so the scores are enlarged by bilinear interpolation, one axis
# after the other. Along a row, pixel i of the m new ones is at (i + ½)·n/m - ½ among the n old ones, clipped to 0 and
# n - 1. Its value is interpolated linearly between its two neighbours.
#
# **Exercise 14.2.** Resize a row of n numbers to m numbers.


# %%
def resize_row(row, m):
    n, resized = len(row), None
    ### BEGIN SOLUTION
    ### END SOLUTION
    return resized


check("14.2", resize_row)

# %% [markdown]
# <details><summary>Solution 14.2</summary>
#
# ```python
#     place = np.clip((np.arange(m) + 0.5) * n / m - 0.5, 0, n - 1)
#     left = np.floor(place).astype(int)
#     right = np.minimum(left + 1, n - 1)
#     resized = row[left] + (place - left) * (row[right] - row[left])
# ```
#
# </details>
#
# ## What strides cost
#
# How well can a map of stride s show the truth at all? Average the true mask over cells of s x s pixels, enlarge it
# again, and compare. Thin parts are the pixels that no 5x5 square inside the object covers: legs, tails, arms.

# %%
started = time.perf_counter()
drawn = list(islice(mr.data.scenes(size=64, difficulty=0, seed=0), 40 if FAST else 450))
print(f"{len(drawn)} scenes in {time.perf_counter() - started:.0f} s")
pixels = np.stack([scene.image for scene in drawn])  # (N, 3, 64, 64)
masks = np.stack([scene.mask > 0 for scene in drawn])  # (N, 64, 64): False is the background
tests = len(drawn) // 6  # the last ones


def windows(mask, size, join):
    """Join all windows around each pixel (N, H, W) by np.all or np.any; outside, there is nothing."""
    padded = np.pad(mask, ((0, 0), *[(size // 2, size // 2)] * 2))
    return join(np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2)), axis=(3, 4))


instances = [np.stack([scene.instances == number for scene in drawn]) for number in range(1, 6)]
thick = sum(windows(windows(one, 5, np.all), 5, np.any) for one in instances) > 0  # (N, H, W)
thin = masks & ~thick
edge = windows(masks, 3, np.any) & ~windows(masks, 3, np.all)
print(f"{100 * masks.mean():.0f} % of all pixels show objects, and {100 * thin.sum() / masks.sum():.0f} % of those are "
      "thin")  # fmt: skip
for stride in (2, 4, 8, 16):
    truth = mr.tensor(masks[:, None].astype(np.float32))
    small = ops.avg_pool2d(truth, stride)  # (N, 1, 64 / s, 64 / s)
    again = ops.interpolate(small, (64, 64), mode="bilinear").numpy()[:, 0] > 0.5
    print(f"stride {stride:2}: of the thick pixels {100 * again[thick].mean():3.0f} % survive, "
          f"of the thin ones {100 * again[thin].mean():3.0f} %")  # fmt: skip

# %% [markdown]
# You should see thick parts survive at any stride, and thin ones vanish. That is no fault of training: a coarse map
# cannot hold them.
#
# ## Dilation keeps the map
#
# A stride skips pixels. If it is removed, the map stays large, but for the layers after it, neighbours are half as far
# away as before. With a dilation of 2, these layers skip every second pixel, and meet the right ones again.
#
# **Predict 14.3.** How wide, in pixels, is the window that a 3x3 convolution with dilation 4 looks at?

# %%
answer = None
### BEGIN SOLUTION
### END SOLUTION
check("14.3", answer)

# %%
with mr.no_grad():
    small = trunk(x)[-1].numpy()
    dilated = Backbone(classifier, output_stride=2).eval()  # the same parameters; it changes the classifier's layers
    large = dilated(x)[-1].numpy()
print("maps", small.shape, "and", large.shape)
print("the first is every second pixel of the second:", np.allclose(small, large[:, :, ::2, ::2], atol=1e-4))

# %% [markdown]
# <details><summary>Solution 14.3</summary>
#
# ```python
# answer = 4 * 2 + 1
# ```
#
# </details>
#
# DeepLab's ASPP looks at the last map with several dilations at once. They must fit its size: how many of the nine
# pixels of such a kernel lie inside a map of 16x16, on average?

# %%
for rate in (1, 3, 6, 9, 12, 18):
    inside = ops.conv2d(mr.ones(1, 1, 16, 16), mr.ones(1, 1, 3, 3), padding=rate, dilation=rate)
    print(f"rate {rate:2}: {inside.numpy().mean():.1f} of 9")

# %% [markdown]
# You should see that with large rates only the middle pixel is left: a costly 1x1 convolution. minires scales the rates
# with the map: 3, 6 and 9 here.
#
# ## Scores
#
# Pixel accuracy is high if the background is right. **Exercise 14.4.** Compute the confusion matrix of K classes (true
# classes in rows, predicted ones in columns), and the mean over classes of |true ∩ predicted| / |true ∪ predicted|.
# Leave out classes that occur in neither.


# %%
def score(predicted, true, classes):
    matrix = mean_iou = None
    ### BEGIN SOLUTION
    ### END SOLUTION
    return matrix, mean_iou


check("14.4", score)

# %% [markdown]
# <details><summary>Solution 14.4</summary>
#
# ```python
#     matrix = np.zeros((classes, classes), int)
#     np.add.at(matrix, (true.ravel(), predicted.ravel()), 1)
#     shared = np.diag(matrix)
#     union = matrix.sum(axis=0) + matrix.sum(axis=1) - shared
#     mean_iou = (shared[union > 0] / union[union > 0]).mean()
# ```
#
# </details>

# %%
nothing = mr.vision.confusion_matrix(np.zeros(masks.shape, int), masks.astype(int), classes=2)
print(f"background everywhere: pixel accuracy {100 * mr.vision.pixel_accuracy(nothing):.0f} %, "
      f"mean IoU {100 * mr.vision.mean_iou(nothing):.0f} %")  # fmt: skip

# %% [markdown]
# ## A loss for few pixels
#
# Cross-entropy has the same weakness. Dice's coefficient is 2·|true ∩ predicted| / (|true| + |predicted|).
# **Exercise 14.5.** Write a loss that is 1 minus this coefficient, for probabilities p and a truth t of zeros and ones:
# the intersection becomes the sum of p·t, and sizes become sums.


# %%
def dice_loss(p, t):
    """Return 1 minus the coefficient."""
    ### BEGIN SOLUTION
    ### END SOLUTION


check("14.5", dice_loss)

# %% [markdown]
# <details><summary>Solution 14.5</summary>
#
# ```python
#     return 1 - 2 * (p * t).sum() / (p.sum() + t.sum())
# ```
#
# </details>

# %%
for share in (0.1, 0.01, 0.001):
    t = (np.arange(10_000) < share * 10_000).astype(int)
    logits = mr.tensor(np.tile([[[np.log(1 - share)], [np.log(share)]]], (1, 1, 10_000)))  # p is the share everywhere
    losses = ops.cross_entropy(logits, t[None]), mr.vision.dice_loss(logits, t[None], reduction="none")[1]
    print(f"object on {100 * share:4.1f} % of pixels, never found: cross-entropy {losses[0].item():.3f}, "
          f"Dice loss {losses[1].item():.3f}")  # fmt: skip

# %% [markdown]
# ## Both networks
#
# The decoder of DeepLabv3+ joins ASPP's answer, which knows what there is, with an earlier map of stride 2, which still
# knows where it ends. Train both networks on the same images, with the same number of steps:


# %%
def inputs(chosen):
    x = pixels[chosen].astype(np.float32) / 64  # (N, 3, H, W)
    return mr.tensor(x - x.mean(axis=(2, 3), keepdims=True))  # the background of each image is near 0


def train(build, steps):
    mr.manual_seed(0)
    model, rng = build("resnet8", num_classes=2), np.random.default_rng(0)
    optimizer = mr.optim.Adam(model.parameters(), lr=0.005)
    schedule = mr.optim.Warmup(mr.optim.CosineLR(optimizer, steps), 10)
    for _ in range(steps):
        batch = rng.integers(len(drawn) - tests, size=16)
        loss = ops.cross_entropy(model(inputs(batch)), masks[batch].astype(int))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with mr.no_grad():
        return model.eval()(inputs(slice(-tests, None))).numpy().argmax(axis=1) == 1  # (tests, H, W)


def ious(found, where):
    """The mean IoU of object and background, counted at the pixels ``where``."""
    truth = masks[-tests:][where].astype(int)
    return 100 * mr.vision.mean_iou(mr.vision.confusion_matrix(found[where].astype(int), truth, classes=2))


everywhere, truth = np.ones((tests, 64, 64), bool), masks[-tests:]
near_thin = windows(thin[-tests:], 5, np.any) & ~thick[-tests:]
found = {}
for name, build in (("FCN", mr.vision.fcn), ("DeepLabv3+", mr.vision.deeplabv3plus)):
    started = time.perf_counter()
    found[name] = train(build, 2 if FAST else 120)
    wrong = found[name] != truth
    print(f"{name:10} in {time.perf_counter() - started:3.0f} s: pixel accuracy {100 * (~wrong).mean():.1f} %, "
          f"mean IoU {ious(found[name], everywhere):.1f} %, around thin parts {ious(found[name], near_thin):.1f} %; "
          f"{100 * wrong[edge[-tests:]].sum() / max(1, wrong.sum()):.0f} % of the errors are at edges")  # fmt: skip

# %% [markdown]
# You should see two accuracies that look alike, and mean IoUs that do not, least of all around thin parts (within two
# pixels of one, and not in a thick part). Most errors are at the edges of objects. The price is time: a step of
# DeepLabv3+ takes longer.

# %%
thin_here = thin[-tests:].sum(axis=(1, 2))
number = int(thin_here.argmax())  # the image with the most thin parts
image, here = pixels[number - tests], truth[number]
figure, panels = plt.subplots(1, 5, figsize=(11.5, 2.7), layout="constrained")
show(panels[0], image, "image", dim=1)
show(panels[1], image, "truth", {"#ffffff": here})
for panel, (name, masks_found) in zip(panels[2:], found.items(), strict=False):
    show(
        panel,
        image,
        f"{name}, thin {ious(masks_found, near_thin):.0f} %",
        {"#e69f00": masks_found[number]},
    )
fcn, deeplab = (masks_found[number] == here for masks_found in found.values())
differ = {"#56b4e9": deeplab & ~fcn, "#d55e00": fcn & ~deeplab, "#f0e442": ~fcn & ~deeplab}
show(panels[4], image, "where one is wrong", differ)
plt.show()

# %% [markdown]
# You should see FCN's blobs, in which legs and arms are lost or run together, and DeepLabv3+'s finer outlines. On the
# right, only DeepLabv3+ is right at the blue pixels, only FCN at the red ones, and neither at the yellow ones. (The
# percentages are the mean IoUs around thin parts of all test images.)
