// Prepended to every source of this folder. Arrays have fewer than 2^30 elements (MOST in launch.py), so an index fits
// into an int. Images are stored channels last, (N, H, W, C), as on the CPU: neighbouring threads access neighbouring
// channels.

// Each thread takes every (number of threads)-th of `count` elements.
#define FOR_EACH(i, count) \
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < (count); i += gridDim.x * blockDim.x)

__device__ inline float relu(float v) { return v <= 0.0f ? 0.0f : v; }  // NaN stays NaN
