// What a rung with no epilogue of its own leaves to do, or one that made sums of slices of k:
// out <- activation(product + bias[column] + out), the last where `accumulate`, and product the sum of the slices. A second
// trip to memory, which the rungs that fuse it do not make.
//
// product[slices, count / n, n] is C-contiguous; out has contiguous rows. The formula is put before this text.

#ifndef REAL
#define REAL float
#endif
#ifndef ACTIVATION
#define ACTIVATION(x) (x)
#endif

extern "C" __global__ void epilogue(
    const REAL *product, int slices, REAL *out, long long row_stride, const REAL *bias, int accumulate, long long n,
    long long count)
{
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (long long)gridDim.x * blockDim.x) {
        REAL *at = out + i / n * row_stride + i % n;
        REAL sum = product[i];
        for (int s = 1; s < slices; s++) sum += product[s * count + i];
        if (bias) sum += bias[i % n];
        if (accumulate) sum += *at;
        *at = ACTIVATION(sum);
    }
}
