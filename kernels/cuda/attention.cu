// Self-attention and its gradient without the matrix of scores: see kernels/cpu/attention.py for the equations.
//
// qkv[N, T, 3, heads, HEAD_WIDTH], y and g [N, T, heads, HEAD_WIDTH], lengths[N]; HEAD_WIDTH is a macro. A block is one
// sequence and one head (blockIdx.x) and WARPS neighbouring positions (blockIdx.y), a warp each. The block brings TILE
// others into shared memory at a time; a lane of a warp looks at one of them, and holds every 32nd number of the warp's
// result. Nothing is atomic: in the gradient a warp owns a query (dQ), then, in another kernel, a key (dK and dV).
// The formula `exp` of kernels/scalar.py is put before this text.

#ifndef REAL
#define REAL float
#endif
#define WARPS 8
#define THREADS (32 * WARPS)
#define TILE 32
#define PARTS ((HEAD_WIDTH + 31) / 32)

typedef REAL Tile[TILE][HEAD_WIDTH + 1];  // one number more: lanes that read down a column meet different banks

__device__ __forceinline__ REAL warp_sum(REAL x)
{
    for (int bits = 16; bits > 0; bits /= 2) x += __shfl_xor_sync(0xffffffffu, x, bits);
    return x;
}

__device__ __forceinline__ REAL warp_largest(REAL x)
{
    for (int bits = 16; bits > 0; bits /= 2) {
        REAL other = __shfl_xor_sync(0xffffffffu, x, bits);
        x = other > x ? other : x;
    }
    return x;
}

__device__ __forceinline__ REAL minus_infinity() { return -__int_as_float(0x7f800000); }

// The rows first .. first + TILE - 1 of a matrix [rows, HEAD_WIDTH] with this stride; zeros beyond its end.
__device__ __forceinline__ void load(Tile &tile, const REAL *x, long long stride, long long first, long long rows)
{
    for (int i = threadIdx.x; i < TILE * HEAD_WIDTH; i += THREADS) {
        int r = i / HEAD_WIDTH, d = i % HEAD_WIDTH;
        tile[r][d] = first + r < rows ? x[(first + r) * stride + d] : (REAL)0;
    }
}

// One row into shared memory, by one warp.
__device__ __forceinline__ void load_row(REAL *row, const REAL *x, bool there)
{
    for (int d = threadIdx.x % 32; d < HEAD_WIDTH; d += 32) row[d] = there ? x[d] : (REAL)0;
}

__device__ __forceinline__ REAL dot(const REAL *a, const REAL *b)
{
    REAL sum = 0;
    for (int d = 0; d < HEAD_WIDTH; d++) sum += a[d] * b[d];
    return sum;
}

// sums[part] += sum over the tile's rows j of weight_j tile[j][d], where lane j has weight_j.
__device__ __forceinline__ void add_rows(REAL *sums, REAL weight, Tile &tile)
{
    for (int j = 0; j < TILE; j++) {
        REAL w = __shfl_sync(0xffffffffu, weight, j);
        for (int part = 0; part < PARTS; part++) {
            int d = 32 * part + (int)(threadIdx.x % 32);
            if (d < HEAD_WIDTH) sums[part] += w * tile[j][d];
        }
    }
}

__device__ __forceinline__ void store(REAL *x, const REAL *sums, REAL factor)
{
    for (int part = 0; part < PARTS; part++) {
        int d = 32 * part + (int)(threadIdx.x % 32);
        if (d < HEAD_WIDTH) x[d] = sums[part] * factor;
    }
}

// Where this block and this warp are.
struct Place {
    long long sequence, head, position, row, stride, keys, end;
    int lane, warp;
    bool there;

    __device__ __forceinline__ Place(const long long *lengths, long long time, long long heads, long long first = 0)
    {
        lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        sequence = blockIdx.x / heads, head = blockIdx.x % heads;
        position = first + (long long)blockIdx.y * WARPS + warp;
        there = position < time;
        row = (sequence * time * heads + head) * HEAD_WIDTH;  // of position 0, in y
        stride = heads * HEAD_WIDTH;
        keys = lengths[sequence];
        end = first + (long long)blockIdx.y * WARPS + WARPS;  // after the block's last position
    }
};

// Of the queries first .. last - 1 alone, which are all that `out` has rows for.
extern "C" __global__ void self_attention(const REAL *qkv, const long long *lengths, REAL *out, long long time,
                                          long long heads, int causal, REAL scale, long long first, long long last)
{
    __shared__ Tile k, v;
    __shared__ REAL q[WARPS][HEAD_WIDTH];
    Place at(lengths, time, heads, first);
    bool asked = at.position < last;
    const REAL *base = qkv + at.sequence * time * 3 * at.stride + at.head * HEAD_WIDTH;
    load_row(q[at.warp], base + at.position * 3 * at.stride, asked);
    long long seen = causal && at.end < at.keys ? at.end : at.keys;
    REAL top = minus_infinity(), total = 0, sums[PARTS] = {};
    for (long long j0 = 0; j0 < seen; j0 += TILE) {
        __syncthreads();
        load(k, base + at.stride, 3 * at.stride, j0, at.keys);
        load(v, base + 2 * at.stride, 3 * at.stride, j0, at.keys);
        __syncthreads();
        long long j = j0 + at.lane;
        bool visible = j < at.keys && !(causal && j > at.position);
        REAL score = visible ? dot(q[at.warp], k[at.lane]) * scale : minus_infinity();
        REAL high = warp_largest(score);
        if (high > top) {
            REAL shrink = formula::exp(top - high);
            total *= shrink;
            for (int part = 0; part < PARTS; part++) sums[part] *= shrink;
            top = high;
        }
        REAL p = visible ? formula::exp(score - top) : (REAL)0;
        total += warp_sum(p);
        add_rows(sums, p, v);
    }
    long long row = at.sequence * (last - first) + at.position - first;
    if (asked) store(out + row * at.stride + at.head * HEAD_WIDTH, sums, seen > 0 ? (REAL)1 / total : (REAL)0);
}

// dQ; and for the other kernel top[N, heads, T] (m), total (l) and mean (sum_j p_ij dP_ij) of every query.
extern "C" __global__ void self_attention_grad_queries(const REAL *g, const REAL *qkv, const long long *lengths,
                                                       REAL *out, REAL *tops, REAL *totals, REAL *means,
                                                       long long time, long long heads, int causal, REAL scale)
{
    __shared__ Tile k, v;
    __shared__ REAL q[WARPS][HEAD_WIDTH], back[WARPS][HEAD_WIDTH];
    Place at(lengths, time, heads);
    const REAL *base = qkv + at.sequence * time * 3 * at.stride + at.head * HEAD_WIDTH;
    load_row(q[at.warp], base + at.position * 3 * at.stride, at.there);
    load_row(back[at.warp], g + at.row + at.position * at.stride, at.there);
    long long seen = causal && at.end < at.keys ? at.end : at.keys;
    REAL top = minus_infinity(), total = 0, mean = 0, sums[PARTS] = {};
    for (int pass = 0; pass < 2; pass++) {
        for (long long j0 = 0; j0 < seen; j0 += TILE) {
            __syncthreads();
            load(k, base + at.stride, 3 * at.stride, j0, at.keys);
            load(v, base + 2 * at.stride, 3 * at.stride, j0, at.keys);
            __syncthreads();
            long long j = j0 + at.lane;
            bool visible = j < at.keys && !(causal && j > at.position);
            REAL score = visible ? dot(q[at.warp], k[at.lane]) * scale : minus_infinity();
            REAL slope = dot(back[at.warp], v[at.lane]);
            if (pass == 0) {
                REAL high = warp_largest(score);
                if (high > top) {
                    REAL shrink = formula::exp(top - high);
                    total *= shrink;
                    mean *= shrink;
                    top = high;
                }
                REAL p = visible ? formula::exp(score - top) : (REAL)0;
                total += warp_sum(p);
                mean += warp_sum(p * slope);
            } else {
                REAL p = visible ? formula::exp(score - top) / total : (REAL)0;
                add_rows(sums, p * (slope - mean) * scale, k);
            }
        }
        if (pass == 0) mean = seen > 0 ? mean / total : (REAL)0;
    }
    if (!at.there) return;
    store(out + at.sequence * time * 3 * at.stride + at.position * 3 * at.stride + at.head * HEAD_WIDTH, sums, 1);
    if (at.lane == 0) {
        long long i = blockIdx.x * time + at.position;
        tops[i] = top, totals[i] = total, means[i] = mean;
    }
}

// dK and dV: a warp owns a key, a lane looks at a query.
extern "C" __global__ void self_attention_grad_keys(const REAL *g, const REAL *qkv, const long long *lengths, REAL *out,
                                                    const REAL *tops, const REAL *totals, const REAL *means,
                                                    long long time, long long heads, int causal, REAL scale)
{
    __shared__ Tile q, back;
    __shared__ REAL k[WARPS][HEAD_WIDTH], v[WARPS][HEAD_WIDTH];
    Place at(lengths, time, heads);
    const REAL *base = qkv + at.sequence * time * 3 * at.stride + at.head * HEAD_WIDTH;
    load_row(k[at.warp], base + at.position * 3 * at.stride + at.stride, at.there);
    load_row(v[at.warp], base + at.position * 3 * at.stride + 2 * at.stride, at.there);
    long long first = causal ? (at.end - WARPS) / TILE * TILE : 0;  // earlier queries see none of the block's keys
    REAL dk[PARTS] = {}, dv[PARTS] = {};
    for (long long i0 = first; i0 < time; i0 += TILE) {
        __syncthreads();
        load(q, base, 3 * at.stride, i0, time);
        load(back, g + at.row, at.stride, i0, time);
        __syncthreads();
        long long i = i0 + at.lane, query = blockIdx.x * time + i;
        bool visible = i < time && at.position < at.keys && !(causal && at.position > i);
        REAL score = dot(q[at.lane], k[at.warp]) * scale, slope = dot(back[at.lane], v[at.warp]);
        REAL p = visible ? formula::exp(score - tops[query]) / totals[query] : (REAL)0;
        REAL ds = visible ? p * (slope - means[query]) * scale : (REAL)0;
        add_rows(dv, p, back);
        add_rows(dk, ds, q);
    }
    if (!at.there) return;
    REAL *row = out + at.sequence * time * 3 * at.stride + at.position * 3 * at.stride + at.head * HEAD_WIDTH;
    store(row + at.stride, dk, 1);
    store(row + 2 * at.stride, dv, 1);
}
