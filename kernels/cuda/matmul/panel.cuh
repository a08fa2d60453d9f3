// A panel: PANEL lines of A (rows) or of B (columns), DEPTH numbers deep, on its way from global to shared memory.
//
// It passes through registers, four numbers at a time: `fetch` starts the loads, the multiply-adds of the panel
// before hide their latency, `place` (the rung's own) puts them down. Which four lie together follows from the
// matrix in memory: along k, or along the lines. The caller says so by the constant `along_k`; these functions are
// inlined, so the branch is gone in the machine code.
//
// Where a stride, an address or an edge does not allow a load of 16 bytes, four loads of 4 bytes do the same.

#ifndef NEIGHBOURS
#define NEIGHBOURS (DEPTH / 4)
#endif

struct Quads {
    float4 q[QUADS];  // QUADS: PANEL * DEPTH / 4 / THREADS
};

struct Place {
    int line, k;
};

// How far along k from a thread's first quad its quad `i` is, in a panel that runs along its lines. With `in_pairs`,
// quads 2 i and 2 i + 1 are neighbours.
__device__ __forceinline__ int k_after(int i, bool in_pairs)
{
    const int rows = THREADS / (PANEL / 4);
    return in_pairs ? i / 2 * rows * 2 + i % 2 : i * rows;
}

// The first number of this thread's quad `i`. Neighbouring threads get neighbouring memory: along k so many of them as
// NEIGHBOURS says, and a thread goes on along k before it goes on to other lines.
__device__ __forceinline__ Place place_of(int i, bool along_k, bool in_pairs)
{
    int thread = threadIdx.x;
    if (along_k) {
        int along = DEPTH / 4 / NEIGHBOURS;  // quads of a thread on a line
        int line = thread / NEIGHBOURS + i / along * (THREADS / NEIGHBOURS);
        return {line, (thread % NEIGHBOURS + i % along * NEIGHBOURS) * 4};
    }
    return {thread % (PANEL / 4) * 4, thread / (PANEL / 4) * (in_pairs ? 2 : 1) + k_after(i, in_pairs)};
}

__device__ __forceinline__ float one_of(
    const float *x, long long line_stride, long long k_stride, int line, int k, int lines, int depth)
{
    return line < lines && k < depth ? x[line * line_stride + k * k_stride] : 0.0f;
}

// Numbers beyond the matrix (`lines` x `depth`) are 0. Strides in numbers; one of them is usually 1.
__device__ __forceinline__ Quads fetch(
    const float *x, long long line_stride, long long k_stride, int lines, int depth, int line0, int k0,
    bool along_k)
{
    long long step = along_k ? k_stride : line_stride, other = along_k ? line_stride : k_stride;
    bool wide = step == 1 && other % 4 == 0 && (unsigned long long)x % 16 == 0;
    Quads held;
    #pragma unroll
    for (int i = 0; i < QUADS; i++) {
        Place at = place_of(i, along_k, false);
        int line = line0 + at.line, k = k0 + at.k;
        int along_line = along_k ? 0 : 1;
        bool inside = line + 3 * along_line < lines && k + 3 * (1 - along_line) < depth;
        if (wide && inside) {
            held.q[i] = *(const float4 *)(x + line * line_stride + k * k_stride);
        } else {
            int dl = along_line, dk = 1 - along_line;
            held.q[i] = make_float4(
                one_of(x, line_stride, k_stride, line, k, lines, depth),
                one_of(x, line_stride, k_stride, line + dl, k + dk, lines, depth),
                one_of(x, line_stride, k_stride, line + 2 * dl, k + 2 * dk, lines, depth),
                one_of(x, line_stride, k_stride, line + 3 * dl, k + 3 * dk, lines, depth));
        }
    }
    return held;
}
