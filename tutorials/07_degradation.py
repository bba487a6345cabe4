# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 7. Degradation
#
# In 2015, networks got worse as they got deeper: not only on new images, which could be overfitting, but also on the
# images that they were trained on. He et al. called this *degradation*, and cured it with residual blocks. You will
# repeat their experiment in about a minute, and look for the cause. The last figure shows **the training loss of plain
# and residual networks by depth, for three seeds each**.

# %%
import os
import time
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires import nn, ops
from minires.course.tutorials import check

FAST = bool(os.environ.get("FAST"))  # for tests: everything on a smaller scale
DEPTHS = (2, 8) if FAST else (2, 8, 20, 54)
SEEDS = range(3)
STEPS = 4 if FAST else 40

# %% [markdown]
# ## Networks that differ in one addition
#
# To train three seeds in a minute, we use fully connected layers that are 48 numbers wide, and handwritten digits of
# 8x8 pixels. A block has two layers; with `shortcut`, its input is added to its output. The depth is the number of
# layers in the blocks.


# %%
class Block(nn.Module):
    """F(x) or, with a shortcut, F(x) + x, where F is BN-ReLU-linear, twice."""

    def __init__(self, width, shortcut, norm=True):
        self.bn1 = nn.BatchNorm1d(width) if norm else nn.Identity()
        self.fc1 = nn.Linear(width, width)
        self.bn2 = nn.BatchNorm1d(width) if norm else nn.Identity()
        self.fc2 = nn.Linear(width, width)
        self.shortcut = shortcut

    def forward(self, x):
        branch = self.fc1(ops.relu(self.bn1(x)))
        branch = self.fc2(ops.relu(self.bn2(branch)))
        return branch + x if self.shortcut else branch


def network(depth, shortcut, norm=True, width=48):
    blocks = [Block(width, shortcut, norm) for _ in range(depth // 2)]
    end = nn.BatchNorm1d(width) if norm else nn.Identity()
    model = nn.Sequential(nn.Linear(64, width), *blocks, end, nn.ReLU(), nn.Linear(width, 10))
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal(layer.weight, nonlinearity="relu")
    return model


# %% [markdown]
# **Predict 7.1.** Without shortcuts, is the *training* loss of 54 layers `"lower"` than the loss of 8 layers,
# `"equal"`, or `"higher"`?

# %%
answer = None
### BEGIN SOLUTION
### END SOLUTION
check("7.1", answer)

# %%
digits = mr.data.digits()
(train_x, train_y), (test_x, test_y) = (
    (split.images.reshape(len(split), 64).astype(np.float32), split.labels) for split in (digits.train, digits.test)
)
mean, std = train_x.mean(), train_x.std()  # of the training images only
train_x, test_x = (train_x - mean) / std, (test_x - mean) / std


class Run(NamedTuple):
    train_loss: float
    train_error: float  # per cent
    test_error: float
    gradient_ratio: float  # at the first step: the norm in the first block, divided by that in the last


def settle(model):
    """Compute batch norm's statistics from all training images; after so few steps, running statistics lag behind."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.momentum = 1.0
    with mr.no_grad():
        model(mr.tensor(train_x))


def evaluate(model, x, y):
    model.eval()
    with mr.no_grad():
        logits = model(mr.tensor(x))
    return ops.cross_entropy(logits, y).item(), 100 * float((logits.numpy().argmax(axis=1) != y).mean())


def train(depth, shortcut, seed, norm=True, lr=0.1):
    mr.manual_seed(seed)
    model = network(depth, shortcut, norm)
    optimizer = mr.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    rng, ratio = np.random.default_rng(seed), None
    for _ in range(STEPS):
        batch = rng.integers(len(train_x), size=200)
        loss = ops.cross_entropy(model(mr.tensor(train_x[batch])), train_y[batch])
        optimizer.zero_grad()
        loss.backward()
        if ratio is None:
            blocks = [layer for layer in model if isinstance(layer, Block)]
            first, last = (np.linalg.norm(w.grad.numpy()) for w in (blocks[0].fc1.weight, blocks[-1].fc2.weight))
            ratio = first / last
        optimizer.step()
    settle(model)
    train_loss, train_error = evaluate(model, train_x, train_y)
    return Run(train_loss, train_error, evaluate(model, test_x, test_y)[1], ratio)


started = time.perf_counter()
runs = {
    (kind, depth): [train(depth, kind == "residual", seed) for seed in SEEDS]
    for kind in ("plain", "residual")
    for depth in DEPTHS
}
print(f"{2 * len(DEPTHS) * len(SEEDS)} networks in {time.perf_counter() - started:.0f} s")


# %%
def table(runs):
    print(f"{'':20}{'training loss':>14}{'training error':>20}{'test error':>12}   (training error of each seed)")
    for (kind, depth), found in runs.items():
        loss, error, test, _ = np.mean(found, axis=0)
        seeds = ", ".join(f"{run.train_error:.1f}" for run in found)
        print(f"{kind:14}{depth:>6}{loss:14.3f}{error:18.1f} %{test:10.1f} %   ({seeds})")


table(runs)

# %% [markdown]
# You should see that all networks learn except the deep plain ones; residual networks learn at any depth.
#
# <details><summary>Solution 7.1</summary>
#
# ```python
# answer = "higher"
# ```
#
# </details>
#
# ## A better network exists
#
# There are weights with which a deep network is as good as a shallow one: copy the shallow network, and let the other
# blocks do nothing. Plain blocks have to learn this "nothing". For residual blocks, it is easy.
#
# **Predict 7.2.** Which *one* parameter of a residual block turns the block into the identity when it is zero, whatever
# the other parameters are? (`"bn1.weight"`, `"bn1.bias"`, `"fc1.weight"`, `"bn2.weight"`, `"bn2.bias"` or
# `"fc2.weight"`; the biases of the linear layers are zero here.)

# %%
answer = None
### BEGIN SOLUTION
### END SOLUTION
check("7.2", answer)

# %%
shallow, deep = network(8, shortcut=True), network(54, shortcut=True)
blocks = [layer for layer in deep if isinstance(layer, Block)]
for target, source in zip([deep[0], *blocks[:4], *list(deep)[-3:]], shallow, strict=True):
    target.load_state_dict(source.state_dict())
for block in blocks[4:]:
    nn.init.zeros(block.fc2.weight)
    nn.init.zeros(block.fc2.bias)
images = mr.tensor(train_x[:100])
print("54 layers do what 8 do:", np.allclose(deep(images).numpy(), shallow(images).numpy(), atol=1e-4))

# %% [markdown]
# <details><summary>Solution 7.2</summary>
#
# ```python
# answer = "fc2.weight"
# ```
#
# </details>
#
# So the problem is not that deep networks cannot express the solution.
#
# ## Vanishing gradients?
#
# **Predict 7.3.** Before training, is the gradient in the first block of plain-54 `"smaller"` than the gradient in its
# last block, `"equal"`, or `"larger"`?

# %%
answer = None
### BEGIN SOLUTION
### END SOLUTION
check("7.3", answer)

# %%
print("gradient norm, first block / last block, at the first step")
for (kind, depth), found in runs.items():
    print(f"{kind:10}{depth:4}{np.mean([run.gradient_ratio for run in found]):12,.1f}")

# %% [markdown]
# <details><summary>Solution 7.3</summary>
#
# ```python
# answer = "larger"
# ```
#
# </details>
#
# You should see that the gradient *explodes* in plain networks, by a constant factor per layer. It does not vanish: for
# networks with batch norm, measurements do not support the claim that "residual networks cure vanishing gradients".
#
# So is the explosion the cause? Remove batch norm: with He's initial weights, the gradient then keeps its size. (Such
# networks need a smaller learning rate.)

# %%
without = {
    ("plain, no BN", depth): [train(depth, False, seed, norm=False, lr=0.01) for seed in SEEDS] for depth in DEPTHS[-1:]
}
table(without)
for (kind, depth), found in without.items():
    print(f"{kind}, {depth}: gradient norm, first / last block: {np.mean([run.gradient_ratio for run in found]):.1f}")

# %% [markdown]
# You should see a gradient of about the same size in both blocks, and a network that still does not learn. So the size
# of the gradient is not everything. (Balduzzi et al., arXiv 1702.08591, describe what else goes wrong: for example,
# similar images get gradients that have nothing in common.)
#
# ## Overfitting?
#
# A network that overfits does well on the training set and badly on the test set. **Exercise 7.4.** Compute by how many
# percentage points the test error of the deepest plain network is above its training error, averaged over the seeds.
# Each run in `deepest` has a `train_error` and a `test_error`.

# %%
deepest = runs["plain", DEPTHS[-1]]
gap = None
### BEGIN SOLUTION
### END SOLUTION
check("7.4", gap, deepest)

# %% [markdown]
# <details><summary>Solution 7.4</summary>
#
# ```python
# gap = np.mean([run.test_error - run.train_error for run in deepest])
# ```
#
# </details>
# ## Compared with other measurements
#
# The same networks were also trained on synthetic one-dimensional digits, for 500 steps with batches of 100 and one
# seed:

# %%
elsewhere = {
    "plain": {2: (8, None), 8: (10, 4), 20: (46, 46), 54: (90, 22_000)},
    "residual": {2: (9, None), 8: (8, 3), 20: (8, 5), 54: (8, 9)},
}
print(f"{'':14}{'test error, %':>20}{'gradient, first / last':>30}")
print(f"{'':14}{'here':>10}{'there':>10}{'here':>18}{'there':>12}")
for (kind, depth), found in runs.items():
    _, _, error, ratio = np.mean(found, axis=0)
    their_error, their_ratio = elsewhere[kind][depth]
    print(
        f"{kind:10}{depth:4}{error:10.1f}{their_error:10}{ratio:18,.1f}{f'{their_ratio:,}' if their_ratio else '-':>12}"
    )

# %% [markdown]
# Our errors are lower wherever a network learns at all: real digits of 8x8 pixels are easier. The plain networks fail
# at the same depths, and the gradients grow in the same way: their growth depends on depth, width and batch norm, but
# hardly on the data.
#
# The paper's convolutional networks degrade far more gently: plain-56 is worse than plain-20 by a few percentage
# points, and only plain-110 fails (its error is above 60 %). The authors found that the gradients of their networks
# have healthy norms; in fully connected layers with batch norm, gradients grow by a fifth per layer. `minires compare`
# trains convolutional networks in four minutes.

# %%
figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
for kind, colour in (("plain", "#d2691e"), ("residual", "#1f5fa8")):
    losses = np.array([[run.train_loss for run in runs[kind, depth]] for depth in DEPTHS])  # (depths, seeds)
    axes.plot(DEPTHS, losses.mean(axis=1), "o-", color=colour)
    axes.fill_between(DEPTHS, losses.min(axis=1), losses.max(axis=1), color=colour, alpha=0.2, linewidth=0)
    axes.annotate(
        kind, (DEPTHS[-1], losses[-1].mean()), (0, -14), textcoords="offset points", color=colour, ha="center"
    )
axes.axhline(np.log(10), color="#888888", linestyle=":")
axes.annotate("guessing: log 10", (DEPTHS[0], np.log(10)), (0, 4), textcoords="offset points", color="#666666")
axes.set_yscale("log")
axes.set_ylim(0.015, 5)
axes.set_xticks(DEPTHS)
axes.set_xlim(right=DEPTHS[-1] * 1.15)
axes.set_xlabel("layers in blocks")
axes.set_title("training loss: the mean of three seeds, and their range", loc="left")
axes.grid(axis="y", color="#dddddd")
axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# You should see the plain curve climb to the loss of guessing, while the residual curve stays low. Both curves show the
# *training* loss: the deep plain network does not overfit. Its training fails, although it could be as good as the
# shallow one. Degradation is a problem of optimisation.
