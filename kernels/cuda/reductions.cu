// Reductions over a C-contiguous matrix x[m, n]: sums along rows, along columns and over all; the largest of a row;
// softmax, ln softmax, ln sum exp of rows, and rows brought to mean 0 and variance 1. The formulas `exp` and `log` of kernels/scalar.py are put before this text.
//
// A sum is the same on every GPU and in every run: who adds what to what follows from the shape alone, and nothing
// is atomic. A thread adds every 256th number, the threads' sums meet in a tree, so the error grows with
// n / 256 + log n rather than with n.

#ifndef REAL
#define REAL float
#endif

#include "sums.cuh"

struct Largest {  // a NaN stays
    __device__ __forceinline__ static REAL of(REAL a, REAL b) { return a > b || a != a ? a : b; }
};

__device__ __forceinline__ float root(float x) { return sqrtf(x); }
__device__ __forceinline__ double root(double x) { return sqrt(x); }

__device__ __forceinline__ REAL minus_infinity() { return -__int_as_float(0x7f800000); }

// What to subtract before exp: the largest, but 0 where that is infinite or NaN, since inf - inf is NaN.
__device__ __forceinline__ REAL shift_of(REAL largest) { return largest - largest == 0 ? largest : (REAL)0; }

// --- one block a row --------------------------------------------------------------------------------------------

__device__ __forceinline__ REAL sum_of(const REAL *row, long long n, REAL *scratch)
{
    REAL sum = 0;
    for (long long j = threadIdx.x; j < n; j += THREADS) sum += row[j];
    return of_all_threads<Add>(sum, scratch);
}

__device__ __forceinline__ REAL largest_of(const REAL *row, long long n, REAL *scratch)
{
    REAL largest = minus_infinity();
    for (long long j = threadIdx.x; j < n; j += THREADS) largest = Largest::of(row[j], largest);
    return of_all_threads<Largest>(largest, scratch);
}

__device__ __forceinline__ REAL sum_exp_of(const REAL *row, long long n, REAL shift, REAL *scratch)
{
    REAL sum = 0;
    for (long long j = threadIdx.x; j < n; j += THREADS) sum += formula::exp(row[j] - shift);
    return of_all_threads<Add>(sum, scratch);
}

extern "C" __global__ void sum_rows(const REAL *x, REAL *out, long long n)
{
    __shared__ REAL scratch[WARPS];
    REAL sum = sum_of(x + blockIdx.x * n, n, scratch);
    if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

extern "C" __global__ void max_rows(const REAL *x, REAL *out, long long n)
{
    __shared__ REAL scratch[WARPS];
    REAL largest = largest_of(x + blockIdx.x * n, n, scratch);
    if (threadIdx.x == 0) out[blockIdx.x] = largest;
}

extern "C" __global__ void logsumexp_rows(const REAL *x, REAL *out, long long n)
{
    __shared__ REAL scratch[WARPS];
    const REAL *row = x + blockIdx.x * n;
    REAL shift = shift_of(largest_of(row, n, scratch));
    REAL sum = sum_exp_of(row, n, shift, scratch);
    if (threadIdx.x == 0) out[blockIdx.x] = shift + formula::log(sum);
}

extern "C" __global__ void softmax_rows(const REAL *x, REAL *out, long long n)
{
    __shared__ REAL scratch[WARPS];
    const REAL *row = x + blockIdx.x * n;
    REAL largest = largest_of(row, n, scratch);  // where it is infinite, the row becomes NaN
    REAL sum = sum_exp_of(row, n, largest, scratch);
    for (long long j = threadIdx.x; j < n; j += THREADS) out[blockIdx.x * n + j] = formula::exp(row[j] - largest) / sum;
}

extern "C" __global__ void log_softmax_rows(const REAL *x, REAL *out, long long n)
{
    __shared__ REAL scratch[WARPS];
    const REAL *row = x + blockIdx.x * n;
    REAL largest = largest_of(row, n, scratch);
    REAL log_sum = formula::log(sum_exp_of(row, n, largest, scratch));
    for (long long j = threadIdx.x; j < n; j += THREADS) out[blockIdx.x * n + j] = row[j] - largest - log_sum;
}

// The mean first, then the mean of the squared distances from it: the difference of two means would cancel.
extern "C" __global__ void normalise_rows(const REAL *x, REAL *out, REAL eps, long long n)
{
    __shared__ REAL scratch[WARPS];
    const REAL *row = x + blockIdx.x * n;
    REAL mean = sum_of(row, n, scratch) / (REAL)n, sum = 0;
    for (long long j = threadIdx.x; j < n; j += THREADS) sum += (row[j] - mean) * (row[j] - mean);
    REAL deviation = root(of_all_threads<Add>(sum, scratch) / (REAL)n + eps);
    for (long long j = threadIdx.x; j < n; j += THREADS) out[blockIdx.x * n + j] = (row[j] - mean) / deviation;
}

// --- columns, and all -------------------------------------------------------------------------------------------

// out[gridDim.x, n]: block (p, q) adds the rows p, p + gridDim.x, ... of WIDTH columns; called again for the rest.
extern "C" __global__ void sum_cols(const REAL *x, REAL *out, long long m, long long n)
{
    __shared__ REAL part[WARPS][WIDTH];
    int lane = threadIdx.x % WIDTH, line = threadIdx.x / WIDTH;
    long long j = (long long)blockIdx.y * WIDTH + lane;
    REAL sum = 0;
    if (j < n)
        for (long long i = blockIdx.x + (long long)line * gridDim.x; i < m; i += (long long)WARPS * gridDim.x)
            sum += x[i * n + j];
    add_columns(sum, part, out, n);
}
