// The steps before and after the matrix product of a convolution.

// x (N, H, W, C) -> rows (N*OH*OW, KH*KW*C): the window of each output pixel, with zeros outside the image.
extern "C" __global__ void im2col(
    const float* x, float* rows, int height, int width, int channels, int out_height, int out_width, int kh, int kw,
    int sh, int sw, int ph, int pw, int dh, int dw, int count)
{
    FOR_EACH(i, count) {
        int c = i % channels, window = i / channels;
        int b = window % kw, a = window / kw % kh, pixel = window / (kw * kh);
        int q = pixel % out_width, p = pixel / out_width % out_height, n = pixel / (out_width * out_height);
        int h = p * sh + a * dh - ph, w = q * sw + b * dw - pw;
        bool inside = 0 <= h && h < height && 0 <= w && w < width;
        rows[i] = inside ? x[((n * height + h) * width + w) * channels + c] : 0.0f;
    }
}

// rows (N*OH*OW, KH*KW*C) -> x (N, H, W, C), the adjoint of im2col. Each pixel adds up its values in all windows that
// contain it. It is written only once, so it needs no atomics, and the order of the sum is fixed. `added` is added to
// the result, unless it is null.
extern "C" __global__ void col2im(
    const float* rows, const float* added, float* x, int height, int width, int channels, int out_height, int out_width,
    int kh, int kw, int sh, int sw, int ph, int pw, int dh, int dw, int count)
{
    FOR_EACH(i, count) {
        int c = i % channels, pixel = i / channels;
        int w = pixel % width, h = pixel / width % height, n = pixel / (width * height);
        float sum = added ? added[i] : 0.0f;
        for (int a = 0; a < kh; a++) {
            int down = h + ph - a * dh, p = down / sh;
            if (down < 0 || down % sh || p >= out_height) continue;
            for (int b = 0; b < kw; b++) {
                int right = w + pw - b * dw, q = right / sw;
                if (right < 0 || right % sw || q >= out_width) continue;
                sum += rows[((((n * out_height + p) * out_width + q) * kh + a) * kw + b) * channels + c];
            }
        }
        x[i] = sum;
    }
}
