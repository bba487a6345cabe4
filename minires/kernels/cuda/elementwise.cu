// Elementwise ops in one pass over memory, for any layout: all arrays of a call have the same memory order.

extern "C" __global__ void relu_forward(const float* x, float* y, int count)
{
    FOR_EACH(i, count) y[i] = relu(x[i]);
}

extern "C" __global__ void relu_backward(const float* y, const float* dy, float* dx, int count)
{
    FOR_EACH(i, count) dx[i] = y[i] <= 0.0f ? 0.0f : dy[i];  // dy at NaN
}

extern "C" __global__ void add(const float* a, const float* b, float* y, int rectify, int count)
{
    FOR_EACH(i, count) {
        float v = a[i] + b[i];
        y[i] = rectify ? relu(v) : v;
    }
}

extern "C" __global__ void choose(const float* a, const bool* condition, float* y, const float* number, int count)
{
    FOR_EACH(i, count) y[i] = condition[i] ? a[i] : number[0];
}

// y (pixels, C) += bias (C,) + shortcut, after a matrix product, and then optionally a ReLU.
extern "C" __global__ void add_bias(
    float* y, const float* bias, const float* shortcut, int rectify, int channels, int count)
{
    FOR_EACH(i, count) {
        float v = y[i];
        if (bias) v += bias[i % channels];
        if (shortcut) v += shortcut[i];
        y[i] = rectify ? relu(v) : v;
    }
}

// Copy source (N, H, W, C), of any strides, into a block (N, BH, BW, BC) of zeros: after `before` channels, to every
// row_step-th row and every column_step-th column.
extern "C" __global__ void arrange(
    const float* source, float* block, int n_stride, int h_stride, int w_stride, int c_stride, int height, int width,
    int channels, int block_height, int block_width, int block_channels, int before, int row_step, int column_step,
    int count)
{
    FOR_EACH(i, count) {
        int c = i % block_channels - before, pixel = i / block_channels;
        int w = pixel % block_width, h = pixel / block_width % block_height, n = pixel / (block_width * block_height);
        bool held = 0 <= c && c < channels && h % row_step == 0 && w % column_step == 0 && h / row_step < height
            && w / column_step < width;
        block[i] = held
            ? source[(long long)n * n_stride + (long long)(h / row_step) * h_stride
                     + (long long)(w / column_step) * w_stride + (long long)c * c_stride]
            : 0.0f;
    }
}
