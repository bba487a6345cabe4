// Batch normalisation in two passes forward and two backward, as on the CPU (../cpu/norm.py has the formulas).
//
// x is (pixels, C). The threads of a block form rows of `lanes` neighbouring channels; each row reads its own pixels.
// blockIdx.y selects the channels, blockIdx.x the slice of the pixels. The results of the rows of a block are merged in
// shared memory, those of the blocks by a second launch with one block for each group of channels. The order of merging
// is always the same.

const int MOST = 256;  // threads in a block

struct Moments {
    float count, mean, squares;  // squares: the sum of the squared deviations from the mean
};

// Chan, Golub and LeVeque 1979.
__device__ inline Moments merged(Moments a, Moments b)
{
    if (b.count == 0.0f) return a;
    if (a.count == 0.0f) return b;
    float count = a.count + b.count, step = b.mean - a.mean, share = b.count / count;
    return {count, a.mean + step * share, a.squares + b.squares + step * step * a.count * share};
}

__device__ Moments merged_rows(Moments own, Moments* shared, int lanes)
{
    shared[threadIdx.x] = own;
    __syncthreads();
    for (int half = blockDim.x / 2; half >= lanes; half /= 2) {
        if (threadIdx.x < half) shared[threadIdx.x] = merged(shared[threadIdx.x], shared[threadIdx.x + half]);
        __syncthreads();
    }
    return shared[threadIdx.x % lanes];
}

// partial (slices, 3, C). Deviations are relative to the first number that a thread reads, to avoid cancellation.
extern "C" __global__ void moments(const float* x, float* partial, int pixels, int channels, int lanes)
{
    __shared__ Moments shared[MOST];
    int c = blockIdx.y * lanes + threadIdx.x % lanes, row = threadIdx.x / lanes, rows = blockDim.x / lanes;
    int first = blockIdx.x * rows + row;
    Moments own = {0.0f, 0.0f, 0.0f};
    if (c < channels && first < pixels) {
        float centre = x[first * channels + c], sum = 0.0f, squares = 0.0f;
        for (int pixel = first; pixel < pixels; pixel += gridDim.x * rows) {
            float d = x[pixel * channels + c] - centre;
            sum += d;
            squares += d * d;
            own.count += 1.0f;
        }
        own.mean = centre + sum / own.count;
        own.squares = squares - sum * sum / own.count;
    }
    own = merged_rows(own, shared, lanes);
    if (row == 0 && c < channels) {
        float* to = partial + blockIdx.x * 3 * channels + c;
        to[0] = own.count;
        to[channels] = own.mean;
        to[2 * channels] = own.squares;
    }
}

// mean, var (biased) and scale = gamma / sqrt(var + eps), each (C,).
extern "C" __global__ void finish_moments(
    const float* partial, const float* gamma, float* mean, float* var, float* scale, float eps, int slices,
    int channels, int lanes)
{
    __shared__ Moments shared[MOST];
    int c = blockIdx.y * lanes + threadIdx.x % lanes, row = threadIdx.x / lanes, rows = blockDim.x / lanes;
    Moments own = {0.0f, 0.0f, 0.0f};
    if (c < channels)
        for (int slice = row; slice < slices; slice += rows) {
            const float* from = partial + slice * 3 * channels + c;
            own = merged(own, {from[0], from[channels], from[2 * channels]});
        }
    own = merged_rows(own, shared, lanes);
    if (row == 0 && c < channels) {
        mean[c] = own.mean;
        var[c] = own.squares / own.count;
        scale[c] = gamma[c] / sqrtf(var[c] + eps);
    }
}

__device__ float summed_rows(float own, float* shared, int lanes)
{
    shared[threadIdx.x] = own;
    __syncthreads();
    for (int half = blockDim.x / 2; half >= lanes; half /= 2) {
        if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
        __syncthreads();
    }
    own = shared[threadIdx.x % lanes];
    __syncthreads();
    return own;
}

__device__ inline float normalised(float x, const float* mean, const float* scale, const float* beta, int c)
{
    return (x - mean[c]) * scale[c] + beta[c];
}

extern "C" __global__ void normalise(
    const float* x, const float* mean, const float* scale, const float* beta, const float* shortcut, float* y,
    int rectify, int channels, int count)
{
    FOR_EACH(i, count) {
        float v = normalised(x[i], mean, scale, beta, i % channels);
        if (shortcut) v += shortcut[i];
        y[i] = rectify ? relu(v) : v;
    }
}

// partial (slices, 2, C): the sums of g and of g * (x - mean), where g is dy, masked by the ReLU if there was one. If
// there was also a shortcut, y is the mask, and g is stored in `masked`, as it is also the shortcut's gradient.
// Otherwise the normalised x is the mask, and beta is given to compute it.
extern "C" __global__ void gradient_sums(
    const float* x, const float* dy, const float* y, const float* mean, const float* scale, const float* beta,
    float* masked, float* partial, int pixels, int channels, int lanes)
{
    __shared__ float shared[MOST];
    int c = blockIdx.y * lanes + threadIdx.x % lanes, row = threadIdx.x / lanes, rows = blockDim.x / lanes;
    float sum = 0.0f, about_mean = 0.0f;
    if (c < channels)
        for (int pixel = blockIdx.x * rows + row; pixel < pixels; pixel += gridDim.x * rows) {
            int i = pixel * channels + c;
            float g = dy[i];
            if (beta && normalised(x[i], mean, scale, beta, c) <= 0.0f) g = 0.0f;
            if (y) masked[i] = g = y[i] <= 0.0f ? 0.0f : g;
            sum += g;
            about_mean += g * (x[i] - mean[c]);
        }
    sum = summed_rows(sum, shared, lanes);
    about_mean = summed_rows(about_mean, shared, lanes);
    if (row == 0 && c < channels) {
        partial[blockIdx.x * 2 * channels + c] = sum;
        partial[(blockIdx.x * 2 + 1) * channels + c] = about_mean;
    }
}

// dgamma, dbeta, and what the gradient needs besides scale, all (C,): dx = scale * g + slope * (x - mean) + offset.
extern "C" __global__ void finish_sums(
    const float* partial, const float* var, const float* scale, float* dgamma, float* dbeta, float* slope,
    float* offset, float eps, int slices, int pixels, int channels, int lanes)
{
    __shared__ float shared[MOST];
    int c = blockIdx.y * lanes + threadIdx.x % lanes, row = threadIdx.x / lanes, rows = blockDim.x / lanes;
    float sum = 0.0f, about_mean = 0.0f;
    if (c < channels)
        for (int slice = row; slice < slices; slice += rows) {
            sum += partial[slice * 2 * channels + c];
            about_mean += partial[(slice * 2 + 1) * channels + c];
        }
    sum = summed_rows(sum, shared, lanes);
    about_mean = summed_rows(about_mean, shared, lanes);
    if (row == 0 && c < channels) {
        float inverse_std = 1.0f / sqrtf(var[c] + eps);
        dbeta[c] = sum;
        dgamma[c] = about_mean * inverse_std;
        slope[c] = -scale[c] * inverse_std * dgamma[c] / pixels;
        offset[c] = -scale[c] * dbeta[c] / pixels;
    }
}

extern "C" __global__ void gradient(
    const float* x, const float* dy, const float* mean, const float* scale, const float* beta, const float* slope,
    const float* offset, float* dx, int channels, int count)
{
    FOR_EACH(i, count) {
        int c = i % channels;
        float g = dy[i];
        if (beta && normalised(x[i], mean, scale, beta, c) <= 0.0f) g = 0.0f;
        dx[i] = scale[c] * g + slope[c] * (x[i] - mean[c]) + offset[c];
    }
}
