// Optimizer steps: each reads and writes every array once, in place. The equations are in kernels/reference.py.
//
// Coefficients come rounded to REAL, so that none pulls the arithmetic to float64: one by one; or, with FROM_MEMORY, as
// the address of as many float64, where a captured graph finds new ones at every launch.

#ifndef REAL
#define REAL float
#endif

#ifdef FROM_MEMORY
#define COEFFICIENTS(...) const double *coefficients
#define COEFFICIENT(name, i) const REAL name = (REAL)coefficients[i];
#else
#define COEFFICIENTS(...) __VA_ARGS__
#define COEFFICIENT(name, i)
#endif

// A thread takes every gridDim.x * blockDim.x-th number.
#define FOR_EACH(i, n)                                                                                            \
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (long long)gridDim.x * blockDim.x)

__device__ __forceinline__ float root(float x) { return sqrtf(x); }
__device__ __forceinline__ double root(double x) { return sqrt(x); }

extern "C" __global__ void sgd(REAL *p, const REAL *g, COEFFICIENTS(REAL rate, REAL decay), long long n)
{
    COEFFICIENT(rate, 0) COEFFICIENT(decay, 1)
    FOR_EACH(i, n) p[i] -= rate * (g[i] + decay * p[i]);
}

extern "C" __global__ void momentum(
    REAL *p, const REAL *g, REAL *buf,
    COEFFICIENTS(REAL rate, REAL keep, REAL decay),
    long long n)
{
    COEFFICIENT(rate, 0) COEFFICIENT(keep, 1) COEFFICIENT(decay, 2)
    FOR_EACH(i, n) {
        REAL b = keep * buf[i] + (g[i] + decay * p[i]);
        buf[i] = b;
        p[i] -= rate * b;
    }
}

extern "C" __global__ void nesterov(
    REAL *p, const REAL *g, REAL *buf,
    COEFFICIENTS(REAL rate, REAL keep, REAL decay),
    long long n)
{
    COEFFICIENT(rate, 0) COEFFICIENT(keep, 1) COEFFICIENT(decay, 2)
    FOR_EACH(i, n) {
        REAL h = g[i] + decay * p[i];
        REAL b = keep * buf[i] + h;
        buf[i] = b;
        p[i] -= rate * (h + keep * b);
    }
}

extern "C" __global__ void rmsprop(
    REAL *p, const REAL *g, REAL *sq,
    COEFFICIENTS(REAL rate, REAL keep, REAL take, REAL eps, REAL decay),
    long long n)
{
    COEFFICIENT(rate, 0) COEFFICIENT(keep, 1) COEFFICIENT(take, 2) COEFFICIENT(eps, 3) COEFFICIENT(decay, 4)
    FOR_EACH(i, n) {
        REAL h = g[i] + decay * p[i];
        REAL s = keep * sq[i] + take * (h * h);
        sq[i] = s;
        p[i] -= rate * h / (root(s) + eps);
    }
}

extern "C" __global__ void adam(
    REAL *p, const REAL *g, REAL *m, REAL *v,
    COEFFICIENTS(REAL keep1, REAL take1, REAL keep2, REAL take2, REAL eps, REAL rate, REAL unbias, REAL shrink, REAL decay),
    long long n)
{
    COEFFICIENT(keep1, 0) COEFFICIENT(take1, 1) COEFFICIENT(keep2, 2) COEFFICIENT(take2, 3)
    COEFFICIENT(eps, 4) COEFFICIENT(rate, 5) COEFFICIENT(unbias, 6) COEFFICIENT(shrink, 7)
    COEFFICIENT(decay, 8)
    FOR_EACH(i, n) {
        REAL h = g[i] + decay * p[i];
        REAL first = keep1 * m[i] + take1 * h;
        REAL second = keep2 * v[i] + take2 * (h * h);
        m[i] = first;
        v[i] = second;
        p[i] = shrink * p[i] - rate * first / (unbias * root(second) + eps);
    }
}

extern "C" __global__ void ema(REAL *average, const REAL *p, COEFFICIENTS(REAL keep, REAL take), long long n)
{
    COEFFICIENT(keep, 0) COEFFICIENT(take, 1)
    FOR_EACH(i, n) average[i] = keep * average[i] + take * p[i];
}
