// Read before every source of this folder. A launch has fewer than 2^30 numbers (launch.py sees to it), so int will do.
// Images lie channels last, (N, H, W, C), as on the CPU: neighbouring threads touch neighbouring channels.

// Each thread takes every (number of threads)-th of `count` things.
#define FOR_EACH(i, count) \
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < (count); i += gridDim.x * blockDim.x)

__device__ inline float relu(float v) { return v <= 0.0f ? 0.0f : v; }  // NaN stays NaN
