# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 8. The residual block
#
# A block of a plain network computes F(x). A residual block computes F(x) + x. With this one addition, networks of a
# hundred layers can be trained. This tutorial is about what the addition does to gradients. The last figure shows **the
# two streams of gradient in each block of a network, through the shortcut and through F**, in three situations.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires import nn, ops
from minires.course.tutorials import check

FAST = bool(os.environ.get("FAST"))  # for tests: everything on a smaller scale
rng = np.random.default_rng(0)

# %% [markdown]
# ## With one number
#
# Let F(x) = f·x, and put ten blocks in a row.
#
# **Predict 8.1.** What is dy/dx of ten *residual* blocks with f = 0.1? (For ten plain blocks, it is f¹⁰.)

# %%
answer = None
### BEGIN SOLUTION
### END SOLUTION
check("8.1", answer)

# %%
for f in (0.1, 0.5, 1.0):
    x = mr.tensor(1.0, requires_grad=True, dtype="float64")
    plain = residual = x
    for _ in range(10):
        plain = plain * f
        residual = residual * f + residual
    slopes = [mr.grad(y, x)[0].item() for y in (plain, residual)]
    print(f"f = {f}: plain {slopes[0]:.2g}, residual {slopes[1]:.4g}")

# %% [markdown]
# <details><summary>Solution 8.1</summary>
#
# ```python
# answer = (1 + 0.1) ** 10
# ```
#
# When you expand this power, you get a sum over all paths through the network; the path that takes only shortcuts
# contributes the 1. </details>
#
# The shortcut does not cure everything: look at f = 1. Keep this in mind for later.
#
# ## The join
#
# The block of the paper ends with relu(F(x) + x). **Exercise 8.2.** Write the backward of this join: from the upstream
# and the output y, compute the gradients with respect to the branch F(x) and the shortcut.


# %%
def join_backward(upstream, y):
    to_branch = to_shortcut = None
    ### BEGIN SOLUTION
    ### END SOLUTION
    return to_branch, to_shortcut


check("8.2", join_backward)

# %% [markdown]
# <details><summary>Solution 8.2</summary>
#
# ```python
#     to_branch = to_shortcut = upstream * (y > 0)
# ```
#
# </details>
#
# Here are three mistakes that students make in this join, and what `mr.gradcheck` says about each of them:


# %%
class Join(mr.Op):
    def __init__(self, bug):
        self.bug = bug

    def forward(self, branch, shortcut):
        return branch + shortcut

    def backward(self, upstream):
        wrong = {"forgotten": upstream * 0, "counted twice": upstream * 2, "one": upstream * 0 + 1, None: upstream}
        return upstream, wrong[self.bug]


x = mr.tensor(rng.standard_normal((3, 4)), requires_grad=True)
for bug in ("forgotten", "counted twice", "one"):
    try:
        mr.gradcheck(lambda x, bug=bug: Join(bug)(ops.tanh(x), x), x)
    except mr.GradcheckError as error:
        print(f"{bug}: ...{str(error).split('. ')[-1]}")
print("right:", mr.gradcheck(lambda x: Join(None)(ops.tanh(x), x), x))

# %% [markdown]
# The last mistake is hard to find: a checker that calls `y.sum().backward()`, as many do, has an upstream of ones, and
# so cannot detect it.
#
# ## Where the paths part
#
# Both gradients arrive at the block's input and are added: a `+=`, as in tutorial 1. The stepper shows a block with two
# channels on an image of 4x4 pixels. Go to the backward step of `x`.


# %%
class Block(nn.Module):
    """relu(F(x) + x), where F is conv-BN-ReLU-conv-BN."""

    def __init__(self, channels):
        self.conv1 = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x):
        # Each path gets its own tensor, which keeps its own gradient.
        self.into_branch, self.into_shortcut = x * 1, x * 1
        for path in (self.into_branch, self.into_shortcut):
            if path.requires_grad:
                path.retain_grad()
        branch = ops.relu(self.bn1(self.conv1(self.into_branch)))
        branch = self.bn2(self.conv2(branch))
        return ops.residual_add(branch, self.into_shortcut, activation="relu")


mr.manual_seed(0)
block = Block(2)
x = mr.tensor(rng.standard_normal((1, 2, 4, 4)), requires_grad=True, dtype="float32")
loss = (block(x) * rng.standard_normal((1, 2, 4, 4)).astype(np.float32)).sum()
stepper = mr.explain.step(loss, block)
loss.backward()
through_f, through_shortcut = block.into_branch.grad.numpy(), block.into_shortcut.grad.numpy()
print("norm through F:", np.linalg.norm(through_f).round(3), "  shortcut:", np.linalg.norm(through_shortcut).round(3))
print("their sum is the gradient of x:", np.allclose(through_f + through_shortcut, x.grad.numpy(), atol=1e-6))
stepper

# %% [markdown]
# ## Variance: why F needs batch norm
#
# Let F(x) = W·relu(x), with He's initial weights. Then F(x) has the same variance as x.
#
# **Predict 8.3.** x has variance 1. What is the variance after twenty residual blocks *without* batch norm?

# %%
answer = None
### BEGIN SOLUTION
### END SOLUTION
check("8.3", answer)

# %%
width, variances = 512, {}
for name in ("plain", "residual", "residual with BN"):
    x = rng.standard_normal((256, width))
    variances[name] = []
    for _ in range(20):
        weight = rng.standard_normal((width, width)) * np.sqrt(2 / width)
        inner = (x - x.mean(axis=0)) / x.std(axis=0) if name.endswith("BN") else x
        branch = np.maximum(inner, 0) @ weight
        x = branch if name == "plain" else x + branch
        variances[name].append(x.var())
print(f"{'variance after':18}{1:>12}{5:>12}{10:>12}{20:>12} blocks")
for name, found in variances.items():
    print(f"{name:18}" + "".join(f"{found[number - 1]:12,.2f}" for number in (1, 5, 10, 20)))

# %% [markdown]
# <details><summary>Solution 8.3</summary>
#
# ```python
# answer = 2**20
# ```
#
# </details>
#
# You should see the variance of the residual network double in each block, up to random fluctuations: it is multiplied
# by twenty random factors, each of them nearly 2. Plain networks keep their variance without batch norm; it is the
# addition that needs batch norm.
#
# With batch norm, each block adds about as much as the first: the variance grows linearly with depth, not
# exponentially. So F's share of a block's output shrinks with depth: later blocks only *refine*.
#
# ## Starting from the identity
#
# It is even better if each block starts as the identity. F ends with a batch norm, γ·(normalised) + β: set its γ to 0.
#
# **Predict 8.4.** A block has six parameters (two convolutions, two γ, two β). How many have a nonzero gradient at the
# first step?

# %%
answer = None
### BEGIN SOLUTION
### END SOLUTION
check("8.4", answer)

# %%
nn.init.zeros(block.bn2.weight)
block.zero_grad()
image = rng.standard_normal((8, 2, 4, 4)).astype(np.float32)
(block(mr.tensor(image)) * rng.standard_normal((8, 2, 4, 4)).astype(np.float32)).sum().backward()
for name, parameter in block.named_parameters():
    print(f"{name:14} gradient's norm {np.linalg.norm(parameter.grad.numpy()):.4f}")

# %% [markdown]
# <details><summary>Solution 8.4</summary>
#
# ```python
# answer = 2
# ```
#
# After the first step, γ is no longer zero, and all six parameters have gradients. </details>
#
# ## Two streams in a deep network
#
# Take eighteen blocks and handwritten digits. In each block, measure the norms of the gradients that leave the block
# through the shortcut and through F: as initialised, with γ = 0, and in the latter network after 80 steps of Adam.


# %%
def network(blocks, zero_gamma):
    mr.manual_seed(0)
    layers = [nn.Conv2d(1, 16, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    model = nn.Sequential(*layers, *(Block(16) for _ in range(blocks)), nn.GlobalAvgPool2d(), nn.Linear(16, 10))
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal(layer.weight, nonlinearity="relu")
        if isinstance(layer, Block) and zero_gamma:
            nn.init.zeros(layer.bn2.weight)
    return model


def norms(model):
    """Return (blocks, 2): the norms of the gradients through the shortcut and through F, after a backward pass."""
    return np.array(
        [
            [np.linalg.norm(path.grad.numpy()) for path in (layer.into_shortcut, layer.into_branch)]
            for layer in model
            if isinstance(layer, Block)
        ]
    )


loader = mr.data.Loader(mr.data.digits().train, batch_size=64, shuffle=True, seed=0)
streams = {}
for name, zero_gamma, steps in (("as initialised", False, 1), ("gamma = 0", True, 1), ("gamma = 0, trained", True, 80)):
    model = network(4 if FAST else 18, zero_gamma)
    optimizer = mr.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    while len(losses) < (min(steps, 3) if FAST else steps):
        for images, labels in loader:
            loss = ops.cross_entropy(model(mr.tensor(images)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if len(losses) == steps:
                break
    streams[name] = norms(model)
    shares = streams[name][:, 1] / streams[name][:, 0]
    print(f"{name}: loss {losses[-1]:.2f}, F's norm is {shares.min():.2f} to {shares.max():.2f} times the shortcut's")

# %%
figure, panels = plt.subplots(1, 3, figsize=(10, 3), layout="constrained", sharey=True)
for panel, (name, found) in zip(panels, streams.items(), strict=True):
    scale = found[-1, 0]  # the norm in the last block's shortcut
    for values, label, colour in ((found[:, 0], "shortcut", "#1f5fa8"), (found[:, 1], "through F", "#d2691e")):
        panel.plot(range(1, len(found) + 1), values / scale, "o-", color=colour, markersize=4, label=label)
    panel.set_title(name, loc="left")
    panel.set_xlabel("block")
    panel.set_xticks(range(1, len(found) + 1, 3))
    panel.set_yscale("symlog", linthresh=0.1)
    panel.set_yticks([0, 0.1, 1, 10], ["0", "0.1", "1", "10"])
    panel.grid(axis="y", color="#dddddd")
    panel.spines[["top", "right"]].set_visible(False)
panels[0].set_ylabel("norm of the gradient,\n1 in the last shortcut")
panels[0].legend(frameon=False)
plt.show()

# %% [markdown]
# On the left, you should see both streams at work: the first blocks get more of their gradient through F, and the last
# blocks get most of it through the shortcut, because F's share of the signal shrinks. In the middle, only the shortcut
# passes on the gradient of the loss, unchanged at any depth. On the right, F has learned its part, which is smaller in
# deeper blocks.
#
# ## What you have
#
# A residual block adds, so its backward pass splits the gradient and adds the two parts. The gradient through the
# shortcut is not multiplied by any weight, so depth cannot shrink it. Whether this is *the* reason why deep residual
# networks can be trained is a harder question. Vanishing gradients are not the whole answer, as tutorial 7 shows.
