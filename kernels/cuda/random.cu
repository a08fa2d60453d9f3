// Random numbers: a thread takes blocks of four words from Philox and makes numbers of them, by the formulas of
// kernels/scalar_random.py, which are put before this text. Compiled without fused multiply-adds, for the same bits
// as on the CPU. The last, incomplete block is computed whole and cut.

typedef unsigned long long Word;

// Seed and draw come by value; or, with FROM_MEMORY, as addresses: a captured graph finds new ones there at every launch.
#ifdef FROM_MEMORY
typedef const Word *Key;
#define VALUE(key) (*(key))
#else
typedef Word Key;
#define VALUE(key) (key)
#endif

#define FOR_EACH_BLOCK(i, n, numbers)                                                                             \
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i * numbers < n;                         \
         i += (long long)gridDim.x * blockDim.x)

__device__ __forceinline__ formula::philox_result words_of(Key seed, Key draw, long long block)
{
    return formula::philox(VALUE(seed), VALUE(draw), (Word)block);
}

// The N numbers of a block, 16 bytes, go into an array of which n are left: in one access, where it is whole and aligned.
template <class T, int N> struct alignas(16) Block {
    T number[N];
};
template <class T, int N> __device__ __forceinline__ void leave(const Block<T, N> &block, T *out, long long n)
{
    if (n >= N && (size_t)out % 16 == 0) {
        *(Block<T, N> *)out = block;
    } else {
#pragma unroll
        for (int j = 0; j < N; j++)
            if (j < n) out[j] = block.number[j];
    }
}

extern "C" __global__ void random_bits(Key seed, Key draw, unsigned int *out, long long n)
{
    FOR_EACH_BLOCK(i, n, 4) {
        formula::philox_result w = words_of(seed, draw, i);
        Block<unsigned int, 4> made = {(unsigned int)w.v0, (unsigned int)w.v1, (unsigned int)w.v2, (unsigned int)w.v3};
        leave(made, out + 4 * i, n - 4 * i);
    }
}

extern "C" __global__ void uniform_32(Key seed, Key draw, float *out, long long n)
{
    FOR_EACH_BLOCK(i, n, 4) {
        formula::philox_result w = words_of(seed, draw, i);
        Block<float, 4> made = {formula::uniform_32(w.v0), formula::uniform_32(w.v1), formula::uniform_32(w.v2),
                                formula::uniform_32(w.v3)};
        leave(made, out + 4 * i, n - 4 * i);
    }
}

extern "C" __global__ void uniform_64(Key seed, Key draw, double *out, long long n)
{
    FOR_EACH_BLOCK(i, n, 2) {
        formula::philox_result w = words_of(seed, draw, i);
        Block<double, 2> made = {formula::uniform_64(w.v0, w.v1), formula::uniform_64(w.v2, w.v3)};
        leave(made, out + 2 * i, n - 2 * i);
    }
}

extern "C" __global__ void normal_32(Key seed, Key draw, float *out, long long n)
{
    FOR_EACH_BLOCK(i, n, 4) {
        formula::philox_result w = words_of(seed, draw, i);
        formula::normal_pair_32_result a = formula::normal_pair_32(w.v0, w.v1);
        formula::normal_pair_32_result b = formula::normal_pair_32(w.v2, w.v3);
        Block<float, 4> made = {a.v0, a.v1, b.v0, b.v1};
        leave(made, out + 4 * i, n - 4 * i);
    }
}

extern "C" __global__ void normal_64(Key seed, Key draw, double *out, long long n)
{
    FOR_EACH_BLOCK(i, n, 2) {
        formula::philox_result w = words_of(seed, draw, i);
        formula::normal_pair_64_result a = formula::normal_pair_64(w.v0, w.v1, w.v2, w.v3);
        Block<double, 2> made = {a.v0, a.v1};
        leave(made, out + 2 * i, n - 2 * i);
    }
}
