# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 15. Video
#
# A clip is T images and their order. You will see that a network for single images cannot use the order, however well
# it is trained, and that moving a few channels in time is enough to change this. Then you will follow objects from
# frame to frame. The last figure shows **a clip as a film strip, the answers of three networks to it and to the
# reversed clip, and the paths of objects whose identities a tracker keeps or confuses**.

# %%
import os
import time

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

import minires as mr
from minires import ops
from minires.course.tutorials import check

FAST = bool(os.environ.get("FAST"))  # for tests: everything on a smaller scale

# %% [markdown]
# ## Which way?
#
# In each clip, one object moves to the left or to the right, which is the class. A clip of one class is a clip of the
# other class, played backwards.

# %%
started = time.perf_counter()
data = mr.data.moving_shapes(train=40 if FAST else 240, test=20 if FAST else 120, difficulty=0.1, seed=0)
(clips, labels), (test_clips, test_labels) = (split[np.arange(len(split))] for split in (data.train, data.test))
print(
    f"{len(clips) + len(test_clips)} clips {clips.shape[1:]} in {time.perf_counter() - started:.0f} s: {data.classes}"
)


def strip(panel, clip, title):
    """Draw the frames of a clip (T, 3, H, W) side by side."""
    gap = np.full((3, clip.shape[2], 2), 255, np.uint8)
    film = np.concatenate([part for frame in clip for part in (frame, gap)][:-1], axis=2)  # (3, H, T * (W + 2) - 2)
    panel.imshow(film.transpose(1, 2, 0), interpolation="nearest")
    panel.set_title(title, loc="left", fontsize=10)
    panel.axis("off")


figure, panels = plt.subplots(2, 1, figsize=(7, 2), layout="constrained")
for panel, n in zip(panels, (0, 1), strict=True):
    strip(panel, test_clips[n], data.classes[test_labels[n]])
plt.show()

# %% [markdown]
# ## One frame at a time
#
# The simplest video network applies an image classifier to each frame, and averages the logits. Reversing a clip only
# changes the order of the terms of a sum:
#
# > mean(f(x₁), f(x₂), ..., f(x_T)) = mean(f(x_T), ..., f(x₂), f(x₁))
#
# So the network gives the same answer to both, and exactly one of the two is right.
#
# **Predict 15.1.** The test clips come in pairs: a clip and the reversed one. What per cent of the test clips does this
# network get right, after training?

# %%
answer = None
### BEGIN SOLUTION
### END SOLUTION
check("15.1", answer)


# %%
def inputs(clips):
    return mr.tensor(clips.astype(np.float32) / 127.5 - 1)


def train(model, steps):
    rng = np.random.default_rng(0)
    optimizer = mr.optim.Adam(model.parameters(), lr=0.004)
    schedule = mr.optim.Warmup(mr.optim.CosineLR(optimizer, steps), 10)
    started = time.perf_counter()
    for _ in range(steps):
        first = 2 * rng.integers(len(clips) // 2, size=4)
        batch = np.concatenate([first, first + 1])  # both directions of four clips
        loss = ops.cross_entropy(model(inputs(clips[batch])), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    print(f"{steps} steps in {time.perf_counter() - started:.0f} s, last loss {loss.item():.3f}")
    return model.eval()


def right_of(model, clips):
    """Return the probability of "right", (N,)."""
    with mr.no_grad():
        return model(inputs(clips)).softmax(axis=1).numpy()[:, data.classes.index("right")]


def accuracy(model):
    return 100 * ((right_of(model, test_clips) > 0.5) == (test_labels == data.classes.index("right"))).mean()


steps = 3 if FAST else 120
mr.manual_seed(0)
per_frame = train(mr.vision.tsn("resnet8", num_classes=2), steps)
print(f"per frame: {accuracy(per_frame):.0f} % of the test clips")

# %% [markdown]
# <details><summary>Solution 15.1</summary>
#
# ```python
# answer = 50
# ```
#
# </details>
#
# ## A shift in time
#
# A convolution that sees several frames at once can tell the direction. The temporal shift module (Lin et al., arXiv
# 1811.08383) needs no new one: before a convolution, it replaces the first eighth of the channels by those of the next
# frame, and the second eighth by those of the previous frame. Where there is no such frame, they are 0.
#
# **Exercise 15.2.** Write the shift for an array (N, T, C, H, W), of which `moved` channels go each way. Fill and
# return an array of zeros; three lines of slices are enough.


# %%
def shift(x, moved):
    """Return the shifted clips."""
    ### BEGIN SOLUTION
    ### END SOLUTION


check("15.2", shift)

# %% [markdown]
# <details><summary>Solution 15.2</summary>
#
# ```python
#     shifted = np.zeros_like(x)
#     shifted[:, :-1, :moved] = x[:, 1:, :moved]
#     shifted[:, 1:, moved : 2 * moved] = x[:, :-1, moved : 2 * moved]
#     shifted[:, :, 2 * moved :] = x[:, :, 2 * moved :]
#     return shifted
# ```
#
# </details>

# %%
mr.manual_seed(0)
shifted = train(mr.vision.tsm("resnet8", num_classes=2), steps)
for name, model in (("per frame", per_frame), ("with shifts", shifted)):
    swapped = (right_of(model, test_clips) > 0.5) != (right_of(model, test_clips[:, ::-1]) > 0.5)
    print(f"{name:12} {sum(p.size for p in model.parameters()):,} parameters, {accuracy(model):.0f} % right; "
          f"reversing a clip changes {100 * swapped.mean():.0f} % of the answers")  # fmt: skip

# %% [markdown]
# You should see that both networks have the same number of parameters. One is stuck at guessing; the other one gets
# nearly all clips right, and reversing a clip swaps its answer.
#
# ## Convolutions in time
#
# A 3x3x3 convolution looks at three frames at once. R(2+1)D (Tran et al., arXiv 1711.11248) factorises it: a 1x3x3
# convolution over space to M channels, then a 3x1x1 convolution over time. Both are two-dimensional convolutions of
# reshaped clips.
#
# **Exercise 15.3.** Write a function that returns the largest M with which the pair has no more weights than a 3x3x3
# convolution from C to O channels. (There are no biases.)


# %%
def middle_channels(c, o):
    """Return M."""
    ### BEGIN SOLUTION
    ### END SOLUTION


check("15.3", middle_channels)

# %% [markdown]
# <details><summary>Solution 15.3</summary>
#
# ```python
#     return 27 * c * o // (9 * c + 3 * o)
# ```
#
# </details>


# %%
def two_plus_one(x, spatial, temporal):
    """Convolve a clip (N, C, T, H, W) over space, by (M, C, 3, 3), and time, by (O, M, 3, 1): (N, O, T, H, W)."""
    n, c, t, h, w = x.shape
    frames = x.transpose(0, 2, 1, 3, 4).reshape(n * t, c, h, w)  # each frame is an image
    y = ops.relu(ops.conv2d(frames, spatial, padding=1))  # (N * T, M, H, W)
    y = y.reshape(n, t, -1, h, w).transpose(0, 2, 1, 3, 4)  # (N, M, T, H, W)
    y = y.reshape(n, -1, t, h * w)  # an image with a row for each frame, and a column for each pixel
    return ops.conv2d(y, temporal, padding=(1, 0)).reshape(n, -1, t, h, w)


block = mr.vision.r2plus1d(num_classes=2).layer1[0].conv1[0]  # batch norm is between its two convolutions
spatial, temporal = block[0].weight, block[-1].weight
print("M =", spatial.shape[0], "weights:", spatial.size + temporal.size, "and of 3x3x3:", 27 * 16 * 16)
x = mr.randn(1, 16, 8, 12, 12)
y, reverse = (two_plus_one(clip, spatial, temporal) for clip in (x, x.flip(2)))
print(y.shape, "the same for the reversed clip:", np.allclose(y.numpy(), reverse.flip(2).numpy(), atol=1e-4))
mr.manual_seed(0)
in_time = train(mr.vision.r2plus1d(num_classes=2), steps)
print(f"R(2+1)D: {sum(p.size for p in in_time.parameters()):,} parameters, {accuracy(in_time):.0f} % right")

# %% [markdown]
# You should see the same number of weights, a map that is not simply the reversed one, and a network that learns the
# direction as well; but its steps take longer than those with shifts.
#
# ## Following objects
#
# A detector says where objects are in each frame, but not which of them is which. A tracker matches the boxes of this
# frame with those of the last one. Taking the largest overlap first is not always best.
#
# **Exercise 15.4.** Given the IoUs (M, M) of M tracks (rows) and M boxes (columns), return a list with the box of each
# track, such that the sum of their IoUs is as large as possible. (Try all `itertools.permutations`.)


# %%
def match(overlap):
    """Return the number of the box for each track."""
    ### BEGIN SOLUTION
    ### END SOLUTION


check("15.4", match)

# %% [markdown]
# <details><summary>Solution 15.4</summary>
#
# ```python
#     import itertools
#
#     tracks = range(len(overlap))
#     return max(itertools.permutations(tracks), key=lambda boxes: sum(overlap[i, boxes[i]] for i in tracks))
# ```
#
# The Hungarian method finds the same without trying all. </details>
#
# Cars drive along a road in both directions, in lanes 3 pixels apart. Each car is found in each frame. What if the
# tracker gets only some of the frames?

# %%
cars = 6
rng = np.random.default_rng(2)
frames, speed = np.arange(120), np.tile((1, -1), cars // 2) * rng.uniform(0.6, 1.0, cars)  # pixels per frame
start = np.where(speed > 0, rng.uniform(0, 60, cars), rng.uniform(90, 150, cars))
left, top = start + frames[:, None] * speed, 3.0 * np.arange(cars) + 0 * frames[:, None]  # (120, 6) each
boxes = np.stack([left, top, left + 12, top + 8], axis=2)  # (120, 6, 4)


def track(every):
    """Return the frames that the tracker gets, and the identities that it gives to the cars in them."""
    tracker, seen = mr.vision.Tracker(), frames[::every]
    return seen, np.array([tracker.update(boxes[t], labels=np.zeros(cars, int)) for t in seen])


for every in (1, 2, 4, 6, 8):
    seen, identities = track(every)
    truth, found = ([(row, boxes[t]) for t, row in zip(seen, ids, strict=True)]
                    for ids in (np.tile(np.arange(cars), (len(seen), 1)), identities))  # fmt: skip
    scores = mr.vision.mota(truth, found)
    print(f"one frame in {every}: {scores['id_switches']:2} identity switches, MOTA {100 * scores['MOTA']:.0f} %")

# %% [markdown]
# You should see no switches with all frames, and many with few. When two cars pass each other between two frames, each
# is then nearer to where the other one was. In the end, a car hardly overlaps its own last box. A tracker that predicts
# motion, or compares what objects look like, can do better.

# %%
pair = np.abs(right_of(shifted, test_clips[::2]) - 0.5).argsort()[
    len(test_clips) // 4
]  # neither the best nor the worst
clip = test_clips[2 * pair]
figure = plt.figure(figsize=(7.5, 3.9), layout="constrained")
grid = figure.add_gridspec(2, 3, height_ratios=(1, 2.4))
strip(figure.add_subplot(grid[0, :]), clip, f"a clip: {data.classes[test_labels[2 * pair]]}")
panel = figure.add_subplot(grid[1, 0])
bars = {"per frame": (per_frame, "#999999"), "with shifts": (shifted, "#0072b2"), "R(2+1)D": (in_time, "#e69f00")}
for place, (order, frames_of) in enumerate((("forward", clip), ("reversed", clip[::-1]))):
    for offset, (model, colour) in zip((-0.25, 0, 0.25), bars.values(), strict=True):
        panel.bar(place + offset, right_of(model, frames_of[None])[0], width=0.23, color=colour)
panel.set_xticks([0, 1], ["forward", "reversed"])
panel.set_ylim(0, 1.05)
panel.axhline(0.5, color="black", linestyle=":", linewidth=1)
panel.set_title("probability of right", loc="left", fontsize=10)
handles = [Rectangle((0, 0), 1, 1, color=colour) for _, colour in bars.values()]
panel.legend(handles, bars, frameon=False, fontsize=8)
for n, every in enumerate((1, 6)):
    panel = figure.add_subplot(grid[1, n + 1])
    seen, identities = track(every)
    for identity in np.unique(identities):
        t, car = np.nonzero(identities == identity)
        panel.plot(seen[t], left[seen[t], car] + 6, ".-", color=f"C{identity}", markersize=2 if every == 1 else 6)
    panel.set_xlabel("frame")
    panel.set_ylabel("x of each car" if n == 0 else "")
    panel.set_title("identities, " + ("all frames" if every == 1 else "1 frame in 6"), loc="left", fontsize=10)
for panel in figure.axes[1:]:
    panel.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# You should see grey bars of equal height, and others that change when the clip is reversed. On the right, each colour
# is an identity. With all frames, it stays with its car; with every sixth frame, some cars that meet swap
# identities, so paths have kinks.
