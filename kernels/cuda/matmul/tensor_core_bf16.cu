// Rung 9, tensor cores on bfloat16. Changed: two numbers share a word, float32 rounded to 8 significant bits with
// the full exponent; one instruction multiplies 16 x 16 by 16 x 8; sums stay float32.
//
// Why: twice the multiply-adds of TF32 an instruction, and half the shared memory a number; a step along k is 254
// to 263 instructions, for twice as many numbers as rung 8's. Should gain 1.5 to 2 times over rung 8, at a relative
// error of 2^-8 for each operand: enough to train most networks with.
//
// Needs compute capability 8.0.

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#error "tensor_core_bf16 needs compute capability 8.0"
#endif

#define NUMBERS 2  // to a word

#ifdef CUDA_ON_CPU
#define pack pack_bf16
#define multiply mma_bf16
#else
__device__ __forceinline__ unsigned pack(float low, float high)
{
    unsigned word;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
    return word;
}

__device__ __forceinline__ void multiply(float *d, const unsigned *a, const unsigned *b)
{
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

#include "tensor_core.cuh"
