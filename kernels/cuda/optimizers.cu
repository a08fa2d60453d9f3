// Optimizer steps: each reads and writes every array once, in place. The equations are in kernels/reference.py.
//
// Coefficients come rounded to REAL, so that none pulls the arithmetic to float64: one by one; or, with FROM_MEMORY, as
// the address of as many float64, where a captured graph finds new ones at every launch.

#include "four.cuh"

#ifndef REAL
#define REAL float
#endif

#ifdef FROM_MEMORY
#define COEFFICIENTS(...) const double *__restrict__ coefficients
#define COEFFICIENT(name, i) const REAL name = (REAL)coefficients[i];
#else
#define COEFFICIENTS(...) __VA_ARGS__
#define COEFFICIENT(name, i)
#endif

// The arrays do not overlap.
#define CHANGED REAL *__restrict__
#define GIVEN const REAL *__restrict__

__device__ __forceinline__ float root(float x) { return sqrtf(x); }
__device__ __forceinline__ double root(double x) { return sqrt(x); }

extern "C" __global__ void sgd(CHANGED p, GIVEN g, COEFFICIENTS(REAL rate, REAL decay), long long n)
{
    for_each(n, [=](REAL &p, REAL g) {
        COEFFICIENT(rate, 0) COEFFICIENT(decay, 1)
        p -= rate * (g + decay * p);
    }, p, g);
}

extern "C" __global__ void momentum(
    CHANGED p, GIVEN g, CHANGED buf,
    COEFFICIENTS(REAL rate, REAL keep, REAL decay),
    long long n)
{
    for_each(n, [=](REAL &p, REAL g, REAL &buf) {
        COEFFICIENT(rate, 0) COEFFICIENT(keep, 1) COEFFICIENT(decay, 2)
        buf = keep * buf + (g + decay * p);
        p -= rate * buf;
    }, p, g, buf);
}

extern "C" __global__ void nesterov(
    CHANGED p, GIVEN g, CHANGED buf,
    COEFFICIENTS(REAL rate, REAL keep, REAL decay),
    long long n)
{
    for_each(n, [=](REAL &p, REAL g, REAL &buf) {
        COEFFICIENT(rate, 0) COEFFICIENT(keep, 1) COEFFICIENT(decay, 2)
        REAL h = g + decay * p;
        buf = keep * buf + h;
        p -= rate * (h + keep * buf);
    }, p, g, buf);
}

extern "C" __global__ void rmsprop(
    CHANGED p, GIVEN g, CHANGED sq,
    COEFFICIENTS(REAL rate, REAL keep, REAL take, REAL eps, REAL decay),
    long long n)
{
    for_each(n, [=](REAL &p, REAL g, REAL &sq) {
        COEFFICIENT(rate, 0) COEFFICIENT(keep, 1) COEFFICIENT(take, 2) COEFFICIENT(eps, 3) COEFFICIENT(decay, 4)
        REAL h = g + decay * p;
        sq = keep * sq + take * (h * h);
        p -= rate * h / (root(sq) + eps);
    }, p, g, sq);
}

extern "C" __global__ void adam(
    CHANGED p, GIVEN g, CHANGED m, CHANGED v,
    COEFFICIENTS(REAL keep1, REAL take1, REAL keep2, REAL take2, REAL eps, REAL rate, REAL unbias, REAL shrink, REAL decay),
    long long n)
{
    for_each(n, [=](REAL &p, REAL g, REAL &m, REAL &v) {
        COEFFICIENT(keep1, 0) COEFFICIENT(take1, 1) COEFFICIENT(keep2, 2) COEFFICIENT(take2, 3) COEFFICIENT(eps, 4)
        COEFFICIENT(rate, 5) COEFFICIENT(unbias, 6) COEFFICIENT(shrink, 7) COEFFICIENT(decay, 8)
        REAL h = g + decay * p;
        m = keep1 * m + take1 * h;
        v = keep2 * v + take2 * (h * h);
        p = shrink * p - rate * m / (unbias * root(v) + eps);
    }, p, g, m, v);
}

extern "C" __global__ void ema(CHANGED average, GIVEN p, COEFFICIENTS(REAL keep, REAL take), long long n)
{
    for_each(n, [=](REAL &average, REAL p) {
        COEFFICIENT(keep, 0) COEFFICIENT(take, 1)
        average = keep * average + take * p;
    }, average, p);
}
