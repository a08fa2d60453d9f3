// Sums over the threads of a block of 256, and over the columns of a matrix: always in the same order, nothing is atomic.

#define THREADS 256
#define WARPS (THREADS / 32)
#define WIDTH 32  // columns of a block that adds columns

struct Add {
    template <class T> __device__ __forceinline__ static T of(T a, T b) { return a + b; }
};

// Every thread gets the result of all. `scratch` is shared, one number a warp.
template <class Operation, class T>
__device__ __forceinline__ T of_all_threads(T value, T *scratch)
{
    for (int bits = 16; bits > 0; bits /= 2)
        value = Operation::of(value, __shfl_xor_sync(0xffffffffu, value, bits));
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
    __syncthreads();
    value = scratch[0];
    for (int w = 1; w < WARPS; w++) value = Operation::of(value, scratch[w]);
    __syncthreads();  // the next reduction writes there
    return value;
}

// out[gridDim.x, n]: the threads of a block hold sums of WIDTH columns, WARPS threads one column; they are added up.
// `part` is shared.
template <class T, class Out>
__device__ __forceinline__ void add_columns(T sum, T (*part)[WIDTH], Out *out, long long n)
{
    int lane = threadIdx.x % WIDTH, line = threadIdx.x / WIDTH;
    long long j = (long long)blockIdx.y * WIDTH + lane;
    part[line][lane] = sum;
    __syncthreads();
    if (line == 0 && j < n) {
        for (int w = 1; w < WARPS; w++) sum += part[w][lane];
        out[blockIdx.x * n + j] = sum;
    }
    __syncthreads();  // the next sum is put there
}
