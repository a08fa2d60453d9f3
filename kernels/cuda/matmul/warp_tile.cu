// Rung 7, warp tile. Changed: a warp's 32 threads compute a patch of 64 x 32, near a square, where rung 6 gave them
// two strips of 8 rows by all 128 columns; and blocks are taken in patches, not in rows.
//
// Why: what a warp reads from shared memory at once is a row of its patch and a column. 8 x 8 numbers a thread need
// 64 + 32 different numbers a step instead of 16 + 128, so the banks deliver them in fewer cycles. The order of the
// blocks keeps the panels in the second-level cache. Should gain about 1.1 times, to within reach of cuBLAS.
//
// WARPS_DOWN x WARPS_ACROSS warps make the block: 2 x 4 for large C; a launch picks 1 x 2 when C has too few large
// tiles to keep every multiprocessor busy. Where k is long beside so small a C, the grid's rows (blockIdx.y) share k out
// between them, in slices, and leave their sums in matrices of C's size one after the other: epilogue.cu adds them up.

#ifndef A_ALONG_K
#define A_ALONG_K 1
#endif
#ifndef B_ALONG_K
#define B_ALONG_K 0
#endif
#ifndef WARPS_DOWN
#define WARPS_DOWN 2
#endif
#define WARPS_ACROSS (2 * WARPS_DOWN)  // of 64 x 32 each: the block's tile is square
#define PANEL (64 * WARPS_DOWN)
#define DEPTH 8
#define THREADS (32 * WARPS_DOWN * WARPS_ACROSS)
#define BLOCKS (WARPS_DOWN == 2 ? 2 : 4)  // on a multiprocessor, at least: two leave 128 registers a thread
#define QUADS (PANEL * DEPTH / 4 / THREADS)

#include "panel.cuh"
#include "float_panel.cuh"
#include "epilogue.cuh"
#include "raster.cuh"

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) matmul(
    int m, int n, int k,
    const float *a, long long a_row, long long a_col,
    const float *b, long long b_row, long long b_col,
    float *c, long long c_row, const float *bias, int accumulate)
{
    __shared__ __align__(16) float a_panel[2][DEPTH][STRIDE];
    __shared__ __align__(16) float b_panel[2][DEPTH][STRIDE];
    Tile tile = tile_of_block((m - 1) / PANEL + 1, (n - 1) / PANEL + 1);
    int i0 = tile.row * PANEL, j0 = tile.col * PANEL;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int row = warp / WARPS_ACROSS * 64 + lane / 4 * 4;  // and the four rows 32 below
    int col = warp % WARPS_ACROSS * 32 + lane % 4 * 4;  // and the four columns 16 to the right

    int from = 0, to = k;
    if (WARPS_DOWN == 1) {
        int slice = ((k - 1) / DEPTH / (int)gridDim.y + 1) * DEPTH;
        from = blockIdx.y * slice;
        to = k - from > slice ? from + slice : k;  // the last slices may be empty
        c += (long long)blockIdx.y * m * c_row;
    }

    place(a_panel[0], fetch(a, a_row, a_col, m, to, i0, from, A_ALONG_K, false), A_ALONG_K);
    place(b_panel[0], fetch(b, b_col, b_row, n, to, j0, from, B_ALONG_K, false), B_ALONG_K);
    __syncthreads();

    float sum[8][8] = {};
    int now = 0;
    for (int p = from; p < to; p += DEPTH) {
        bool more = p + DEPTH < to;
        Quads a_next, b_next;
        if (more) {
            a_next = fetch(a, a_row, a_col, m, to, i0, p + DEPTH, A_ALONG_K, false);
            b_next = fetch(b, b_col, b_row, n, to, j0, p + DEPTH, B_ALONG_K, false);
        }
        #pragma unroll
        for (int q = 0; q < DEPTH; q++)
            outer_product(sum, a_panel[now], b_panel[now], q, row, 32, col, 16);
        now = 1 - now;
        if (more) {
            place(a_panel[now], a_next, A_ALONG_K);
            place(b_panel[now], b_next, B_ALONG_K);
        }
        __syncthreads();
    }

    Output out = {c, c_row, bias, accumulate, m, n};
    #pragma unroll
    for (int r = 0; r < 8; r++) {
        int i = i0 + row + r % 4 + r / 4 * 32;
        store_four(out, i, j0 + col, sum[r]);
        store_four(out, i, j0 + col + 16, sum[r] + 4);
    }
}
