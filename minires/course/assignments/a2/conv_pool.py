"""A2: convolution and pooling, forward and backward, in plain NumPy.

Every array is float64. Images are (N, C, H, W): batch, channels, height, width. Three pairs describe a window, each in
the order (height, width): kernel_size (KH, KW), stride (SH, SW) and padding (PH, PW). The window is placed on the
padded image wherever it fits; rows and columns that are left over at the end are dropped. So the output has

    OH = (H + 2 * PH - KH) // SH + 1        OW = (W + 2 * PW - KW) // SW + 1

A backward function gets dy, the gradient that arrives at the output (the "upstream" gradient), and returns the
gradients with respect to the inputs, each with the shape of its input. No function may change its arguments. Later
functions may call earlier ones.
"""

import numpy as np


def im2col(x, kernel_size, stride, padding):
    """Copy the window that each output pixel sees into a row.

    x is (N, C, H, W), and is padded with zeros. Returns cols (N, OH, OW, C*KH*KW): cols[n, p, q] is the window of image
    n whose upper left corner is at (p*SH, q*SW) of the padded image, channel by channel, and row by row within each.
    """
    # Write: pad the height and the width of x, copy every window to its place in cols, and return cols.
    ### BEGIN SOLUTION
    n, c, h, w = x.shape
    (kh, kw), (sh, sw), (ph, pw) = kernel_size, stride, padding
    oh = (h + 2 * ph - kh) // sh + 1
    ow = (w + 2 * pw - kw) // sw + 1
    padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    cols = np.zeros((n, oh, ow, c, kh, kw))
    for i in range(kh):
        for j in range(kw):
            seen = padded[:, :, i : i + sh * oh : sh, j : j + sw * ow : sw]  # (N, C, OH, OW)
            cols[..., i, j] = seen.transpose(0, 2, 3, 1)
    return cols.reshape(n, oh, ow, c * kh * kw)
    ### END SOLUTION


def col2im(cols, x_shape, kernel_size, stride, padding):
    """Add the windows back into images: the adjoint of im2col, and its backward pass.

    cols is (N, OH, OW, C*KH*KW), and x_shape is the shape (N, C, H, W) of the result. Each number of cols is added to
    the pixel that im2col would have read it from; what belongs to the padding is dropped.
    """
    # Write: start from zeros of the padded size, add every window where it came from, and cut off the padding.
    ### BEGIN SOLUTION
    n, c, h, w = x_shape
    (kh, kw), (sh, sw), (ph, pw) = kernel_size, stride, padding
    _, oh, ow, _ = cols.shape
    windows = cols.reshape(n, oh, ow, c, kh, kw)
    padded = np.zeros((n, c, h + 2 * ph, w + 2 * pw))
    for i in range(kh):
        for j in range(kw):
            back = windows[..., i, j].transpose(0, 3, 1, 2)  # (N, C, OH, OW)
            padded[:, :, i : i + sh * oh : sh, j : j + sw * ow : sw] += back
    return padded[:, :, ph : ph + h, pw : pw + w]
    ### END SOLUTION


def conv_forward(x, weight, bias, stride, padding):
    """Convolve images with filters. As in every deep-learning library, the kernel is not flipped.

    x is (N, C, H, W), weight (O, C, KH, KW) and bias (O,). Returns y (N, O, OH, OW):
    y[n, o, p, q] = bias[o] + the sum over window (p, q) of image n, in all channels, times weight[o].
    """
    # Write: im2col, one matrix product with the weight, the bias, and the axes in the right order.
    ### BEGIN SOLUTION
    o, _, kh, kw = weight.shape
    cols = im2col(x, (kh, kw), stride, padding)  # (N, OH, OW, C*KH*KW)
    y = cols @ weight.reshape(o, -1).T  # (N, OH, OW, O)
    y = y + bias
    return y.transpose(0, 3, 1, 2)
    ### END SOLUTION


def conv_backward(dy, x, weight, stride, padding):
    """Compute the gradients of conv_forward.

    dy is (N, O, OH, OW); x and weight are those of the forward pass. Returns dx, dweight and dbias, in this order.
    """
    # Write: dweight from dy and the columns of x, dx by col2im of the product of dy and weight, dbias as a sum of dy.
    ### BEGIN SOLUTION
    o, _, kh, kw = weight.shape
    rows = dy.transpose(0, 2, 3, 1)  # (N, OH, OW, O)
    cols = im2col(x, (kh, kw), stride, padding)  # (N, OH, OW, C*KH*KW)
    dweight = np.einsum("npqo,npqk->ok", rows, cols).reshape(weight.shape)
    dcols = rows @ weight.reshape(o, -1)  # (N, OH, OW, C*KH*KW)
    dx = col2im(dcols, x.shape, (kh, kw), stride, padding)
    dbias = dy.sum(axis=(0, 2, 3))
    return dx, dweight, dbias
    ### END SOLUTION


def kaiming_normal(weight_shape, seed):
    """Draw initial weights for a convolution that is followed by a ReLU (He et al. 2015, arXiv 1502.01852).

    Returns an array of weight_shape (O, C, KH, KW) of normal numbers with mean 0 and variance 2 / fan_in, where fan_in
    is the number of products that are added up for each output pixel. The same seed gives the same numbers.
    """
    # Write: draw the numbers from np.random.default_rng(seed), with the standard deviation that fan_in requires.
    ### BEGIN SOLUTION
    _, c, kh, kw = weight_shape
    fan_in = c * kh * kw
    rng = np.random.default_rng(seed)
    return rng.normal(0.0, np.sqrt(2.0 / fan_in), weight_shape)
    ### END SOLUTION


def max_pool_forward(x, kernel_size, stride, padding):
    """Return the largest number of each window, channel by channel: (N, C, H, W) -> (N, C, OH, OW).

    The padding never wins: pad with minus infinity. The padding is at most half of the kernel size.
    """
    # Write: pad x, separate its windows by channel, and return the maximum of each.
    ### BEGIN SOLUTION
    c = x.shape[1]
    (kh, kw), (sh, sw), (ph, pw) = kernel_size, stride, padding
    padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=-np.inf)
    cols = im2col(padded, (kh, kw), (sh, sw), (0, 0))  # (N, OH, OW, C*KH*KW)
    windows = cols.reshape(*cols.shape[:3], c, kh * kw)  # (N, OH, OW, C, KH*KW)
    return windows.max(axis=-1).transpose(0, 3, 1, 2)
    ### END SOLUTION


def max_pool_backward(dy, x, kernel_size, stride, padding):
    """Compute the gradient of max_pool_forward with respect to x.

    Each number of dy goes to the pixel that won its window. Where several pixels of a window are equal, the first one
    wins, row by row. A pixel that wins several windows gets the sum of their gradients.
    """
    # Write: find the winner of each window, and add dy there.
    ### BEGIN SOLUTION
    _, c, h, w = x.shape
    (kh, kw), (sh, sw), (ph, pw) = kernel_size, stride, padding
    padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=-np.inf)
    cols = im2col(padded, (kh, kw), (sh, sw), (0, 0))  # (N, OH, OW, C*KH*KW)
    windows = cols.reshape(*cols.shape[:3], c, kh * kw)  # (N, OH, OW, C, KH*KW)
    winner = windows.argmax(axis=-1)  # (N, OH, OW, C)
    wins = np.arange(kh * kw) == winner[..., None]  # (N, OH, OW, C, KH*KW)
    dwindows = wins * dy.transpose(0, 2, 3, 1)[..., None]
    dpadded = col2im(dwindows.reshape(cols.shape), padded.shape, (kh, kw), (sh, sw), (0, 0))
    return dpadded[:, :, ph : ph + h, pw : pw + w]
    ### END SOLUTION


def avg_pool_forward(x, kernel_size, stride, padding):
    """Return the mean of each window, channel by channel: (N, C, H, W) -> (N, C, OH, OW).

    The zeros of the padding count as numbers: every window is divided by KH*KW.
    """
    # Write: separate the windows by channel, and return the mean of each.
    ### BEGIN SOLUTION
    c = x.shape[1]
    kh, kw = kernel_size
    cols = im2col(x, (kh, kw), stride, padding)  # (N, OH, OW, C*KH*KW)
    windows = cols.reshape(*cols.shape[:3], c, kh * kw)  # (N, OH, OW, C, KH*KW)
    return (windows.sum(axis=-1) / (kh * kw)).transpose(0, 3, 1, 2)
    ### END SOLUTION


def avg_pool_backward(dy, x_shape, kernel_size, stride, padding):
    """Compute the gradient of avg_pool_forward with respect to x, whose shape is x_shape (N, C, H, W)."""
    # Write: every pixel of a window gets an equal share of the window's dy.
    ### BEGIN SOLUTION
    kh, kw = kernel_size
    share = dy.transpose(0, 2, 3, 1) / (kh * kw)  # (N, OH, OW, C)
    windows = np.repeat(share[..., None], kh * kw, axis=-1)  # (N, OH, OW, C, KH*KW)
    dcols = windows.reshape(*share.shape[:3], -1)  # (N, OH, OW, C*KH*KW)
    return col2im(dcols, x_shape, kernel_size, stride, padding)
    ### END SOLUTION


def global_avg_pool_forward(x):
    """Return the mean of each channel of each image: (N, C, H, W) -> (N, C)."""
    # Write: take one mean over two axes.
    ### BEGIN SOLUTION
    return x.mean(axis=(2, 3))
    ### END SOLUTION


def global_avg_pool_backward(dy, x_shape):
    """Compute the gradient of global_avg_pool_forward: dy is (N, C), the result has the shape x_shape (N, C, H, W)."""
    # Write: every pixel of a channel gets an equal share of the channel's dy.
    ### BEGIN SOLUTION
    _, _, h, w = x_shape
    share = dy / (h * w)
    return np.zeros(x_shape) + share[:, :, None, None]
    ### END SOLUTION
