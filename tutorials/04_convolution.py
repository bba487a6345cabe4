# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 4. Convolution is im2col and a matrix product
#
# A convolution looks like seven nested loops. But its forward and backward pass can be computed by copying numbers and
# by matrix products, and this makes it fast. The last figure shows **the time and the memory that the same layer takes
# on your machine, from Python's loops to compiled kernels**.

# %%
import os
import time
import tracemalloc
from functools import partial

import matplotlib.pyplot as plt
import numpy as np

import minires as mr
from minires.bench.machine import measure_peak
from minires.course.tutorials import check

FAST = bool(os.environ.get("FAST"))  # for tests: everything on a smaller scale
rng = np.random.default_rng(0)

# %% [markdown]
# ## What is computed
#
# Images have the shape (N, C, H, W), and filters (O, C, KH, KW). A filter is placed on the padded image wherever it
# fits, in steps of `stride` pixels. At each place, the numbers under the filter are multiplied by the filter's numbers,
# and the products are summed.
#
# **Predict 4.1.** The image is 10 high and 13 wide, the kernel is 3 high and 4 wide, the stride is 2, and the padding
# is 1 on each side. How large is the output? Answer as `(OH, OW)`.

# %%
answer = None
### BEGIN SOLUTION
### END SOLUTION
check("4.1", answer)


# %%
def conv_loops(x, weight, stride=1, padding=0):
    (n, c, h, w), (o, _, kh, kw) = x.shape, weight.shape
    oh, ow = (h + 2 * padding - kh) // stride + 1, (w + 2 * padding - kw) // stride + 1
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    y = np.zeros((n, o, oh, ow), x.dtype)
    for b, f, p, q in np.ndindex(n, o, oh, ow):
        for channel, i, j in np.ndindex(c, kh, kw):
            y[b, f, p, q] += padded[b, channel, p * stride + i, q * stride + j] * weight[f, channel, i, j]
    return y


x, weight = rng.standard_normal((2, 3, 10, 13)), rng.standard_normal((5, 3, 3, 4))
y = conv_loops(x, weight, stride=2, padding=1)
print("x", x.shape, "  weight", weight.shape, "  y", y.shape)

# %% [markdown]
# <details><summary>Solution 4.1</summary>
#
# ```python
# answer = ((10 + 2 * 1 - 3) // 2 + 1, (13 + 2 * 1 - 4) // 2 + 1)
# ```
#
# There is a first window, and one more for each stride that fits into the rest of the padded image. </details>
#
# ## Windows as rows
#
# im2col ("image to column") copies the window that each output pixel sees into a row of C·KH·KW numbers. This does not
# need a loop over pixels: the numbers under kernel element (i, j) in *all* windows form one slice of the padded image,
# with steps of `stride`.
#
# **Exercise 4.2.** Fill `rows[..., i, j]`, which is (N, OH, OW, C), from `padded`, which is (N, C, H + 2P, W + 2P).


# %%
def im2col(x, kernel, stride, padding):
    (n, c, h, w), (kh, kw) = x.shape, kernel
    oh, ow = (h + 2 * padding - kh) // stride + 1, (w + 2 * padding - kw) // stride + 1
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    rows = np.zeros((n, oh, ow, c, kh, kw), x.dtype)
    for i, j in np.ndindex(kh, kw):
        ### BEGIN SOLUTION
        ### END SOLUTION
        pass
    return rows.reshape(n, oh, ow, c * kh * kw)


check("4.2", im2col)

# %% [markdown]
# <details><summary>Solution 4.2</summary>
#
# ```python
#         seen = padded[:, :, i : i + stride * oh : stride, j : j + stride * ow : stride]
#         rows[..., i, j] = seen.transpose(0, 2, 3, 1)
# ```
#
# The slice is (N, C, OH, OW), so its channels have to be moved to the end. </details>
#
# The convolution is then one matrix product, of all rows with all filters. From here on, we use the im2col of minires.

# %%
rows = mr.ops.im2col(x, kernel_size=(3, 4), stride=2, padding=1).numpy()
filters = weight.reshape(5, -1)
product = (rows @ filters.T).transpose(0, 3, 1, 2)
print("rows", rows.shape, " @  filters.T", filters.T.shape, " ->  y", product.shape)
print("largest difference from the loops:", f"{np.abs(product - y).max():.1e}")

# %% [markdown]
# ## The way back
#
# What happens to the gradient of `rows` on its way to x? im2col only copies. A pixel that was copied k times receives k
# gradients, and they add up.
#
# **Predict 4.3.** With a 3x3 kernel, stride 1 and padding 1, how many windows see a pixel in the corner, at an edge,
# and in the middle? Answer as `(corner, edge, middle)`.

# %%
answer = None
### BEGIN SOLUTION
### END SOLUTION
check("4.3", answer)

# %%
figure, panels = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
for stride, panel in zip((1, 2, 3), panels, strict=True):
    ones = np.ones((1, 1, 7, 7))
    window = {"kernel_size": 3, "stride": stride, "padding": 1}
    count = mr.ops.col2im(mr.ops.im2col(ones, **window), ones.shape, **window).numpy()[0, 0]
    panel.imshow(count, cmap="Blues", vmin=0, vmax=12)
    for (row, column), value in np.ndenumerate(count):
        panel.text(column, row, f"{value:g}", ha="center", va="center")
    panel.set(title=f"stride {stride}", xticks=[], yticks=[])
figure.suptitle("how many 3x3 windows see each pixel (padding 1)")
plt.show()

# %% [markdown]
# You should see nines in the middle for stride 1. For stride 2, pixels are seen by one, two or four windows; this is
# the checkerboard pattern that transposed convolutions leave in images. For stride 3, windows do not overlap.
#
# <details><summary>Solution 4.3</summary>
#
# ```python
# answer = (2 * 2, 2 * 3, 3 * 3)
# ```
#
# </details>
#
# col2im puts the rows back, and *adds* where windows overlap. Let us break this, and see what `mr.gradcheck`, which
# compares gradients with finite differences, says about it.


# %%
class Im2ColWithBug(mr.Op):
    def forward(self, x):
        return mr.ops.im2col(x, kernel_size=3, padding=1).numpy()

    def backward(self, upstream):
        n, c, h, w = self.input_shapes[0]
        windows = upstream.numpy().reshape(n, h, w, c, 3, 3)
        padded = np.zeros((n, c, h + 2, w + 2))
        for i, j in np.ndindex(3, 3):
            padded[:, :, i : i + h, j : j + w] = windows[..., i, j].transpose(0, 3, 1, 2)  # the bug: = for +=
        return mr.tensor(padded[:, :, 1:-1, 1:-1])


image = mr.tensor(rng.standard_normal((1, 2, 4, 5)), requires_grad=True)
try:
    mr.gradcheck(lambda x: Im2ColWithBug()(x), image)
except mr.GradcheckError as error:
    print(error)
print("with +=:", mr.gradcheck(lambda x: mr.ops.im2col(x, 3, padding=1), image))

# %% [markdown]
# The gradients of the other step, the product y = rows · weightᵀ, take two more matrix products. **Exercise 4.4.**
# `rows` is (P, K), `weight` is (O, K), and the upstream `dy` is (P, O). Compute `dweight` and `drows`.


# %%
def gradients(rows, weight, dy):
    dweight = drows = None
    ### BEGIN SOLUTION
    ### END SOLUTION
    return dweight, drows


check("4.4", gradients)

# %% [markdown]
# <details><summary>Solution 4.4</summary>
#
# ```python
#     dweight = dy.T @ rows
#     drows = dy @ weight
# ```
#
# A gradient has the shape of the tensor that it belongs to, so there is only one way to combine the matrices.
# </details>
#
# ## What it costs
#
# Each row repeats many numbers from its neighbours. Take a layer from the last stage of ResNet-20: 64 images of 8x8
# pixels with 64 channels, and a 3x3 kernel with padding 1, in float32.
#
# **Predict 4.5.** How many MB (millions of bytes) do the rows take?

# %%
answer = None
### BEGIN SOLUTION
### END SOLUTION
check("4.5", answer)

# %%
n, c, o, size = (4, 16, 16, 8) if FAST else (64, 64, 64, 8)
x = rng.standard_normal((n, c, size, size)).astype(np.float32)
weight = rng.standard_normal((o, c, 3, 3)).astype(np.float32)
rows = mr.ops.im2col(x, kernel_size=3, padding=1)
operations = 2 * n * o * size * size * c * 9
print(f"images {x.nbytes / 1e6:.1f} MB, rows {rows.data.nbytes / 1e6:.1f} MB")
print(f"{operations / 1e6:.0f} million multiplications and additions")

# %% [markdown]
# <details><summary>Solution 4.5</summary>
#
# ```python
# answer = 64 * 8 * 8 * (64 * 3 * 3) * 4 / 1e6
# ```
#
# </details>
#
# ## The ladder
#
# Here is the same layer, computed in five ways:
#
# 1. *loops*: seven loops in Python, measured for one image and one filter, and scaled up.
# 2. *im2col*: the rows, then sums of products in a loop of NumPy's (`einsum`).
# 3. *matrix product*: the rows, then BLAS. This is the textbook code of minires.
# 4. *Numba*: the compiled kernels of minires. They read the windows in place and do not write the rows.
# 5. *CuPy*: the same call on a GPU, if there is one.
#
# **Predict:** how many times faster is each of them than the one before? Write it down before you go on.


# %%
def with_einsum(x, weight):
    rows = mr.ops.im2col(x, kernel_size=3, padding=1).numpy()
    return np.einsum("npqk,ok->nopq", rows, weight.reshape(len(weight), -1))


def with_engine(name, x, weight):
    with mr.engine(name), mr.no_grad():
        return mr.ops.conv2d(x, weight, padding=1)


def fastest(function, repeats):
    """Return the seconds that the fastest call takes; slower calls were disturbed by other programs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def most_memory(function):
    """Return the most bytes that the function's arrays take at any time, including the result but not the inputs."""
    held = [function() for _ in range(5)]  # while these live, the engine cannot reuse their memory
    tracemalloc.start()
    function()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


inputs = mr.tensor(x), mr.tensor(weight)
rungs = {
    "im2col": partial(with_einsum, x, weight),
    "matrix product": partial(with_engine, "textbook", *inputs),
    "Numba": partial(with_engine, "fast", *inputs),
}
reference = rungs["matrix product"]().numpy()
one = conv_loops(x[:1], weight[:1], padding=1)
print("loops agree:", np.allclose(one, reference[:1, :1], atol=1e-3))
seconds = {"loops": n * o * fastest(lambda: conv_loops(x[:1], weight[:1], padding=1), 1)}
memory = {"loops": reference.nbytes + x.nbytes}  # its result, and the padded images
for name, rung in rungs.items():
    print(f"{name} agrees:", np.allclose(rung(), reference, atol=1e-3))  # the first call also compiles
    seconds[name] = fastest(rung, 3 if FAST else 20)
    memory[name] = most_memory(rung)

# %%
try:
    on_gpu = [tensor.to("cuda") for tensor in inputs]
except mr.errors.DeviceError:
    print("no GPU here: the ladder ends with Numba")
else:
    import cupy

    def on_the_gpu():
        y = with_engine("fast", *on_gpu)
        cupy.cuda.get_current_stream().synchronize()
        return y

    print("CuPy agrees:", np.allclose(on_the_gpu().numpy(), reference, atol=1e-2))
    seconds["CuPy"] = fastest(on_the_gpu, 3 if FAST else 20)
    memory["CuPy"] = on_the_gpu().data.nbytes  # its result

# %%
print(f"{'':16}{'ms':>10}{'times faster':>14}{'GFLOP/s':>10}{'MB':>8}")
previous = seconds["loops"]
for name, taken in seconds.items():
    rate, size_in_mb = operations / taken / 1e9, memory[name] / 1e6
    print(f"{name:16}{1e3 * taken:10.2f}{previous / taken:14.1f}{rate:10.2f}{size_in_mb:8.1f}")
    previous = taken
copying = fastest(lambda: mr.ops.im2col(x, kernel_size=3, padding=1), 3 if FAST else 20)
print(f"writing the rows alone takes {1e3 * copying:.2f} ms")

# %% [markdown]
# `mr.profile` shows how close this comes to the peak performance of the machine, once the peak has been measured:

# %%
measure_peak()
for name in ("textbook", "fast"):
    with mr.profile() as p:
        for _ in range(5):
            with_engine(name, *inputs)
    print(f"{name}:\n{p}\n")

# %%
labels = {"loops": "loops, scaled up", "im2col": "im2col, einsum"}
names = list(seconds)[::-1]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 2.8), layout="constrained", sharey=True)
for axes, values, title in (
    (left, [1e3 * seconds[name] for name in names], "time, ms"),
    (right, [memory[name] / 1e6 for name in names], "memory beside its inputs, MB"),
):
    colours = ["#9db8d6" if name == "loops" else "#1f5fa8" for name in names]
    bars = axes.barh([labels.get(name, name) for name in names], values, color=colours)
    axes.bar_label(bars, labels=[f"{value:,.0f}" if value > 99 else f"{value:.3g}" for value in values], padding=4)
    axes.set_title(title, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
left.set_xscale("log")
left.set_xlim(left=1e3 * min(seconds.values()) / 3, right=2e4 * max(seconds.values()))
right.set_xlim(right=1.2 * max(memory.values()) / 1e6)
plt.show()

# %% [markdown]
# You should see the time fall by four orders of magnitude or more (the scale is logarithmic). The memory first goes up:
# the rows make the matrix product possible, but take many times the memory of the images. The Numba version is faster
# still, and does not need the rows.
#
# What made it faster? Mostly, the same multiplications are done in an order in which the processor finds its numbers in
# registers and caches. (Where a kernel uses Winograd's algorithm, it also needs fewer multiplications, and the profile
# may show more than 100 %.) The textbook code of minires, `ops/conv.py`, is what you wrote here; the kernels are in
# `kernels/cpu`.
