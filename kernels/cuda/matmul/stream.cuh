// Two ways along k through an operand, panel after panel: `next` starts the loads of one and goes on to the one after.
//
// A `Stream` has no guard and works no address out anew: a load and an addition for each quad. Two things allow it. The
// quads of the operand are 16 bytes in a row, each of them inside the matrix or outside as a whole: `streams`, the same
// for every block. And where a tile hangs over the edge, lines beyond the matrix are read from its last ones instead:
// what they give lands in rows and columns of C that nobody stores.
//
// `Guarded` is the way for all else: other strides, other addresses, and a last panel that k does not fill.

struct Guarded {
    const float *x;
    long long line_stride, k_stride;
    int lines, depth, line0, k0;
    bool along_k, in_pairs;

    __device__ __forceinline__ Quads next()
    {
        Quads held;
        #pragma unroll
        for (int i = 0; i < QUADS; i++) {
            Place at = place_of(i, along_k, in_pairs);
            float *four = &held.q[i].x;
            #pragma unroll
            for (int j = 0; j < 4; j++) {
                int line = line0 + at.line + (along_k ? 0 : j), k = k0 + at.k + (along_k ? j : 0);
                four[j] = one_of(x, line_stride, k_stride, line, k, lines, depth);
            }
        }
        k0 += DEPTH;
        return held;
    }
};

template <bool ALONG_K, bool IN_PAIRS> struct Stream {
    static constexpr int TOGETHER = ALONG_K ? DEPTH / 4 / NEIGHBOURS : QUADS;  // quads of a thread on one line, or four
    const float *at[QUADS / TOGETHER];
    long long k_stride;

    __device__ __forceinline__ Quads next()
    {
        Quads held;
        #pragma unroll
        for (int i = 0; i < QUADS; i++)
            held.q[i] = *(const float4 *)(at[i / TOGETHER]
                + (ALONG_K ? i % TOGETHER * 4 * NEIGHBOURS : k_after(i, IN_PAIRS) * k_stride));
        #pragma unroll
        for (int g = 0; g < QUADS / TOGETHER; g++) at[g] += ALONG_K ? DEPTH : DEPTH * k_stride;
        return held;
    }
};

__device__ __forceinline__ bool streams(const Guarded &g)
{
    long long step = g.along_k ? g.k_stride : g.line_stride, other = g.along_k ? g.line_stride : g.k_stride;
    return step == 1 && other % 4 == 0 && (unsigned long long)g.x % 16 == 0 && (g.along_k || g.lines % 4 == 0);
}

// The same way from the same place, without guards.
template <bool ALONG_K, bool IN_PAIRS>
__device__ __forceinline__ Stream<ALONG_K, IN_PAIRS> stream_of(const Guarded &g)
{
    Stream<ALONG_K, IN_PAIRS> stream;
    stream.k_stride = g.k_stride;
    int last = ALONG_K ? g.lines - 1 : g.lines - 4;
    #pragma unroll
    for (int i = 0; i < QUADS; i += stream.TOGETHER) {
        Place at = place_of(i, ALONG_K, IN_PAIRS);
        int line = g.line0 + at.line < last ? g.line0 + at.line : last, k = g.k0 + at.k;
        stream.at[i / stream.TOGETHER] = g.x + (ALONG_K ? line * g.line_stride + k : line + k * g.k_stride);
    }
    return stream;
}
