// Rung 5, two-dimensional register tile. Changed: a thread computes EACH x EACH numbers of C.
//
// Why: for every step along k a thread reads EACH numbers of A and EACH of B and makes EACH^2 multiply-adds of
// them, an outer product: with EACH = 8, four multiply-adds a read where rung 4 had less than one. The work is in
// registers now. Should gain about 2 times.

#ifndef REAL
#define REAL float
#endif
#define ROWS 128
#define COLS 128
#define DEPTH 8
#define EACH 8
#define THREADS (ROWS * COLS / (EACH * EACH))

extern "C" __global__ void __launch_bounds__(THREADS) matmul(
    int m, int n, int k,
    const REAL *a, long long a_row, long long a_col,
    const REAL *b, long long b_row, long long b_col,
    REAL *c, long long c_row)
{
    __shared__ REAL a_tile[DEPTH][ROWS + 1];  // along the rows; the odd width spreads a column over the banks
    __shared__ REAL b_tile[DEPTH][COLS];
    int thread = threadIdx.x;
    long long i0 = (long long)blockIdx.x * ROWS, j0 = (long long)blockIdx.y * COLS;
    int y0 = thread / (COLS / EACH) * EACH, x0 = thread % (COLS / EACH);

    REAL sum[EACH][EACH] = {};
    for (long long p = 0; p < k; p += DEPTH) {
        for (int e = thread; e < ROWS * DEPTH; e += THREADS) {
            int y = e / DEPTH, x = e % DEPTH;
            a_tile[x][y] = i0 + y < m && p + x < k ? a[(i0 + y) * a_row + (p + x) * a_col] : 0;
        }
        for (int e = thread; e < DEPTH * COLS; e += THREADS) {
            int y = e / COLS, x = e % COLS;
            b_tile[y][x] = p + y < k && j0 + x < n ? b[(p + y) * b_row + (j0 + x) * b_col] : 0;
        }
        __syncthreads();
        for (int q = 0; q < DEPTH; q++) {
            REAL left[EACH], right[EACH];
            #pragma unroll
            for (int r = 0; r < EACH; r++) left[r] = a_tile[q][y0 + r];
            #pragma unroll
            for (int s = 0; s < EACH; s++) right[s] = b_tile[q][x0 + s * (COLS / EACH)];
            #pragma unroll
            for (int r = 0; r < EACH; r++)
                #pragma unroll
                for (int s = 0; s < EACH; s++) sum[r][s] += left[r] * right[s];
        }
        __syncthreads();
    }
    // A thread's columns are COLS / EACH apart, so that its neighbours' are next to its own.
    #pragma unroll
    for (int r = 0; r < EACH; r++)
        #pragma unroll
        for (int s = 0; s < EACH; s++) {
            long long i = i0 + y0 + r, j = j0 + x0 + s * (COLS / EACH);
            if (i < m && j < n) c[i * c_row + j] = sum[r][s];
        }
}
