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

extern "C" __global__ void random_bits(Key seed, Key draw, unsigned int *out, long long n)
{
    FOR_EACH_BLOCK(i, n, 4) {
        formula::philox_result w = words_of(seed, draw, i);
        Word four[4] = {w.v0, w.v1, w.v2, w.v3};
        for (int j = 0; j < 4 && 4 * i + j < n; j++) out[4 * i + j] = (unsigned int)four[j];
    }
}

extern "C" __global__ void uniform_32(Key seed, Key draw, float *out, long long n)
{
    FOR_EACH_BLOCK(i, n, 4) {
        formula::philox_result w = words_of(seed, draw, i);
        Word four[4] = {w.v0, w.v1, w.v2, w.v3};
        for (int j = 0; j < 4 && 4 * i + j < n; j++) out[4 * i + j] = formula::uniform_32(four[j]);
    }
}

extern "C" __global__ void uniform_64(Key seed, Key draw, double *out, long long n)
{
    FOR_EACH_BLOCK(i, n, 2) {
        formula::philox_result w = words_of(seed, draw, i);
        out[2 * i] = formula::uniform_64(w.v0, w.v1);
        if (2 * i + 1 < n) out[2 * i + 1] = formula::uniform_64(w.v2, w.v3);
    }
}

extern "C" __global__ void normal_32(Key seed, Key draw, float *out, long long n)
{
    FOR_EACH_BLOCK(i, n, 4) {
        formula::philox_result w = words_of(seed, draw, i);
        formula::normal_pair_32_result a = formula::normal_pair_32(w.v0, w.v1);
        formula::normal_pair_32_result b = formula::normal_pair_32(w.v2, w.v3);
        float four[4] = {a.v0, a.v1, b.v0, b.v1};
        for (int j = 0; j < 4 && 4 * i + j < n; j++) out[4 * i + j] = four[j];
    }
}

extern "C" __global__ void normal_64(Key seed, Key draw, double *out, long long n)
{
    FOR_EACH_BLOCK(i, n, 2) {
        formula::philox_result w = words_of(seed, draw, i);
        formula::normal_pair_64_result a = formula::normal_pair_64(w.v0, w.v1, w.v2, w.v3);
        out[2 * i] = a.v0;
        if (2 * i + 1 < n) out[2 * i + 1] = a.v1;
    }
}
