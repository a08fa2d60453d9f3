// The loop of both tensor-core rungs, in words of 32 bits: one TF32 number, or two bfloat16 neighbours along k.
//
// A matrix instruction belongs to a warp: its 32 lanes hold the fragments of a 16 x 8-word A, an 8-word x 8 B and a
// 16 x 8 D between them. Lane 4 g + t holds, in words along k (PTX ISA, "Matrix fragments for mma"),
//
//     A[g, t], A[g + 8, t], A[g, t + 4], A[g + 8, t + 4]       B[t, g], B[t + 4, g]
//     D[g, 2 t], D[g, 2 t + 1], D[g + 8, 2 t], D[g + 8, 2 t + 1]
//
// in either format, so the two rungs differ in how numbers become words and in the instruction.
//
// What limits is the way there: an instruction wants 6 words a lane. Four warps share the block's tile, 64 x 64 of C
// each: 4 x 8 instructions then need 32 words a lane between them, one each, where 64 x 32 would need one and a half.
// The panels stream as in rung 7, A's next one during the first half of a step, B's during the second, so that only one
// of them is in registers at a time.
//
// In shared memory a panel keeps the direction it has in global memory, so that it is stored in runs of 16 bytes. Along
// lines, [word][line], a fragment is read word by word; the pad makes the 32 reads fall in 32 banks, 8 t + g. Along k,
// [line][word], one instruction reads four matrices of eight lines of 16 bytes: `four_matrices`. Those pieces of 16
// bytes change places, by the number of their line, so that the eight fall in all 32 banks.
//
// Before this file: NUMBERS (a word's), `pack` and `multiply`.

#ifndef A_ALONG_K
#define A_ALONG_K 1
#endif
#ifndef B_ALONG_K
#define B_ALONG_K 0
#endif
#ifndef PANEL
#define PANEL 128
#endif
#define SIDE (PANEL / 2)  // of a warp's patch: 2 x 2 warps
#define DOWN (SIDE / 16)
#define ACROSS (SIDE / 8)
#define WORDS 16
#define DEPTH (WORDS * NUMBERS)
#define THREADS 128
#define BLOCKS (PANEL == 128 ? 2 : 4)  // on a multiprocessor, at least: two leave 255 registers a thread
#define QUADS (PANEL * DEPTH / 4 / THREADS)

#define ALONG_LINES_STRIDE (PANEL + 8)
#define PANEL_WORDS(along_k) (along_k ? PANEL * WORDS : WORDS * ALONG_LINES_STRIDE)
#define IN_PAIRS(along_k) (NUMBERS == 2 && !along_k)

#include "panel.cuh"
#include "stream.cuh"
#include "epilogue.cuh"
#include "raster.cuh"

__device__ __forceinline__ int word_at(int line, int word, bool along_k)
{
    if (!along_k) return word * ALONG_LINES_STRIDE + line;
    return line * WORDS + (word / 4 ^ line / 2 % 4) * 4 + word % 4;
}

// Two bfloat16 of a word are neighbours along k. A panel along its lines has them in two quads, of k and k + 1.
__device__ __forceinline__ void place_words(unsigned *panel, const Quads &held, bool along_k)
{
    bool in_pairs = IN_PAIRS(along_k);
    #pragma unroll
    for (int i = 0; i < QUADS; i += in_pairs ? 2 : 1) {
        Place at = place_of(i, along_k, in_pairs);
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

// Four matrices of 8 lines by 4 words. Lane 8 j + i says where line i of matrix j begins; lane 4 g + t gets word t of
// line g of each.
#ifdef CUDA_ON_CPU
#define four_matrices ldmatrix_x4
#else
__device__ __forceinline__ void four_matrices(unsigned *words, const unsigned *line)
{
    asm volatile(
        "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
        : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
        : "r"((unsigned)__cvta_generic_to_shared(line)) : "memory");
}
#endif

// Where in a panel a lane begins to read the fragments of an operand. All its other reads are a constant away, since
// pieces change places by the number of their line modulo 8.
__device__ __forceinline__ int first_of_a(int row)
{
    int lane = threadIdx.x % 32;
    return A_ALONG_K ? word_at(row + lane % 16, lane / 16 * 4, true) : word_at(row + lane / 4, lane % 4, false);
}

__device__ __forceinline__ int first_of_b(int col)
{
    int lane = threadIdx.x % 32;
    return B_ALONG_K ? word_at(col + lane % 8 + lane / 16 * 8, lane / 8 % 2 * 4, true)
                     : word_at(col + lane / 4, lane % 4, false);
}

// The same, eight words further along k: pieces 2 and 3 for 0 and 1.
__device__ __forceinline__ int second_half(int first, bool along_k)
{
    return along_k ? first ^ 8 : first + 8 * ALONG_LINES_STRIDE;
}

// sum += the product of the warp's rows and columns over eight words.
__device__ __forceinline__ void warp_product(float (*sum)[ACROSS][4], const unsigned *a, const unsigned *b)
{
    unsigned left[DOWN][4], right[ACROSS][2];
    #pragma unroll
    for (int r = 0; r < DOWN; r++)
        if (A_ALONG_K)
            four_matrices(left[r], a + 16 * r * WORDS);
        else
            #pragma unroll
            for (int f = 0; f < 4; f++) left[r][f] = a[f / 2 * 4 * ALONG_LINES_STRIDE + 16 * r + f % 2 * 8];
    #pragma unroll
    for (int s = 0; s < ACROSS; s += 2)
        if (B_ALONG_K)
            four_matrices(right[s], b + 8 * s * WORDS);
        else
            #pragma unroll
            for (int f = 0; f < 4; f++) right[s + f / 2][f % 2] = b[f % 2 * 4 * ALONG_LINES_STRIDE + 8 * s + f / 2 * 8];
    #pragma unroll
    for (int r = 0; r < DOWN; r++)
        #pragma unroll
        for (int s = 0; s < ACROSS; s++) multiply(sum[r][s], left[r], right[s]);
}

// sum += the product of `count` panels, at least one: while it is multiplied the next is on its way.
__device__ __forceinline__ void multiply_streams(
    float (*sum)[ACROSS][4], unsigned (*a_panel)[PANEL_WORDS(A_ALONG_K)], unsigned (*b_panel)[PANEL_WORDS(B_ALONG_K)],
    Stream<A_ALONG_K, IN_PAIRS(A_ALONG_K)> a, Stream<B_ALONG_K, IN_PAIRS(B_ALONG_K)> b, int count, int a_first,
    int b_first)
{
    place_words(a_panel[0], a.next(), A_ALONG_K);
    place_words(b_panel[0], b.next(), B_ALONG_K);
    __syncthreads();
    int now = 0, a_second = second_half(a_first, A_ALONG_K), b_second = second_half(b_first, B_ALONG_K);
    for (int p = 1; p <= count; p++) {
        Quads next;
        if (p < count) next = a.next();
        warp_product(sum, a_panel[now] + a_first, b_panel[now] + b_first);
        if (p < count) {
            place_words(a_panel[1 - now], next, A_ALONG_K);
            next = b.next();
        }
        warp_product(sum, a_panel[now] + a_second, b_panel[now] + b_second);
        if (p < count) place_words(b_panel[1 - now], next, B_ALONG_K);
        now = 1 - now;
        __syncthreads();
    }
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
    int warp = threadIdx.x / 32, row = warp / 2 * SIDE, col = warp % 2 * SIDE;

    Guarded a_way = {a, a_row, a_col, m, k, i0, 0, A_ALONG_K, IN_PAIRS(A_ALONG_K)};
    Guarded b_way = {b, b_col, b_row, n, k, j0, 0, B_ALONG_K, IN_PAIRS(B_ALONG_K)};
    float sum[DOWN][ACROSS][4] = {};
    int whole = k / DEPTH;  // panels that k fills
    if (whole > 0 && streams(a_way) && streams(b_way)) {
        multiply_streams(
            sum, a_panel, b_panel, stream_of<A_ALONG_K, IN_PAIRS(A_ALONG_K)>(a_way),
            stream_of<B_ALONG_K, IN_PAIRS(B_ALONG_K)>(b_way), whole, first_of_a(row), first_of_b(col));
        a_way.k0 = b_way.k0 = whole * DEPTH;
    }
    while (a_way.k0 < k) {  // a last panel, or all of them where an operand does not stream: load, then multiply
        place_words(a_panel[0], a_way.next(), A_ALONG_K);
        place_words(b_panel[0], b_way.next(), B_ALONG_K);
        __syncthreads();
        int a_first = first_of_a(row), b_first = first_of_b(col);
        warp_product(sum, a_panel[0] + a_first, b_panel[0] + b_first);
        warp_product(sum, a_panel[0] + second_half(a_first, A_ALONG_K), b_panel[0] + second_half(b_first, B_ALONG_K));
        __syncthreads();
    }

    Output out = {c, c_row, bias, accumulate, m, n};
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    #pragma unroll
    for (int r = 0; r < DOWN; r++)
        #pragma unroll
        for (int s = 0; s < ACROSS; s++)
            #pragma unroll
            for (int f = 0; f < 4; f++)
                store_one(out, i0 + row + 16 * r + g + f / 2 * 8, j0 + col + 8 * s + 2 * t + f % 2, sum[r][s][f]);
}
