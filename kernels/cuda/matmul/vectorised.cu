// Rung 6, vectorised and double-buffered. Changed: loads and stores of 16 bytes, from global and from shared memory;
// two copies of each panel, so that the next is loaded while this one is multiplied; one barrier a step, not two.
//
// Two blocks on a multiprocessor, one multiplying while the other waits, leave 128 registers a thread: just enough.
//
// Why: one instruction that moves four numbers leaves more of the issue slots to multiply-adds. And a load from
// global memory takes some 500 cycles: started a step ahead, it is hidden by 512 multiply-adds. Should gain about
// 1.3 to 1.5 times.
//
// A_ALONG_K and B_ALONG_K say in which direction each matrix is contiguous, so a transposed operand is read as
// fast as a plain one.

#ifndef A_ALONG_K
#define A_ALONG_K 1
#endif
#ifndef B_ALONG_K
#define B_ALONG_K 0
#endif
#define PANEL 128
#define DEPTH 8
#define THREADS 256
#define QUADS (PANEL * DEPTH / 4 / THREADS)

#include "panel.cuh"
#include "float_panel.cuh"
#include "epilogue.cuh"

extern "C" __global__ void __launch_bounds__(THREADS, 2) matmul(
    int m, int n, int k,
    const float *a, long long a_row, long long a_col,
    const float *b, long long b_row, long long b_col,
    float *c, long long c_row, const float *bias, int accumulate)
{
    __shared__ __align__(16) float a_panel[2][DEPTH][STRIDE];
    __shared__ __align__(16) float b_panel[2][DEPTH][STRIDE];
    int i0 = blockIdx.x * PANEL, j0 = blockIdx.y * PANEL;
    // Eight rows in two fours, eight columns likewise, half a panel apart: reads of neighbours are adjacent.
    int row = threadIdx.x / 16 * 4, col = threadIdx.x % 16 * 4;

    place(a_panel[0], fetch(a, a_row, a_col, m, k, i0, 0, A_ALONG_K), A_ALONG_K);
    place(b_panel[0], fetch(b, b_col, b_row, n, k, j0, 0, B_ALONG_K), B_ALONG_K);
    __syncthreads();

    float sum[8][8] = {};
    int now = 0;
    for (int p = 0; p < k; p += DEPTH) {
        bool more = p + DEPTH < k;
        Quads a_next, b_next;
        if (more) {
            a_next = fetch(a, a_row, a_col, m, k, i0, p + DEPTH, A_ALONG_K);
            b_next = fetch(b, b_col, b_row, n, k, j0, p + DEPTH, B_ALONG_K);
        }
        #pragma unroll
        for (int q = 0; q < DEPTH; q++)
            outer_product(sum, a_panel[now], b_panel[now], q, row, PANEL / 2, col, PANEL / 2);
        now = 1 - now;
        if (more) {  // the other copy: all threads have left it before the last barrier
            place(a_panel[now], a_next, A_ALONG_K);
            place(b_panel[now], b_next, B_ALONG_K);
        }
        __syncthreads();
    }

    Output out = {c, c_row, bias, accumulate, m, n};
    #pragma unroll
    for (int r = 0; r < 8; r++) {
        int i = i0 + row + r % 4 + r / 4 * (PANEL / 2);
        store_four(out, i, j0 + col, sum[r]);
        store_four(out, i, j0 + col + PANEL / 2, sum[r] + 4);
    }
}
