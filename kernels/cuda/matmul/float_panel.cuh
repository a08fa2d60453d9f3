// A panel of float32 in shared memory, [DEPTH][PANEL]: four lines at one k are one read of 16 bytes.

#define STRIDE (PANEL + 4)  // a multiple of 4, for those reads; 4 more, for the stores of a panel along k

__device__ __forceinline__ void place(float (*panel)[STRIDE], const Quads &held, bool along_k)
{
    #pragma unroll
    for (int i = 0; i < QUADS; i++) {
        Place at = place_of(i, along_k, false);
        float4 q = held.q[i];
        if (along_k) {
            panel[at.k][at.line] = q.x;
            panel[at.k + 1][at.line] = q.y;
            panel[at.k + 2][at.line] = q.z;
            panel[at.k + 3][at.line] = q.w;
        } else {
            *(float4 *)&panel[at.k][at.line] = q;
        }
    }
}

// sum += (the outer product of eight rows and eight columns), each in two fours.
__device__ __forceinline__ void outer_product(
    float (*sum)[8], const float (*a)[STRIDE], const float (*b)[STRIDE], int q, int row, int rows_apart, int col,
    int cols_apart)
{
    float4 a0 = *(const float4 *)&a[q][row], a1 = *(const float4 *)&a[q][row + rows_apart];
    float4 b0 = *(const float4 *)&b[q][col], b1 = *(const float4 *)&b[q][col + cols_apart];
    float left[8] = {a0.x, a0.y, a0.z, a0.w, a1.x, a1.y, a1.z, a1.w};
    float right[8] = {b0.x, b0.y, b0.z, b0.w, b1.x, b1.y, b1.z, b1.w};
    #pragma unroll
    for (int r = 0; r < 8; r++)
        #pragma unroll
        for (int s = 0; s < 8; s++) sum[r][s] += left[r] * right[s];
}
