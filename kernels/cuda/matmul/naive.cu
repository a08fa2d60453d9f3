// Rung 1, naive. One thread computes one number of C[m, n] = A[m, k] B[k, n]: a row of A times a column of B.
//
// What it costs: every multiply-add reads two numbers from global memory, 4 bytes a flop. And neighbouring threads
// (threadIdx.x) stand below each other, so the 32 numbers of A and of C that a warp touches at once lie a row
// apart: 32 memory transactions where one would do. Expect one or two percent of the peak.
//
// Operands are addressed by strides (in numbers, not bytes), so a transposed matrix is the same call.

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
    long long i = (long long)blockIdx.x * TILE + threadIdx.x;
    long long j = (long long)blockIdx.y * TILE + threadIdx.y;
    if (i >= m || j >= n) return;

    REAL sum = 0;
    for (int p = 0; p < k; p++)
        sum += a[i * a_row + p * a_col] * b[p * b_row + j * b_col];
    c[i * c_row + j] = sum;
}
