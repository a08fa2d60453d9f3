// Optimizer steps: each reads and writes every array once, in place. The equations are in kernels/reference.py.
//
// Coefficients come rounded to REAL, so that none pulls the arithmetic to float64.

#ifndef REAL
#define REAL float
#endif

// A thread takes every gridDim.x * blockDim.x-th number.
#define FOR_EACH(i, n)                                                                                            \
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (long long)gridDim.x * blockDim.x)

__device__ __forceinline__ float root(float x) { return sqrtf(x); }
__device__ __forceinline__ double root(double x) { return sqrt(x); }

extern "C" __global__ void sgd(REAL *p, const REAL *g, REAL rate, REAL decay, long long n)
{
    FOR_EACH(i, n) p[i] -= rate * (g[i] + decay * p[i]);
}

extern "C" __global__ void momentum(
    REAL *p, const REAL *g, REAL *buf, REAL rate, REAL keep, REAL decay, long long n)
{
    FOR_EACH(i, n) {
        REAL b = keep * buf[i] + (g[i] + decay * p[i]);
        buf[i] = b;
        p[i] -= rate * b;
    }
}

extern "C" __global__ void nesterov(
    REAL *p, const REAL *g, REAL *buf, REAL rate, REAL keep, REAL decay, long long n)
{
    FOR_EACH(i, n) {
        REAL h = g[i] + decay * p[i];
        REAL b = keep * buf[i] + h;
        buf[i] = b;
        p[i] -= rate * (h + keep * b);
    }
}

extern "C" __global__ void rmsprop(
    REAL *p, const REAL *g, REAL *sq, REAL rate, REAL keep, REAL take, REAL eps, REAL decay, long long n)
{
    FOR_EACH(i, n) {
        REAL h = g[i] + decay * p[i];
        REAL s = keep * sq[i] + take * (h * h);
        sq[i] = s;
        p[i] -= rate * h / (root(s) + eps);
    }
}

extern "C" __global__ void adam(
    REAL *p, const REAL *g, REAL *m, REAL *v, REAL keep1, REAL take1, REAL keep2, REAL take2, REAL eps,
    REAL rate, REAL unbias, REAL shrink, REAL decay, long long n)
{
    FOR_EACH(i, n) {
        REAL h = g[i] + decay * p[i];
        REAL first = keep1 * m[i] + take1 * h;
        REAL second = keep2 * v[i] + take2 * (h * h);
        m[i] = first;
        v[i] = second;
        p[i] = shrink * p[i] - rate * first / (unbias * root(second) + eps);
    }
}

extern "C" __global__ void ema(REAL *average, const REAL *p, REAL keep, REAL take, long long n)
{
    FOR_EACH(i, n) average[i] = keep * average[i] + take * p[i];
}
