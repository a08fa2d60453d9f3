// What happens to a sum on its way to C: c <- activation(sum + bias[column] + c), the last where `accumulate`.
//
// Fused here, the bias and the activation cost no trip to memory of their own.

#ifndef ACTIVATION
#define ACTIVATION(x) (x)
#endif

struct Output {
    float *c;
    long long row_stride;
    const float *bias;  // one number a column, or null
    int accumulate, m, n;
};

__device__ __forceinline__ void store_one(const Output &out, int i, int j, float sum)
{
    if (i >= out.m || j >= out.n) return;
    float *at = out.c + i * out.row_stride + j;
    if (out.bias) sum += out.bias[j];
    if (out.accumulate) sum += *at;
    *at = ACTIVATION(sum);
}

// Four neighbours of a row, in one store of 16 bytes where edge, stride and address allow it.
__device__ __forceinline__ void store_four(const Output &out, int i, int j, const float *sum)
{
    bool wide = out.row_stride % 4 == 0 && (unsigned long long)out.c % 16 == 0;
    if (!wide || i >= out.m || j + 3 >= out.n) {
        for (int s = 0; s < 4; s++) store_one(out, i, j + s, sum[s]);
        return;
    }
    float4 *at = (float4 *)(out.c + i * out.row_stride + j);
    float4 before = out.accumulate ? *at : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    float bias[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    if (out.bias)
        for (int s = 0; s < 4; s++) bias[s] = out.bias[j + s];
    *at = make_float4(
        ACTIVATION(sum[0] + bias[0] + before.x), ACTIVATION(sum[1] + bias[1] + before.y),
        ACTIVATION(sum[2] + bias[2] + before.z), ACTIVATION(sum[3] + bias[3] + before.w));
}
