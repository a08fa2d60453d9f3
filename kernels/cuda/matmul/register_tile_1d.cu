// Rung 4, one-dimensional register tile. Changed: a thread computes a column of EACH numbers of C instead of one.
//
// Why: one number of B, read from shared memory into a register, now serves EACH multiply-adds, so EACH + 1 reads
// do the work of 2 EACH. The instructions that are not multiply-adds fall to half. Should gain about 2 times.

#ifndef REAL
#define REAL float
#endif
#define ROWS 64
#define COLS 64
#define DEPTH 8
#define EACH 8
#define THREADS (ROWS * COLS / EACH)  // 512: as many as each tile has numbers, so a thread loads one of each

extern "C" __global__ void __launch_bounds__(THREADS) matmul(
    int m, int n, int k,
    const REAL *a, long long a_row, long long a_col,
    const REAL *b, long long b_row, long long b_col,
    REAL *c, long long c_row)
{
    __shared__ REAL a_tile[ROWS][DEPTH];
    __shared__ REAL b_tile[DEPTH][COLS];
    int thread = threadIdx.x;
    long long i0 = (long long)blockIdx.x * ROWS, j0 = (long long)blockIdx.y * COLS;
    int column = thread % COLS, rows_from = thread / COLS * EACH;

    REAL sum[EACH] = {};
    for (long long p = 0; p < k; p += DEPTH) {
        int y = thread / DEPTH, x = thread % DEPTH;
        a_tile[y][x] = i0 + y < m && p + x < k ? a[(i0 + y) * a_row + (p + x) * a_col] : 0;
        y = thread / COLS, x = thread % COLS;
        b_tile[y][x] = p + y < k && j0 + x < n ? b[(p + y) * b_row + (j0 + x) * b_col] : 0;
        __syncthreads();
        for (int q = 0; q < DEPTH; q++) {
            REAL right = b_tile[q][column];
            #pragma unroll
            for (int r = 0; r < EACH; r++)
                sum[r] += a_tile[rows_from + r][q] * right;
        }
        __syncthreads();
    }
    long long j = j0 + column;
    #pragma unroll
    for (int r = 0; r < EACH; r++) {
        long long i = i0 + rows_from + r;
        if (i < m && j < n) c[i * c_row + j] = sum[r];
    }
}
