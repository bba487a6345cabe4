// Pooling. The backward pass gathers, like col2im: each pixel adds up the gradients from the windows that contain it.

// winner: the index of the largest element in its window, or the first of equal elements; a NaN counts as the largest.
extern "C" __global__ void max_pool(
    const float* x, float* y, int* winner, int height, int width, int channels, int out_height, int out_width, int kh,
    int kw, int sh, int sw, int ph, int pw, int count)
{
    FOR_EACH(i, count) {
        int c = i % channels, pixel = i / channels;
        int q = pixel % out_width, p = pixel / out_width % out_height, n = pixel / (out_width * out_height);
        float best = 0.0f;
        int place = -1;
        for (int a = 0; a < kh; a++)
            for (int b = 0; b < kw; b++) {
                int h = p * sh + a - ph, w = q * sw + b - pw;
                if (h < 0 || h >= height || w < 0 || w >= width) continue;
                float v = x[((n * height + h) * width + w) * channels + c];
                if (place < 0 || v > best || (v != v && best == best)) {
                    best = v;
                    place = a * kw + b;
                }
            }
        y[i] = best;
        winner[i] = place;
    }
}

// If winner is null, this is average pooling, where each element of the window has the same share.
extern "C" __global__ void pool_backward(
    const float* dy, const int* winner, float* dx, float share, int height, int width, int channels, int out_height,
    int out_width, int kh, int kw, int sh, int sw, int ph, int pw, int count)
{
    FOR_EACH(i, count) {
        int c = i % channels, pixel = i / channels;
        int w = pixel % width, h = pixel / width % height, n = pixel / (width * height);
        float sum = 0.0f;
        for (int a = 0; a < kh; a++) {
            int down = h + ph - a, p = down / sh;
            if (down < 0 || down % sh || p >= out_height) continue;
            for (int b = 0; b < kw; b++) {
                int right = w + pw - b, q = right / sw;
                if (right < 0 || right % sw || q >= out_width) continue;
                int from = ((n * out_height + p) * out_width + q) * channels + c;
                if (!winner || winner[from] == a * kw + b) sum += dy[from];
            }
        }
        dx[i] = sum * share;
    }
}

extern "C" __global__ void avg_pool(
    const float* x, float* y, int height, int width, int channels, int out_height, int out_width, int kh, int kw, int sh,
    int sw, int ph, int pw, int count)
{
    FOR_EACH(i, count) {
        int c = i % channels, pixel = i / channels;
        int q = pixel % out_width, p = pixel / out_width % out_height, n = pixel / (out_width * out_height);
        double sum = 0.0;  // windows may be large
        for (int a = 0; a < kh; a++)
            for (int b = 0; b < kw; b++) {
                int h = p * sh + a - ph, w = q * sw + b - pw;
                if (h < 0 || h >= height || w < 0 || w >= width) continue;
                sum += x[((n * height + h) * width + w) * channels + c];
            }
        y[i] = (float)(sum / (kh * kw));
    }
}

// x (N, pixels, C) -> y (N, C). The sums are in double, because images may be large.
extern "C" __global__ void global_avg_pool(const float* x, float* y, int pixels, int channels, int count)
{
    FOR_EACH(i, count) {
        const float* from = x + (long long)(i / channels) * pixels * channels + i % channels;
        double sum = 0.0;
        for (int pixel = 0; pixel < pixels; pixel++) sum += from[(long long)pixel * channels];
        y[i] = (float)(sum / pixels);
    }
}

extern "C" __global__ void global_avg_pool_backward(const float* dy, float* dx, int pixels, int channels, int count)
{
    FOR_EACH(i, count) dx[i] = dy[i / (channels * pixels) * channels + i % channels] / pixels;
}
