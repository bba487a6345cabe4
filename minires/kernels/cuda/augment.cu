// Augmentation of batches of bytes (N, C, H, W). The random numbers are drawn on the CPU.

extern "C" __global__ void pad_crop(
    const unsigned char* batch, unsigned char* moved, const long long* top, const long long* left, int padding,
    int channels, int height, int width, int count)
{
    FOR_EACH(i, count) {
        int w = i % width, h = i / width % height, n = i / (width * height * channels);
        int row = h + (int)top[n] - padding, column = w + (int)left[n] - padding;
        bool inside = 0 <= row && row < height && 0 <= column && column < width;
        moved[i] = inside ? batch[(i / (width * height) * height + row) * width + column] : 0;
    }
}

extern "C" __global__ void flip(
    const unsigned char* batch, unsigned char* flipped, const bool* mirrored, int pixels, int width, int count)
{
    FOR_EACH(i, count) {
        int w = i % width;
        flipped[i] = batch[mirrored[i / pixels] ? i - w + (width - 1 - w) : i];
    }
}

// Bytes (N, C, H, W) -> floats (N, H, W, C): (x / 255 - mean) / std.
extern "C" __global__ void normalize(
    const unsigned char* batch, float* normal, const float* mean, const float* std, int channels, int pixels, int count)
{
    FOR_EACH(i, count) {
        int c = i % channels, pixel = i / channels % pixels, n = i / (channels * pixels);
        normal[i] = (batch[(n * channels + c) * pixels + pixel] / 255.0f - mean[c]) / std[c];
    }
}
