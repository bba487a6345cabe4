// Our own matrix product for CUDA graphs, because CuPy does not call cuBLAS while a stream is being captured.
//
// A block of 256 threads computes a tile of 64 x 64 numbers, 4 x 4 of them in the registers of each thread. It goes
// along the inner axis in steps of 16, which all threads first load into shared memory.

const int TILE = 64, DEPTH = 16, EACH = 4;

// a (M, K) @ b (K, N) -> c (parts, M, N), where a and b may have any strides and c is in C order.
// Part z of the grid handles `depth` elements of the inner axis.
extern "C" __global__ void product(
    const float* a, const float* b, float* c, int m, int n, int k, int depth, int a_row, int a_column, int b_row,
    int b_column)
{
    __shared__ float tile_a[DEPTH][TILE], tile_b[DEPTH][TILE];
    int top = blockIdx.x * TILE, left = blockIdx.y * TILE;
    int first = blockIdx.z * depth, last = min(first + depth, k);
    int row = threadIdx.x / 16 * EACH, column = threadIdx.x % 16 * EACH;
    float sums[EACH][EACH] = {};
    for (int start = first; start < last; start += DEPTH) {
        for (int t = threadIdx.x; t < TILE * DEPTH; t += blockDim.x) {
            // Neighbouring threads read neighbouring numbers, along the axis that is contiguous.
            int along = a_column == 1 ? t % DEPTH : t / TILE, across = a_column == 1 ? t / DEPTH : t % TILE;
            int i = top + across, j = start + along;
            tile_a[along][across] = i < m && j < last ? a[(long long)i * a_row + (long long)j * a_column] : 0.0f;
            along = b_row == 1 ? t % DEPTH : t / TILE, across = b_row == 1 ? t / DEPTH : t % TILE;
            i = start + along, j = left + across;
            tile_b[along][across] = i < last && j < n ? b[(long long)i * b_row + (long long)j * b_column] : 0.0f;
        }
        __syncthreads();
        for (int d = 0; d < DEPTH; d++)
            for (int i = 0; i < EACH; i++)
                for (int j = 0; j < EACH; j++) sums[i][j] += tile_a[d][row + i] * tile_b[d][column + j];
        __syncthreads();
    }
    for (int i = 0; i < EACH; i++)
        for (int j = 0; j < EACH; j++)
            if (top + row + i < m && left + column + j < n)
                c[((long long)blockIdx.z * m + top + row + i) * n + left + column + j] = sums[i][j];
}

// c (count,) = the sum of parts (parts, count), in order.
extern "C" __global__ void add_parts(const float* parts, float* c, int number, int count)
{
    FOR_EACH(i, count) {
        float sum = 0.0f;
        for (int z = 0; z < number; z++) sum += parts[(long long)z * count + i];
        c[i] = sum;
    }
}
