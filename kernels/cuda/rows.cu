// Kernels over the rows of a C-contiguous matrix x[m, n], a block of threads a row: the gradient of
// normalisation; the cross-entropy of a softmax and its gradient; rows added to others. reductions.cu is put before this text.

// sum of (x_j - mean)^2
__device__ __forceinline__ REAL squares_of(const REAL *row, long long n, REAL mean, REAL *scratch)
{
    REAL sum = 0;
    for (long long j = threadIdx.x; j < n; j += THREADS) sum += (row[j] - mean) * (row[j] - mean);
    return of_all_threads<Add>(sum, scratch);
}

// r (g - mean(g) - y mean(g y))
extern "C" __global__ void normalise_rows_grad(const REAL *g, const REAL *x, REAL *out, long long n, REAL eps)
{
    __shared__ REAL scratch[WARPS];
    const REAL *row = x + blockIdx.x * n, *back = g + blockIdx.x * n;
    REAL mean = sum_of(row, n, scratch) / (REAL)n;
    REAL r = (REAL)1 / (REAL)sqrt(squares_of(row, n, mean, scratch) / (REAL)n + eps);
    REAL level = sum_of(back, n, scratch) / (REAL)n, along = 0;
    for (long long j = threadIdx.x; j < n; j += THREADS) along += back[j] * ((row[j] - mean) * r);
    along = of_all_threads<Add>(along, scratch) / (REAL)n;
    for (long long j = threadIdx.x; j < n; j += THREADS)
        out[blockIdx.x * n + j] = r * (back[j] - level - (row[j] - mean) * r * along);
}

// ln sum_j e^(x_j) - x_target; 0 where the target is negative
extern "C" __global__ void cross_entropy(const REAL *logits, const long long *targets, REAL *out, long long n)
{
    __shared__ REAL scratch[WARPS];
    const REAL *row = logits + blockIdx.x * n;
    long long target = targets[blockIdx.x];
    REAL shift = shift_of(largest_of(row, n, scratch));
    REAL sum = sum_exp_of(row, n, shift, scratch);
    if (threadIdx.x == 0) out[blockIdx.x] = target < 0 ? (REAL)0 : formula::log(sum) + (shift - row[target]);
}

// g_i (softmax - one at the target)
extern "C" __global__ void cross_entropy_grad(const REAL *g, const REAL *logits, const long long *targets, REAL *out,
                                              long long n)
{
    __shared__ REAL scratch[WARPS];
    const REAL *row = logits + blockIdx.x * n;
    long long target = targets[blockIdx.x];
    REAL shift = shift_of(largest_of(row, n, scratch));
    REAL rest = formula::log(sum_exp_of(row, n, shift, scratch)), weight = target < 0 ? (REAL)0 : g[blockIdx.x];
    for (long long j = threadIdx.x; j < n; j += THREADS) {
        REAL p = formula::exp((row[j] - shift) - rest) - (j == target ? (REAL)1 : (REAL)0);
        out[blockIdx.x * n + j] = target < 0 ? (REAL)0 : weight * p;
    }
}

struct Or {
    __device__ __forceinline__ static int of(int a, int b) { return a | b; }
};

// The row that a place names, the last for -1; -1 for a place outside.
__device__ __forceinline__ long long row_of(long long place, long long m)
{
    if (place < 0) place += m;
    return place < m ? place : -1;
}

// target[places[i]] += values[i] for i = 0 .. count - 1, in this order: the same sum every time, which atomic additions
// would not give. A block is one i (blockIdx.x) and THREADS columns (blockIdx.y). The first i that names a row adds all that
// follow, the others' blocks end at once; places are looked at THREADS at a time.
extern "C" __global__ void add_rows(REAL *target, const long long *places, const REAL *values, long long m, long long n,
                                    long long count)
{
    __shared__ int scratch[WARPS];
    __shared__ unsigned same[WARPS];  // a bit for each place
    long long first = blockIdx.x, row = row_of(places[first], m);
    int earlier = row < 0;
    for (long long i = threadIdx.x; i < first; i += THREADS) earlier |= row_of(places[i], m) == row;
    if (of_all_threads<Or>(earlier, scratch)) return;

    long long j = (long long)blockIdx.y * THREADS + threadIdx.x;
    REAL sum = j < n ? target[row * n + j] : (REAL)0;
    for (long long i0 = first; i0 < count; i0 += THREADS) {
        long long i = i0 + threadIdx.x;
        unsigned mine = __ballot_sync(0xffffffffu, i < count && row_of(places[i], m) == row);
        if (threadIdx.x % 32 == 0) same[threadIdx.x / 32] = mine;
        __syncthreads();
        for (int w = 0; w < WARPS; w++)
            for (unsigned left = same[w]; left; left &= left - 1) {
                long long k = i0 + 32 * w + __ffs(left) - 1;
                if (j < n) sum += values[k * n + j];
            }
        __syncthreads();
    }
    if (j < n) target[row * n + j] = sum;
}
