// Rung 8, tensor cores on TF32. Changed: one instruction of a warp multiplies 16 x 8 by 8 x 8 numbers. They are
// float32 rounded to 11 significant bits (TF32) on the way to shared memory; sums stay float32.
//
// Why: 1024 multiply-adds an instruction, where 32 lanes had 32. The peak of the tensor cores is about 8 times that
// of float32 arithmetic, and to bring the numbers there becomes the limit again: tensor_core.cuh says what is done. A
// step along k is 264 to 290 instructions, 64 of them on matrices (machine code for compute capability 9.0). Should gain
// 3 to 5 times, at a relative error of 2^-11 for each operand.
//
// Needs compute capability 8.0.

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#error "tensor_core_tf32 needs compute capability 8.0"
#endif

#define NUMBERS 1  // to a word

// To nearest, ties away from zero, as cvt.rna.tf32 does: half of the last place is added to the size, and the matrix
// instruction ignores the 13 bits below that place (CUTLASS counts on it as well), so that they need not be cleared.
// Nothing is added to an infinity, nor to a NaN, whose bits could overflow.
__device__ __forceinline__ unsigned pack(float x, float)
{
    return __float_as_uint(x) + (fabsf(x) <= 3.402823466e38f ? 0x1000u : 0u);
}

#ifdef CUDA_ON_CPU
#define multiply mma_tf32
#else
__device__ __forceinline__ void multiply(float *d, const unsigned *a, const unsigned *b)
{
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

#include "tensor_core.cuh"
