// The loop of both tensor-core rungs, in words of 32 bits: one TF32 number, or two bfloat16 neighbours along k.
//
// A matrix instruction belongs to a warp: its 32 lanes hold the fragments of a 16 x 8-word A, an 8-word x 8 B and a
// 16 x 8 D between them. Lane 4 g + t holds, in words along k (PTX ISA, "Matrix fragments for mma"),
//
//     A[g, t], A[g + 8, t], A[g, t + 4], A[g + 8, t + 4]       B[t, g], B[t + 4, g]
//     D[g, 2 t], D[g, 2 t + 1], D[g + 8, 2 t], D[g + 8, 2 t + 1]
//
// in either format, so the two rungs differ in how numbers become words and in the instruction. A warp computes
// 64 x 32 of C, as in rung 7: 4 x 4 such products.
//
// In shared memory a panel keeps the direction it has in global memory, [line][word] or [word][line], and so is
// stored in runs. The pads make the 32 reads of a fragment fall in 32 banks: 4 g + t for the stride 4 modulo 8,
// 8 t + g for the stride 8 modulo 32.
//
// Before this file: NUMBERS (a word's), `pack` and `multiply`.

#ifndef A_ALONG_K
#define A_ALONG_K 1
#endif
#ifndef B_ALONG_K
#define B_ALONG_K 0
#endif
#ifndef WARPS_DOWN
#define WARPS_DOWN 2
#endif
#define WARPS_ACROSS (2 * WARPS_DOWN)
#define PANEL (64 * WARPS_DOWN)
#define WORDS 16
#define DEPTH (WORDS * NUMBERS)
#define THREADS (32 * WARPS_DOWN * WARPS_ACROSS)
#define QUADS (PANEL * DEPTH / 4 / THREADS)
// Two blocks on a multiprocessor, one multiplying while the other waits, leave 128 registers a thread: enough for TF32,
// whose numbers on their way are half as many.
#define BLOCKS (NUMBERS == 1 && WARPS_DOWN == 2 ? 2 : 1)

#define ALONG_K_STRIDE (WORDS + 4)
#define ALONG_LINES_STRIDE (PANEL + 8)
#define PANEL_WORDS(along_k) (along_k ? PANEL * ALONG_K_STRIDE : WORDS * ALONG_LINES_STRIDE)

#include "panel.cuh"
#include "epilogue.cuh"
#include "raster.cuh"

__device__ __forceinline__ int word_at(int line, int word, bool along_k)
{
    return along_k ? line * ALONG_K_STRIDE + word : word * ALONG_LINES_STRIDE + line;
}

// Two bfloat16 of a word are neighbours along k. A panel along its lines has them in two quads, of k and k + 1.
__device__ __forceinline__ void place_words(unsigned *panel, const Quads &held, bool along_k)
{
    bool in_pairs = NUMBERS == 2 && !along_k;
    #pragma unroll
    for (int i = 0; i < QUADS; i += in_pairs ? 2 : 1) {
        Place at = place_of(i, PANEL, DEPTH, along_k, in_pairs);
        float4 q = held.q[i], next = held.q[in_pairs ? i + 1 : i];
        unsigned *to = panel + word_at(at.line, at.k / NUMBERS, along_k);
        if (NUMBERS == 1)
            *(uint4 *)to = make_uint4(pack(q.x, 0), pack(q.y, 0), pack(q.z, 0), pack(q.w, 0));
        else if (along_k)
            *(uint2 *)to = make_uint2(pack(q.x, q.y), pack(q.z, q.w));
        else
            *(uint4 *)to = make_uint4(pack(q.x, next.x), pack(q.y, next.y), pack(q.z, next.z), pack(q.w, next.w));
    }
}

// sum += the product of the warp's 64 rows and 32 columns over eight words.
__device__ __forceinline__ void warp_product(
    float (*sum)[4][4], const unsigned *a, const unsigned *b, int word, int row, int col)
{
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    unsigned left[4][4], right[4][2];
    #pragma unroll
    for (int r = 0; r < 4; r++)
        #pragma unroll
        for (int f = 0; f < 4; f++)
            left[r][f] = a[word_at(row + 16 * r + g + f % 2 * 8, word + t + f / 2 * 4, A_ALONG_K)];
    #pragma unroll
    for (int s = 0; s < 4; s++)
        #pragma unroll
        for (int f = 0; f < 2; f++)
            right[s][f] = b[word_at(col + 8 * s + g, word + t + f * 4, B_ALONG_K)];
    #pragma unroll
    for (int r = 0; r < 4; r++)
        #pragma unroll
        for (int s = 0; s < 4; s++) multiply(sum[r][s], left[r], right[s]);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) matmul(
    int m, int n, int k,
    const float *a, long long a_row, long long a_col,
    const float *b, long long b_row, long long b_col,
    float *c, long long c_row, const float *bias, int accumulate)
{
    __shared__ __align__(16) unsigned a_panel[2][PANEL_WORDS(A_ALONG_K)];
    __shared__ __align__(16) unsigned b_panel[2][PANEL_WORDS(B_ALONG_K)];
    Tile tile = tile_of_block((m - 1) / PANEL + 1, (n - 1) / PANEL + 1);
    int i0 = tile.row * PANEL, j0 = tile.col * PANEL;
    int warp = threadIdx.x / 32, row = warp / WARPS_ACROSS * 64, col = warp % WARPS_ACROSS * 32;
    const bool a_pairs = NUMBERS == 2 && !A_ALONG_K, b_pairs = NUMBERS == 2 && !B_ALONG_K;

    place_words(a_panel[0], fetch(a, a_row, a_col, m, k, i0, 0, A_ALONG_K, a_pairs), A_ALONG_K);
    place_words(b_panel[0], fetch(b, b_col, b_row, n, k, j0, 0, B_ALONG_K, b_pairs), B_ALONG_K);
    __syncthreads();

    float sum[4][4][4] = {};
    int now = 0;
    for (int p = 0; p < k; p += DEPTH) {
        bool more = p + DEPTH < k;
        Quads a_next, b_next;
        if (more) {
            a_next = fetch(a, a_row, a_col, m, k, i0, p + DEPTH, A_ALONG_K, a_pairs);
            b_next = fetch(b, b_col, b_row, n, k, j0, p + DEPTH, B_ALONG_K, b_pairs);
        }
        #pragma unroll
        for (int word = 0; word < WORDS; word += 8)
            warp_product(sum, a_panel[now], b_panel[now], word, row, col);
        now = 1 - now;
        if (more) {
            place_words(a_panel[now], a_next, A_ALONG_K);
            place_words(b_panel[now], b_next, B_ALONG_K);
        }
        __syncthreads();
    }

    Output out = {c, c_row, bias, accumulate, m, n};
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    #pragma unroll
    for (int r = 0; r < 4; r++)
        #pragma unroll
        for (int s = 0; s < 4; s++)
            #pragma unroll
            for (int f = 0; f < 4; f++)
                store_one(out, i0 + row + 16 * r + g + f / 2 * 8, j0 + col + 8 * s + 2 * t + f % 2, sum[r][s][f]);
}
