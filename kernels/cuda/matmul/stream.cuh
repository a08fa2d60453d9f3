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
    bool along_k;

    __device__ __forceinline__ Quads next()
    {
        Quads held;
        #pragma unroll
        for (int i = 0; i < QUADS; i++) {
            Place at = place_of(i, PANEL, DEPTH, along_k, false);
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

template <bool ALONG_K> struct Stream {
    static constexpr int TOGETHER = ALONG_K ? DEPTH / 4 / NEIGHBOURS : QUADS;  // quads of a thread on the same line, or on the same lines
    const float *at[QUADS / TOGETHER];
    long long hop, step;  // from one of them to the next, and from a panel to the next

    __device__ __forceinline__ Quads next()
    {
        Quads held;
        #pragma unroll
        for (int i = 0; i < QUADS; i++)
            held.q[i] = *(const float4 *)(at[i / TOGETHER] + i % TOGETHER * (ALONG_K ? 4 * NEIGHBOURS : hop));
        #pragma unroll
        for (int g = 0; g < QUADS / TOGETHER; g++) at[g] += ALONG_K ? DEPTH : step;
        return held;
    }
};

__device__ __forceinline__ bool streams(const Guarded &g)
{
    long long step = g.along_k ? g.k_stride : g.line_stride, other = g.along_k ? g.line_stride : g.k_stride;
    return step == 1 && other % 4 == 0 && (unsigned long long)g.x % 16 == 0 && (g.along_k || g.lines % 4 == 0);
}

// The same way from the same place, without guards.
template <bool ALONG_K> __device__ __forceinline__ Stream<ALONG_K> stream_of(const Guarded &g)
{
    Stream<ALONG_K> stream;
    stream.hop = THREADS / (PANEL / 4) * g.k_stride;
    stream.step = DEPTH * g.k_stride;
    int last = ALONG_K ? g.lines - 1 : g.lines - 4;
    #pragma unroll
    for (int i = 0; i < QUADS; i += stream.TOGETHER) {
        Place at = place_of(i, PANEL, DEPTH, ALONG_K, false);
        int line = g.line0 + at.line < last ? g.line0 + at.line : last, k = g.k0 + at.k;
        stream.at[i / stream.TOGETHER] = g.x + (ALONG_K ? line * g.line_stride + k : line + k * g.k_stride);
    }
    return stream;
}
