# %% [markdown]
# # A2: convolution and pooling
#
# This notebook walks through the functions of `conv_pool.py`, which you write in your editor. It ends with a figure:
# how often each pixel of an image takes part in a convolution, which is what col2im has to get right. Every section
# asks you to predict something, run a cell, and check your function. Nothing here is graded.

# %%
import importlib

import conv_pool
import matplotlib.pyplot as plt
import numpy as np

from minires.course import check


def mine():
    """Return your file as a module, loaded again because it may have changed since the last cell."""
    return importlib.reload(conv_pool)


def attempt(function, *arguments):
    """Return the result of your function, or None if it is not written yet."""
    try:
        return getattr(mine(), function)(*arguments)
    except NotImplementedError as error:
        print(error)
        return None


# %% [markdown]
# ## 1. What does an output pixel see?
#
# A 2 x 2 window slides over a 4 x 4 image. **Predict**: in how many places does it fit with a stride of 1? With
# a stride of 2? And what happens at the end of the image with a stride of 3?

# %%
image = np.arange(1.0, 17.0).reshape(1, 1, 4, 4)
print(image[0, 0])
for stride in (1, 2, 3):
    places = list(range(0, 4 - 2 + 1, stride))
    print(f"stride {stride}: {len(places)} x {len(places)} windows, their corners at rows and columns {places}")

# %% [markdown]
# im2col writes each window as a row. **Predict** the first and the last row for a stride of 2, then write `im2col`.

# %%
cols = attempt("im2col", image, (2, 2), (2, 2), (0, 0))
if cols is not None:
    print(cols.shape)
    print(cols.reshape(-1, 4))

# %%
check("im2col")

# %% [markdown]
# ## 2. The way back
#
# im2col copies pixels, so its gradient adds up what the copies received. **Predict**: windows of 3 x 3 with a stride of
# 1 on an image of 5 x 5. How many windows see the pixel in the corner, and how many see the one in the middle? If
# cols is all ones, col2im gives these counts.

# %%
check("col2im")

# %% [markdown]
# im2col is linear, and col2im is its adjoint: the sums of `im2col(x) * y` and `x * col2im(y)` are the same for every x
# and y. One such pair of random arrays tests all of col2im at once, even if you do not know a single right value.

# %%
rng = np.random.default_rng(0)
x, window = rng.normal(size=(2, 3, 7, 8)), ((3, 2), (2, 1), (1, 0))
cols = attempt("im2col", x, *window)
if cols is not None:
    y = rng.normal(size=cols.shape)
    back = attempt("col2im", y, x.shape, *window)
    if back is not None:
        print((cols * y).sum(), (x * back).sum())

# %% [markdown]
# ## 3. Convolution is a matrix product
#
# **Predict** the shapes: cols is (N, OH, OW, C*KH*KW), the weight (O, C, KH, KW). Which axis of which matrix do you sum
# over, and in what order do the axes of the product come out?

# %%
check("conv_forward")

# %% [markdown]
# A filter that subtracts a pixel's neighbours finds edges. You should see the outline of a disc, white where the image
# gets brighter from left to right, and black where it gets darker.

# %%
rows, columns = np.mgrid[-1:1:64j, -1:1:64j]
disc = ((rows**2 + columns**2) < 0.5).astype(float)[None, None]
edges = attempt("conv_forward", disc, np.array([[[[-1.0, 0.0, 1.0]]]]), np.zeros(1), (1, 1), (0, 1))
if edges is not None:
    plt.imshow(edges[0, 0], cmap="gray")
    plt.show()

# %% [markdown]
# ## 4. Three gradients
#
# The upstream dy says how much the loss grows with each output. Test your functions with random numbers, never with
# ones: a backward pass that ignores its upstream is right for ones. **Predict**: what shapes do dx, dweight and dbias
# have?

# %%
check("conv_backward")

# %% [markdown]
# Your gradient and two forward passes must give the same slope of the loss along a random direction.

# %%
x, weight, bias = rng.normal(size=(2, 3, 7, 8)), rng.normal(size=(4, 3, 3, 2)), rng.normal(size=4)
out = attempt("conv_forward", x, weight, bias, (2, 1), (1, 0))
if out is not None:
    dy, direction = rng.normal(size=out.shape), rng.normal(size=weight.shape)
    gradients = attempt("conv_backward", dy, x, weight, (2, 1), (1, 0))
    if gradients is not None:
        step = 1e-6 * direction
        above, below = (mine().conv_forward(x, weight + s, bias, (2, 1), (1, 0)) for s in (step, -step))
        print((gradients[1] * direction).sum(), (dy * (above - below)).sum() / 2e-6)

# %% [markdown]
# ## 5. Initial weights
#
# Every output pixel is a sum of C*KH*KW products. **Predict**: if inputs and weights have variance 1, what is the
# variance of the sum? And what must the variance of the weights be to preserve it, if a ReLU removes half of it?

# %%
check("kaiming_normal")

# %% [markdown]
# ## 6. Pooling
#
# **Predict**: a window holds 3, 5, 5, 1. Which of these gets the gradient of max pooling, and how much does each of
# them get from average pooling? What would padding with zeros do to a window of -3, -5, -5, -1?

# %%
check("max_pool_forward")
check("max_pool_backward")

# %%
check("avg_pool_forward")
check("avg_pool_backward")
check("global_avg_pool_forward")
check("global_avg_pool_backward")

# %% [markdown]
# ## 7. How often a pixel is seen
#
# If cols is all ones, col2im counts how many windows see each pixel. You should see 9 in the middle and less towards
# the border for a stride of 1, and a pattern of 1, 2 and 4 for a stride of 2. Such patterns appear as artefacts in
# images that networks make with strided transposed convolutions.

# %%
figure, axes = plt.subplots(1, 2, figsize=(7, 3.5))
for axis, stride in zip(axes, (1, 2), strict=True):
    size = (11 - 3) // stride + 1
    counts = attempt("col2im", np.ones((1, size, size, 9)), (1, 1, 11, 11), (3, 3), (stride, stride), (0, 0))
    if counts is not None:
        axis.imshow(counts[0, 0])
        for (i, j), count in np.ndenumerate(counts[0, 0]):
            axis.text(j, i, f"{count:.0f}", ha="center", va="center", color="white", fontsize=7)
    axis.set_title(f"stride {stride}")
    axis.axis("off")
plt.show()
