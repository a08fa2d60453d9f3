// Rung 2, coalesced. Changed: neighbouring threads (threadIdx.x) compute neighbouring columns, not rows.
//
// Why: a warp reads memory in lines of 128 bytes. Now its 32 numbers of B, and of C, are one line, and all its
// lanes want the same number of A, which is broadcast. Should gain 5 to 10 times, for exchanging x and y.

#ifndef REAL
#define REAL float
#endif
#ifndef TILE
#define TILE 16
#endif

extern "C" __global__ void matmul(
    int m, int n, int k,
    const REAL *a, long long a_row, long long a_col,
    const REAL *b, long long b_row, long long b_col,
    REAL *c, long long c_row)
{
    long long i = (long long)blockIdx.x * TILE + threadIdx.y;
    long long j = (long long)blockIdx.y * TILE + threadIdx.x;
    if (i >= m || j >= n) return;

    REAL sum = 0;
    for (int p = 0; p < k; p++)
        sum += a[i * a_row + p * a_col] * b[p * b_row + j * b_col];
    c[i * c_row + j] = sum;
}
