// Softmax and cross-entropy. The probabilities are never written to memory. Each block of threads computes one row, and
// its threads share the classes.

const int MOST = 256;  // threads in a block, a power of two

__device__ float largest_of_row(const float* row, int classes, float* shared)
{
    float peak = row[0];
    for (int k = threadIdx.x; k < classes; k += blockDim.x)
        if (!(row[k] <= peak)) peak = row[k];  // keeps a NaN
    shared[threadIdx.x] = peak;
    __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half && !(shared[threadIdx.x + half] <= shared[threadIdx.x]))
            shared[threadIdx.x] = shared[threadIdx.x + half];
        __syncthreads();
    }
    peak = shared[0];
    __syncthreads();
    return peak;
}

__device__ float sum_of_block(float part, float* shared)
{
    shared[threadIdx.x] = part;
    __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
        __syncthreads();
    }
    part = shared[0];
    __syncthreads();
    return part;
}

// losses (N,): log(sum(exp)) - (1 - smoothing) * logit of the label - smoothing * mean of the logits. A label that is
// not a class gives NaN, because a kernel can neither raise an error nor read beyond the row.
extern "C" __global__ void cross_entropy(
    const float* logits, const long long* labels, float* losses, float smoothing, int classes)
{
    __shared__ float shared[MOST];
    const float* row = logits + (long long)blockIdx.x * classes;
    long long label = labels[blockIdx.x];
    float peak = largest_of_row(row, classes, shared);
    float exponentials = 0.0f, others = 0.0f;
    for (int k = threadIdx.x; k < classes; k += blockDim.x) {
        exponentials += expf(row[k] - peak);
        others += row[k] - peak;
    }
    exponentials = sum_of_block(exponentials, shared);
    others = sum_of_block(others, shared);
    if (threadIdx.x == 0) {
        bool known = 0 <= label && label < classes;
        float loss = known ? logf(exponentials) - (1.0f - smoothing) * (row[label] - peak) : nanf("");
        if (smoothing > 0.0f) loss -= smoothing / classes * others;  // skipped at 0, because 0 * -inf is NaN
        losses[blockIdx.x] = loss;
    }
}

// The mean of losses (rows,), by a single block.
extern "C" __global__ void mean_loss(const float* losses, float* mean, int rows)
{
    __shared__ float shared[MOST];
    float part = 0.0f;
    for (int n = threadIdx.x; n < rows; n += blockDim.x) part += losses[n];
    part = sum_of_block(part, shared);
    if (threadIdx.x == 0) mean[0] = part / rows;
}

extern "C" __global__ void cross_entropy_backward(
    const float* logits, const long long* labels, const float* upstream, float* dlogits, float smoothing, int classes,
    int rows)
{
    __shared__ float shared[MOST];
    const float* row = logits + (long long)blockIdx.x * classes;
    float* drow = dlogits + (long long)blockIdx.x * classes;
    float peak = largest_of_row(row, classes, shared);
    float exponentials = 0.0f;
    for (int k = threadIdx.x; k < classes; k += blockDim.x) exponentials += expf(row[k] - peak);
    exponentials = sum_of_block(exponentials, shared);
    for (int k = threadIdx.x; k < classes; k += blockDim.x) {
        float target = smoothing / classes + (k == labels[blockIdx.x] ? 1.0f - smoothing : 0.0f);
        drow[k] = (expf(row[k] - peak) / exponentials - target) * upstream[0] / rows;
    }
}
