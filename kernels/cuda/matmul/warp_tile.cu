// Rung 7, warp tile. Changed: a warp's 32 threads compute a patch of 64 x 32, near a square, where rung 6 gave them
// two strips of 8 rows by all 128 columns; the loop along k has lost its guards; and blocks are taken in patches.
//
// Why: what a warp reads from shared memory at once is a row of its patch and a column. 8 x 8 numbers a thread need
// 64 + 32 different numbers a step instead of 16 + 128, so the banks deliver them in fewer cycles. Each quarter of a
// multiprocessor starts one instruction a cycle, so what is not a multiply-add is time lost: rung 6 needs 608
// instructions for 512 of them, a tenth for guards and addresses; stream.cuh does without, and DEPTH 16 halves what is
// left: 1150 for 1024 (a step along k, in the machine code for compute capability 9.0). The order of the blocks keeps
// the panels in the second-level cache. Should gain 1.1 to 1.3 times, to within reach of cuBLAS.
//
// Where an operand does not stream - it starts, or its rows do, at an address that is no multiple of 16 bytes - a block
// loads a panel, then multiplies it, as rung 5 does.
//
// 2 x 4 warps make a block's tile of 128 x 128; a launch picks 1 x 2 warps, PANEL 64, when C has too few large tiles to
// keep every multiprocessor busy. Where k is long beside so small a C, the grid's rows (blockIdx.y) share k out
// between them, in slices, and leave their sums in matrices of C's size one after the other: epilogue.cu adds them up.

#ifndef A_ALONG_K
#define A_ALONG_K 1
#endif
#ifndef B_ALONG_K
#define B_ALONG_K 0
#endif
#ifndef PANEL
#define PANEL 128
#endif
#define WARPS_DOWN (PANEL / 64)
#define WARPS_ACROSS (PANEL / 32)
#define DEPTH 16
#define THREADS (32 * WARPS_DOWN * WARPS_ACROSS)
#define BLOCKS (PANEL == 128 ? 2 : 4)  // on a multiprocessor, at least: two leave 128 registers a thread
#define NEIGHBOURS 2  // 32 bytes, the least that is read at once; the quads of a warp, of 16 lines, fall in all banks
#define QUADS (PANEL * DEPTH / 4 / THREADS)

#include "panel.cuh"
#include "stream.cuh"
#include "float_panel.cuh"
#include "epilogue.cuh"
#include "raster.cuh"

// sum += the product of `count` panels, at least one: while it is multiplied the next is on its way.
__device__ __forceinline__ void multiply_streams(
    float (*sum)[8], float (*a_panel)[DEPTH][STRIDE], float (*b_panel)[DEPTH][STRIDE], Stream<A_ALONG_K, false> a,
    Stream<B_ALONG_K, false> b, int count, int row, int col)
{
    place(a_panel[0], a.next(), A_ALONG_K);
    place(b_panel[0], b.next(), B_ALONG_K);
    __syncthreads();
    int now = 0;
    for (int p = 1; p <= count; p++) {
        Quads a_next, b_next;
        if (p < count) {
            a_next = a.next();
            b_next = b.next();
        }
        #pragma unroll
        for (int q = 0; q < DEPTH; q++)
            outer_product(sum, a_panel[now], b_panel[now], q, row, 32, col, 16);
        now = 1 - now;
        if (p < count) {
            place(a_panel[now], a_next, A_ALONG_K);
            place(b_panel[now], b_next, B_ALONG_K);
        }
        __syncthreads();
    }
}

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
    // Lanes whose numbers differ in the lowest bit, or in the second, read the same rows, or columns: such a pair costs
    // a read of 16 bytes one cycle, not two.
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int row = warp / WARPS_ACROSS * 64 + lane / 2 % 8 * 4;  // and the four rows 32 below
    int col = warp % WARPS_ACROSS * 32 + (lane % 2 + lane / 16 * 2) * 4;  // and the four columns 16 to the right

    int from = 0, to = k;
    if (PANEL == 64) {
        int slice = ((k - 1) / DEPTH / (int)gridDim.y + 1) * DEPTH;
        from = blockIdx.y * slice;
        to = k - from > slice ? from + slice : k;  // the last slices may be empty
        c += (long long)blockIdx.y * m * c_row;
    }

    Guarded a_way = {a, a_row, a_col, m, to, i0, from, A_ALONG_K, false};
    Guarded b_way = {b, b_col, b_row, n, to, j0, from, B_ALONG_K, false};
    float sum[8][8] = {};
    int whole = (to - from) / DEPTH;  // panels that k fills
    if (whole > 0 && streams(a_way) && streams(b_way)) {
        multiply_streams(sum, a_panel, b_panel, stream_of<A_ALONG_K, false>(a_way), stream_of<B_ALONG_K, false>(b_way),
                         whole, row, col);
        a_way.k0 = b_way.k0 = from + whole * DEPTH;
    }
    while (a_way.k0 < to) {  // a last panel, or all of them where an operand does not stream: load, then multiply
        place(a_panel[0], a_way.next(), A_ALONG_K);
        place(b_panel[0], b_way.next(), B_ALONG_K);
        __syncthreads();
        #pragma unroll
        for (int q = 0; q < DEPTH; q++) outer_product(sum, a_panel[0], b_panel[0], q, row, 32, col, 16);
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
