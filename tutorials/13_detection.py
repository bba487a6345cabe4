# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 13. Detection
#
# A classifier gives one answer for an image. A detector gives a list: each object, with its class and its box. You will
# go from one box to FCOS (Tian et al., arXiv 1904.01355), which asks every location of a feature map.
#
# The last figure shows **an image, which location is responsible for which object, the scores of a network that you
# train, and its boxes before and after non-maximum suppression**.

# %%
import os
import time
from itertools import islice

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

import minires as mr
from minires import nn, ops
from minires.course.tutorials import check
from minires.data import Objects
from minires.vision.assignment import assign

FAST = bool(os.environ.get("FAST"))  # for tests: everything on a smaller scale
COLOURS = ("#e69f00", "#56b4e9", "#cc79a7", "#f0e442", "#d55e00")


def show(panel, image, title, boxes=(), colours=("#e69f00",), labels=None):
    """Draw an image (C, H, W) with boxes; box n has colour n, or the last one."""
    grey = image.shape[0] == 1
    panel.imshow(image[0] if grey else image.transpose(1, 2, 0), cmap="gray" if grey else None, interpolation="nearest")
    for n, (x1, y1, x2, y2) in enumerate(boxes):
        colour = colours[min(n, len(colours) - 1)]
        panel.add_patch(Rectangle((x1 - 0.5, y1 - 0.5), x2 - x1, y2 - y1, fill=False, color=colour, linewidth=2))
        if labels is not None:
            panel.text(x1, y1 - 1.5, labels[n], color="black", fontsize=7, backgroundcolor=colour)
    panel.set_title(title, loc="left", fontsize=10)
    panel.axis("off")


def dimmed(image):
    return (0.6 * image).astype(np.uint8)


# %% [markdown]
# ## How wrong is a box?
#
# A box is x1, y1, x2, y2. Two boxes overlap by their IoU: the area of the intersection, divided by that of the union.
# GIoU subtracts the share of the smallest enclosing box that belongs to neither of them.
#
# **Exercise 13.1.** Compute both by hand for the boxes (0, 0, 4, 4) and (2, 1, 6, 3).

# %%
iou = giou = None
### BEGIN SOLUTION
### END SOLUTION
check("13.1", (iou, giou))

# %% [markdown]
# <details><summary>Solution 13.1</summary>
#
# ```python
# iou = 4 / (16 + 8 - 4)
# giou = iou - (24 - 20) / 24
# ```
#
# </details>
#
# A loss must say in which direction a box should move. Shift a predicted box to the right of its object, and look at
# the gradient with respect to x1:


# %%
def iou_loss(a, b):
    width = ops.minimum(a[2], b[2]) - ops.maximum(a[0], b[0])
    height = ops.minimum(a[3], b[3]) - ops.maximum(a[1], b[1])
    shared = ops.relu(width) * ops.relu(height)
    return 1 - shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


losses = {
    "L1": lambda a, b: abs(a - b).sum(),
    "1 - IoU": iou_loss,
    "1 - GIoU": lambda a, b: ops.giou_loss(a.reshape(1, 4), b.reshape(1, 4), reduction="sum"),
}
print(f"{'':24}" + "".join(f"{name:>10}{'slope':>8}" for name in losses))
for side, by in ((10, 2), (40, 2), (10, 15), (10, 30)):
    line = f"side {side}, shifted by {by:2}  "
    for loss in losses.values():
        box = mr.tensor([by, 0.0, side + by, side], requires_grad=True)
        value = loss(box, mr.tensor([0.0, 0, side, side]))
        line += f"{value.item():10.2f}{mr.grad(value, box)[0].numpy()[0]:8.3f}"
    print(line)

# %% [markdown]
# You should see three things. L1 calls the first two boxes equally wrong, although the second one nearly covers its
# object. IoU knows the difference, but has slope 0 once the boxes no longer touch. GIoU still has a slope there.
#
# ## One box
#
# A small ResNet with one box as its output, on drawn ellipses of all sizes:


# %%
def ellipses(boxes, rng, size=32):
    """Draw the ellipses in boxes (N, M, 4), with noise: (N, 1, size, size)."""
    y, x = np.mgrid[:size, :size] + 0.5
    x1, y1, x2, y2 = (side[..., None, None] for side in np.moveaxis(boxes, -1, 0))
    inside = ((2 * x - x1 - x2) / (x2 - x1)) ** 2 + ((2 * y - y1 - y2) / (y2 - y1)) ** 2 <= 1  # (N, M, size, size)
    noise = rng.normal(0, 0.2, (len(boxes), 1, size, size))
    return (inside.any(axis=1)[:, None] + noise).astype(np.float32)


def draw_boxes(number, rng, size=32, smallest=4):
    sides = np.exp(rng.uniform(np.log(smallest), np.log(size * 0.8), (number, 2)))
    corners = rng.uniform(0, size - sides)
    return np.concatenate([corners, corners + sides], axis=1).astype(np.float32)  # (N, 4)


class OneBox(nn.Module):
    def __init__(self):
        self.body = mr.vision.backbone.Backbone(mr.models.build("resnet8", in_channels=1))
        self.fc = nn.Linear(64 * 8 * 8, 4)
        nn.init.normal(self.fc.weight, std=0.001)  # the first boxes are in the middle, and large

    def forward(self, x):
        y = self.fc(self.body(x)[-1].flatten(1))  # (N, 4)
        middle, half = 4 * y[:, :2] + 16, 12 * ops.exp(y[:, 2:] / 2)  # (N, 2) each, in pixels
        return ops.concatenate([middle - half, middle + half], axis=1)


def train_one_box(loss_of, objects, steps):
    mr.manual_seed(0)
    model, rng = OneBox(), np.random.default_rng(0)
    optimizer = mr.optim.Adam(model.parameters(), lr=1e-3)
    schedule = mr.optim.CosineLR(optimizer, steps)
    for _ in range(steps):
        boxes = np.stack([draw_boxes(32, rng) for _ in range(objects)], axis=1)  # (32, objects, 4)
        target = boxes[:, rng.integers(objects)]  # one of them
        loss = loss_of(model(mr.tensor(ellipses(boxes, rng))), mr.tensor(target))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def overlaps(model, boxes):
    with mr.no_grad():
        found = model(mr.tensor(ellipses(boxes, np.random.default_rng(1)))).numpy()
    ious = [mr.vision.box_iou(found[i : i + 1], own).max() for i, own in enumerate(boxes)]
    return found, np.array(ious)  # with the nearest object


steps = 3 if FAST else 160
by_l1 = train_one_box(lambda a, b: abs(a - b).mean(), 1, steps)
by_giou = train_one_box(lambda a, b: ops.giou_loss(a, b, reduction="mean"), 1, steps)
rng = np.random.default_rng(9)
test = draw_boxes(400, rng)[:, None]  # (400, 1, 4)
area = np.prod(test[:, 0, 2:] - test[:, 0, :2], axis=1)
small = area < np.quantile(area, 1 / 3)
for name, model in (("L1", by_l1), ("GIoU", by_giou)):
    ious = overlaps(model, test)[1]
    print(f"trained with {name:5} mean IoU {ious.mean():.2f}, of the smallest third {ious[small].mean():.2f}")

# %% [markdown]
# You should see L1 ahead after so few steps, and both weaker on small objects. GIoU measures what we want, but its
# slope is small while boxes hardly overlap; so it needs a good start. FCOS gives it one: a location only predicts boxes
# around itself.
#
# ## Two objects
#
# Now each image has two ellipses, and the network still has one box. Each step asks for one of the two, at random.

# %%
of_two = train_one_box(lambda a, b: abs(a - b).mean(), 2, steps)
two = np.stack([draw_boxes(400, rng, smallest=8), draw_boxes(400, rng, smallest=8)], axis=1)  # (400, 2, 4)
apart = mr.vision.box_iou(two[:, 0], two[:, 1]).diagonal() == 0
found, ious = overlaps(of_two, two[apart])
print(f"mean IoU with the nearer of two objects: {ious.mean():.2f}")
figure, panels = plt.subplots(1, 5, figsize=(9, 2.1), layout="constrained")
one, images = overlaps(by_giou, test[:2])[0], ellipses(np.concatenate([test[:2].repeat(2, 1), two[apart][:3]]), rng)
for n, panel in enumerate(panels):
    show(panel, images[n], "one object" if n < 2 else "two objects", [*one, *found][n : n + 1])
plt.show()

# %% [markdown]
# You should see good boxes for one object. With two, the box is between them, or covers parts of both: a compromise
# between two right answers is wrong. The network needs one output per object, and a rule for which output is
# responsible for which object.
#
# ## One level of FCOS: who is responsible?
#
# FCOS asks every location of a feature map. With stride 8, the location in column i and row j is at
# (8·(i + ½), 8·(j + ½)). It gives the distances l, t, r, b to the left, top, right and bottom edges of its object, in
# strides.
#
# **Exercise 13.2.** What are l, t, r and b for the location in column 2 and row 1, and the box (8, 4, 32, 28)?

# %%
answer = None
### BEGIN SOLUTION
### END SOLUTION
check("13.2", answer)

# %% [markdown]
# <details><summary>Solution 13.2</summary>
#
# ```python
# answer = [(20 - 8) / 8, (12 - 4) / 8, (32 - 20) / 8, (28 - 12) / 8]
# ```
#
# </details>
#
# A location is responsible for an object if it lies inside its box, less than 1.5 strides from its centre. If there are
# several such objects, the smallest wins. All other locations are background. (Here, all classes are one: "object".)

# %%
started = time.perf_counter()
drawn = list(islice(mr.data.scenes(size=64, difficulty=0, seed=0), 40 if FAST else 650))
print(f"{len(drawn)} scenes in {time.perf_counter() - started:.0f} s")
pixels = np.stack([scene.image for scene in drawn])
objects = [Objects(scene.objects.boxes, np.zeros(len(scene.objects), int)) for scene in drawn]
tests = len(drawn) // 8  # the last ones


def tinted(panel, image, boxes, places, title):
    """Colour the cell of each location like its object, and mark those that several objects ask for with a cross."""
    alone = [assign(Objects(box[None], [0]), places) >= 0 for box in boxes]
    owners, stride = assign(Objects(boxes, np.zeros(len(boxes), int)), places), places.strides[0]
    show(panel, dimmed(image), title, boxes, COLOURS)
    for (x, y), owner, asking in zip(places.points, owners, np.sum(alone, axis=0), strict=True):
        if owner >= 0:
            cell = Rectangle((x - stride / 2 - 0.5, y - stride / 2 - 0.5), stride, stride)
            cell.set(facecolor=COLOURS[owner], alpha=0.6, linewidth=0)
            panel.add_patch(cell)
        panel.plot(x - 0.5, y - 0.5, "x" if asking > 1 else ".", color="white", markersize=6 if asking > 1 else 2)


model = mr.vision.fcos("resnet8", num_classes=1, channels=48, strides=(8,))
places = model.locations((64, 64))
crossed = sorted(
    range(len(drawn) - tests), key=lambda n: -np.triu(mr.vision.box_iou(objects[n].boxes, objects[n].boxes), 1).sum()
)
figure, panels = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
for panel, number in zip(panels, crossed, strict=False):
    tinted(panel, pixels[number], objects[number].boxes, places, f"{len(objects[number])} objects")
plt.show()

# %% [markdown]
# You should see each object's locations in its colour, near the middle of its box; a cross where several objects ask
# for the same location.
#
# ## Most locations are background
#
# A location has one score per class, and nearly all of them should say "no". Focal loss multiplies the cross-entropy
# of an answer that has the probability p by (1 - p)².
#
# **Predict 13.3.** A background location says "no" with p = 0.9. What is its loss divided by its cross-entropy?

# %%
answer = None
### BEGIN SOLUTION
### END SOLUTION
check("13.3", answer)

# %%
fine = mr.vision.fcos("resnet8", 5, channels=48, strides=(4,)).locations((64, 64))
present = np.zeros((len(drawn), len(fine.points), 5), np.float32)  # (N, L, K), for the five classes
for truth, scene in zip(present, drawn, strict=True):
    owners = assign(scene.objects, fine)
    truth[np.flatnonzero(owners >= 0), scene.objects.labels[owners[owners >= 0]]] = 1
print(f"{(present == 0).sum() / present.sum():.0f} times as many answers are no as yes")


def inputs(chosen):
    x = pixels[chosen].astype(np.float32) / 64  # (N, 3, H, W)
    return mr.tensor(x - x.mean(axis=(2, 3), keepdims=True))  # the background of each image is near 0


for name, gamma, alpha in (("cross-entropy", 0, 0.5), ("focal loss", 2, 0.25)):
    mr.manual_seed(0)
    classifier, rng = mr.vision.fcos("resnet8", 5, channels=48, strides=(4,)), np.random.default_rng(0)
    if name == "cross-entropy":
        nn.init.zeros(classifier.head["classification_head"].cls_logits.bias)  # all scores begin at 0.5
    optimizer = mr.optim.Adam(classifier.parameters(), lr=0.004)
    for _ in range(2 if FAST else 60):
        batch = rng.integers(len(drawn) - tests, size=8)
        logits, truth = classifier(inputs(batch))[0], present[batch]
        loss = ops.sigmoid_focal_loss(logits, mr.tensor(truth), alpha, gamma, reduction="sum") / truth.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with mr.no_grad():
        scores = classifier.eval()(inputs(slice(-tests, None)))[0].sigmoid().numpy()
    truth = present[-tests:] == 1
    print(f"{name:14} mean score where the answer is yes {scores[truth].mean():.2f}, no {scores[~truth].mean():.3f}; "
          f"yes above 0.2: {100 * (scores[truth] > 0.2).mean():.0f} %")  # fmt: skip

# %% [markdown]
# <details><summary>Solution 13.3</summary>
#
# ```python
# answer = (1 - 0.9) ** 2
# ```
#
# </details>
#
# You should see that cross-entropy has learned to say "no" everywhere: the many easy answers outvote the few that
# matter. With focal loss, and scores that begin at 0.01, some objects are found after the same 60 steps.
#
# ## Training one level
#
# The third output is the centerness, sqrt(min(l, r) / max(l, r) · min(t, b) / max(t, b)): 1 in the middle of the
# object, 0 at an edge. The loss has three parts: focal loss, GIoU and the cross-entropy of the centerness.

# %%
mr.manual_seed(0)
model = mr.vision.fcos("resnet8", num_classes=1, channels=48, strides=(8,))
steps, rng = 3 if FAST else 220, np.random.default_rng(0)
optimizer = mr.optim.Adam(model.parameters(), lr=0.006)
schedule = mr.optim.Warmup(mr.optim.CosineLR(optimizer, steps), 10)
for step in range(steps):
    batch = rng.integers(len(drawn) - tests, size=16)
    loss = mr.vision.fcos_loss(model(inputs(batch)), [objects[n] for n in batch], places)
    optimizer.zero_grad()
    loss.total.backward()
    optimizer.step()
    schedule.step()
    if step % 50 == 0 or step == steps - 1:
        print(f"step {step:3}: " + ", ".join(f"{name} {part.item():.2f}" for name, part in loss._asdict().items()))
with mr.no_grad():
    outputs = model.eval()(inputs(slice(-tests, None)))
logits, sides, central = (output.numpy() for output in outputs)
boxes = np.stack([mr.vision.assignment.decode(row, places.points, places.strides) for row in sides])  # (N, L, 4)
quality, centre = [], []
for n, truth in enumerate(objects[-tests:]):
    owners = assign(truth, places)
    own = truth.boxes[owners]  # (L, 4)
    ious = mr.vision.box_iou(boxes[n], truth.boxes)[np.arange(len(own)), owners]
    quality += ious[owners >= 0].tolist()
    centre += (1 / (1 + np.exp(-central[n])))[owners >= 0].tolist()
quality, centre = np.array(quality), np.array(centre)
for name, chosen in (("below", centre < np.median(centre)), ("above", centre >= np.median(centre))):
    print(f"mean IoU of the boxes whose predicted centerness is {name} the median: {quality[chosen].mean():.2f}")

# %% [markdown]
# You should see better boxes where the centerness is high. So the score of a box is the geometric mean of the class's
# probability and the centerness.
#
# ## The pyramid
#
# One level is too coarse for small objects and has too few locations for crowded ones. A pyramid has maps with strides
# of 4, 8 and 16 pixels, and leaves large objects to coarse maps:

# %%
for strides in ((16,), (8,), (4, 8, 16)):
    levels = mr.vision.fcos("resnet8", 1, channels=48, strides=strides).locations((64, 64))
    total = lost = several = 0
    for truth in objects:
        asked = np.array([assign(truth.chosen([n]), levels) >= 0 for n in range(len(truth))])  # (M, L)
        total, several = total + asked.any(axis=0).sum(), several + (asked.sum(axis=0) > 1).sum()
        lost += len(truth) - len(np.setdiff1d(assign(truth, levels), [-1]))
    print(f"strides {strides!s:11} objects without a location: {100 * lost / sum(map(len, objects)):4.1f} %, "
          f"locations that several objects ask for: {100 * several / total:4.1f} %")  # fmt: skip

# %% [markdown]
# You should see both problems shrink with finer maps. (`minires train --task detection` trains the pyramid.)
#
# ## Non-maximum suppression
#
# All locations of an object find it. **Exercise 13.4.** Write NMS: go through the boxes from the highest score down,
# and keep a box if its IoU with every box that was kept is at most `threshold`. Append the indices of kept boxes to
# `kept`.


# %%
def my_nms(boxes, scores, threshold):
    kept, overlap = [], mr.vision.box_iou(boxes, boxes)  # overlap[n, m]: the IoU of boxes n and m
    ### BEGIN SOLUTION
    ### END SOLUTION
    return kept or None


check("13.4", my_nms)

# %% [markdown]
# <details><summary>Solution 13.4</summary>
#
# ```python
#     for n in np.argsort(-scores, kind="stable"):
#         if all(overlap[n, m] <= threshold for m in kept):
#             kept.append(n)
# ```
#
# </details>

# %%
number = next(n for n in range(tests) if len(objects[n - tests]) == 4)
image, truth = pixels[number - tests], objects[number - tests]
scores = np.sqrt(1 / ((1 + np.exp(-logits[number, :, 0])) * (1 + np.exp(-central[number]))))  # (L,)
before = np.flatnonzero(scores > 0.3)
own = tuple(output[number : number + 1] for output in outputs)
(found,) = mr.vision.detect(own, (64, 64), places, threshold=0.3, overlap=0.5)
print(f"{len(before)} boxes with a score above 0.3, {len(found.boxes)} after NMS, {len(truth)} objects")
near, kept = (mr.vision.box_iou(them, truth.boxes).argmax(axis=1) for them in (boxes[number][before], found.boxes))
figure, panels = plt.subplots(1, 5, figsize=(11.5, 2.7), layout="constrained")
show(panels[0], image, f"{len(truth)} objects")
tinted(panels[1], image, truth.boxes, places, "who is responsible")
show(panels[2], dimmed(image), "sqrt(class x centerness)")
panels[2].imshow(
    scores.reshape(8, 8),
    extent=(-0.5, 63.5, 63.5, -0.5),
    cmap="magma",
    interpolation="nearest",
    alpha=0.75,
    vmin=0,
    vmax=1,
)
show(panels[3], dimmed(image), f"before NMS: {len(before)} boxes", boxes[number][before], np.take(COLOURS, near))
names = [f"{100 * score:.0f} %" for score in found.scores]
show(panels[4], dimmed(image), f"after NMS: {len(kept)} boxes", found.boxes, np.take(COLOURS, kept), names)
plt.show()

# %% [markdown]
# Boxes have the colour of the object that they overlap most. You should see bright cells in the middle of objects, and
# a bundle of boxes around each, of which NMS leaves the one with the highest score.
# Some mistakes remain after so short a training, mostly where objects touch.
