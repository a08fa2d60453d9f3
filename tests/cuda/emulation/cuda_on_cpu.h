// Enough of CUDA C++ to run a kernel's own source on one CPU core, one block after the other.
//
// Every thread of a block is a fiber: it runs until it meets a barrier, then the next one runs. That is slow next
// to a GPU and fast next to operating system threads: a switch is a longjmp, about ten nanoseconds, and the order
// of the threads is ours to choose: a warp runs on to the block's next barrier before another begins, so that a warp's
// own instructions order nothing but the warp. A kernel that lacks a barrier gives another result in the reverse order.
//
// What a GPU leaves undefined is an error here where that is cheap to see: a barrier that only some threads reach,
// threads of one block at two different barriers, a warp instruction that part of the warp leaves out, an address
// that is nobody's or not aligned to the width of the access. Shared
// memory holds NaN (all bits set) when a block starts.
//
// Fragment layouts of the matrix instructions: PTX ISA, section "Matrix fragments for mma.m16n8k8" and
// "mma.m16n8k16 with floating point type".

#pragma once

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define CUDA_ON_CPU 1

#define __global__ static
#define __device__ inline
#define __forceinline__ __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
// A section of its own, so that the scheduler can fill all of it without knowing the variables.
#define __shared__ static __attribute__((section("cuda_shared")))

namespace emulation {
[[noreturn]] static void stop_misaligned();

// The compiler may take for granted that a float4 is aligned, so it must not see whose address this is.
template <size_t WIDTH> inline const void *aligned(const void *address) {
    asm volatile("" : "+r"(address));
    if ((size_t)address % WIDTH != 0) stop_misaligned();
    return address;
}
}  // namespace emulation

// A copy of a vector is one wide access on a GPU, where a misaligned one is an error.
template <class T, size_t WIDTH> struct Wide : T {
    Wide() = default;
    template <class... N> Wide(N... numbers) : T{numbers...} {}
    Wide(const Wide &other) : T(*(const T *)emulation::aligned<WIDTH>(&other)) {}
    Wide &operator=(const Wide &other) {
        *(T *)emulation::aligned<WIDTH>(this) = *(const T *)emulation::aligned<WIDTH>(&other);
        return *this;
    }
};

struct uint3 { unsigned x, y, z; };
struct alignas(8) Uint2 { unsigned x, y; };
struct alignas(16) Uint4 { unsigned x, y, z, w; };
struct alignas(16) Float4 { float x, y, z, w; };
typedef Wide<Uint2, 8> uint2;
typedef Wide<Uint4, 16> uint4;
typedef Wide<Float4, 16> float4;
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

static uint3 threadIdx, blockIdx, blockDim, gridDim;
static const int warpSize = 32;

// --- fibers ---------------------------------------------------------------------------------------------------

namespace emulation {

enum State { READY, AT_BLOCK_BARRIER, AT_WARP_BARRIER, LEFT };

const int MOST_THREADS = 1024, WARP = 32;
const size_t STACK = 64 * 1024;

struct Fiber {
    ucontext_t entry;
    jmp_buf resume;
    bool started;
    State state;
    int line;
};

struct Slot { unsigned long long word[8]; };  // what a lane shows to its warp

static Fiber fibers[MOST_THREADS];
static Slot slots[MOST_THREADS];
static jmp_buf scheduler, fault;
static int current, threads;
static void (*body)(void **);
static void **body_arguments;
static char failure[256];

extern "C" char __start_cuda_shared[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_cuda_shared[] __attribute__((weak, visibility("hidden")));

static size_t shared_bytes() { return __start_cuda_shared ? __stop_cuda_shared - __start_cuda_shared : 0; }

static int warp_size_of(int first) { return threads - first < WARP ? threads - first : WARP; }

static int lane() { return current % WARP; }
static Slot *warp_slots() { return slots + current / WARP * WARP; }

// With FLUSH_SUBNORMALS a subnormal number counts as zero, going in and coming out, as it does for a GPU's floats under
// -ftz=true; here, on x86 alone, doubles are flushed as well.
#ifdef FLUSH_SUBNORMALS
static void flush(bool on) {
    unsigned now = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(on ? now | 0x8040u : now & ~0x8040u);
}
#else
static void flush(bool) {}
#endif

// A fiber's stack survives from block to block: after its last instruction it waits for the next call.
static void run_body() {
    for (;;) {
        flush(true);
        body(body_arguments);
        fibers[current].state = LEFT;
        if (_setjmp(fibers[current].resume) == 0) _longjmp(scheduler, 1);
    }
}

__attribute__((noinline)) static void wait(State state, int line) {
    fibers[current].state = state;
    fibers[current].line = line;
    if (_setjmp(fibers[current].resume) == 0) _longjmp(scheduler, 1);
}

__attribute__((noinline)) static void continue_thread(int thread) {
    current = thread;
    threadIdx.x = thread % blockDim.x;
    threadIdx.y = thread / blockDim.x % blockDim.y;
    threadIdx.z = thread / (blockDim.x * blockDim.y);
    if (_setjmp(scheduler) != 0) return;
    if (fibers[thread].started) _longjmp(fibers[thread].resume, 1);
    fibers[thread].started = true;
    setcontext(&fibers[thread].entry);
}

static bool fail(const char *what, int thread, int line) {
    snprintf(failure, sizeof failure, "%s: block (%u, %u, %u), thread %d, line %d", what, blockIdx.x, blockIdx.y,
             blockIdx.z, thread, line);
    return false;
}

// Lets the warp go on that waits as a whole; `released` says whether it did.
static bool release_warp(int first, bool &released) {
    int size = warp_size_of(first), waiting = 0, at = -1;
    for (int t = first; t < first + size; t++)
        if (fibers[t].state == AT_WARP_BARRIER) waiting++, at = t;
    released = waiting > 0;
    if (!released) return true;
    for (int t = first; t < first + size; t++)
        if (fibers[t].state != AT_WARP_BARRIER || fibers[t].line != fibers[at].line)
            return fail("only a part of the warp executes a warp instruction", t, fibers[at].line);
    if (size < WARP) return fail("a warp instruction in a warp of fewer than 32 threads", at, fibers[at].line);
    for (int t = first; t < first + size; t++) fibers[t].state = READY;
    return true;
}

// Runs one warp until all its threads wait at a barrier of the block or have left.
static bool run_warp(int first, bool reverse) {
    int size = warp_size_of(first);
    for (bool released = true; released;) {
        for (int i = 0; i < size; i++) {
            int t = first + (reverse ? size - 1 - i : i);
            if (fibers[t].state == READY) continue_thread(t);
        }
        if (!release_warp(first, released)) return false;
    }
    return true;
}

static bool release_block(bool &progress) {
    int left = 0, at = -1;
    for (int t = 0; t < threads; t++)
        if (fibers[t].state == LEFT) left++;
        else at = t;
    if (left == threads) return true;
    if (left > 0) return fail("threads wait at a barrier that others have left out", at, fibers[at].line);
    for (int t = 0; t < threads; t++)
        if (fibers[t].line != fibers[at].line)
            return fail("threads of one block wait at two different barriers", t, fibers[t].line);
    for (int t = 0; t < threads; t++) fibers[t].state = READY;
    progress = true;
    return true;
}

static bool run_block(bool reverse) {
    if (shared_bytes() > 0) memset(__start_cuda_shared, 0xff, shared_bytes());
    for (int t = 0; t < threads; t++) fibers[t].state = READY;
    int warps = (threads + WARP - 1) / WARP;
    for (bool progress = true; progress;) {
        for (int w = 0; w < warps; w++)
            if (!run_warp((reverse ? warps - 1 - w : w) * WARP, reverse)) return false;
        progress = false;
        if (!release_block(progress)) return false;
    }
    return true;
}

static bool run_grid(bool reverse) {
    for (blockIdx.z = 0; blockIdx.z < gridDim.z; blockIdx.z++)
        for (blockIdx.y = 0; blockIdx.y < gridDim.y; blockIdx.y++)
            for (blockIdx.x = 0; blockIdx.x < gridDim.x; blockIdx.x++)
                if (!run_block(reverse)) return false;
    return true;
}

// An access that is not aligned, or an address that is nobody's, stops the kernel and not the process.
static void on_fault(int signal) {
    bool trap = signal == SIGILL || signal == SIGTRAP;
    fail(trap ? "a wide access that is not aligned" : "an address out of reach", current, 0);
    _longjmp(fault, 1);
}
static void stop_misaligned() {
    fail("a wide access that is not aligned", current, 0);
    _longjmp(fault, 1);
}

static bool run_grid_or_fault(bool reverse) {
    static char stack[64 * 1024];
    stack_t mine = {}, old_stack;
    mine.ss_sp = stack;
    mine.ss_size = sizeof stack;
    // A trap is what the compiler's own check of alignment ends in: SIGILL on x86, SIGTRAP on ARM.
    const int caught[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP};
    struct sigaction act = {}, old[4];
    act.sa_handler = on_fault;
    act.sa_flags = SA_ONSTACK | SA_NODEFER;
    sigaltstack(&mine, &old_stack);
    for (int i = 0; i < 4; i++) sigaction(caught[i], &act, &old[i]);
    bool good = _setjmp(fault) == 0 && run_grid(reverse);
    for (int i = 0; i < 4; i++) sigaction(caught[i], &old[i], 0);
    sigaltstack(&old_stack, 0);
    return good;
}

static const char *launch(void (*call)(void **), const unsigned *shape, void **arguments, bool reverse) {
    gridDim = {shape[0], shape[1], shape[2]};
    blockDim = {shape[3], shape[4], shape[5]};
    threads = blockDim.x * blockDim.y * blockDim.z;
    if (threads < 1 || threads > MOST_THREADS) return "a block has 1 to 1024 threads";
    size_t bytes = threads * STACK;
    char *stacks = (char *)mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks == MAP_FAILED) return "no memory for the stacks";
    body = call;
    body_arguments = arguments;
    for (int t = 0; t < threads; t++) {
        fibers[t].started = false;
        getcontext(&fibers[t].entry);
        fibers[t].entry.uc_stack.ss_sp = stacks + t * STACK;
        fibers[t].entry.uc_stack.ss_size = STACK;
        fibers[t].entry.uc_link = 0;
        makecontext(&fibers[t].entry, run_body, 0);
    }
    bool good = run_grid_or_fault(reverse);
    flush(false);
    munmap(stacks, bytes);
    return good ? 0 : failure;
}

// A kernel's arguments come as pointers to values, as in the CUDA driver's cuLaunchKernel.
template <int... I> struct Places {};
template <int N, int... I> struct PlacesUpTo : PlacesUpTo<N - 1, N - 1, I...> {};
template <int... I> struct PlacesUpTo<0, I...> { typedef Places<I...> type; };

template <class... P, int... I> void call(void (*kernel)(P...), void **arguments, Places<I...>) {
    kernel(*(P *)arguments[I]...);
}
template <class... P> void call(void (*kernel)(P...), void **arguments) {
    call(kernel, arguments, typename PlacesUpTo<sizeof...(P)>::type());
}
template <class... P> int sizes(void (*)(P...), int *out) {
    int all[] = {(int)sizeof(P)..., 0};
    memcpy(out, all, sizeof...(P) * sizeof(int));
    return sizeof...(P);
}

}  // namespace emulation

#define EMULATED(name)                                                                                          \
    static void call_##name(void **arguments) { emulation::call(name, arguments); }                             \
    extern "C" int sizes_##name(int *out) { return emulation::sizes(name, out); }                               \
    extern "C" const char *launch_##name(const unsigned *shape, void **arguments, int reverse) {                \
        return emulation::launch(call_##name, shape, arguments, reverse != 0);                                  \
    }
extern "C" size_t emulated_shared_bytes() { return emulation::shared_bytes(); }

// --- barriers and what lanes tell each other --------------------------------------------------------------------

#define __syncthreads() emulation::wait(emulation::AT_BLOCK_BARRIER, __LINE__)
#define __syncwarp(...) emulation::wait(emulation::AT_WARP_BARRIER, __LINE__)

namespace emulation {
template <class T> T exchange(T value, int source, int line) {
    memcpy(warp_slots()[lane()].word, &value, sizeof value);
    wait(AT_WARP_BARRIER, line);
    if (source >= 0 && source < WARP) memcpy(&value, warp_slots()[source].word, sizeof value);
    wait(AT_WARP_BARRIER, line);  // nobody overwrites its slot before all have read
    return value;
}
inline unsigned ballot(bool vote, int line) {
    unsigned votes = 0;
    warp_slots()[lane()].word[0] = vote;
    wait(AT_WARP_BARRIER, line);
    for (int i = 0; i < WARP; i++) votes |= (unsigned)warp_slots()[i].word[0] << i;
    wait(AT_WARP_BARRIER, line);
    return votes;
}
}  // namespace emulation

// Whole warps only: every lane takes part, so the mask must be full.
#define __shfl_sync(mask, value, source) emulation::exchange(value, (source) & 31, __LINE__)
#define __shfl_xor_sync(mask, value, bits) emulation::exchange(value, emulation::lane() ^ (bits), __LINE__)
#define __shfl_down_sync(mask, value, by) emulation::exchange(value, emulation::lane() + (int)(by), __LINE__)
#define __shfl_up_sync(mask, value, by) emulation::exchange(value, emulation::lane() - (int)(by), __LINE__)

#define __ballot_sync(mask, vote) emulation::ballot(vote, __LINE__)

// --- arithmetic -------------------------------------------------------------------------------------------------

template <class To, class From> static inline To bits_as(From value) {
    static_assert(sizeof(To) == sizeof(From), "the bits of one are the bits of the other");
    To out;
    memcpy(&out, &value, sizeof out);
    return out;
}
static inline int __float_as_int(float x) { return bits_as<int>(x); }
static inline float __int_as_float(int x) { return bits_as<float>(x); }
static inline unsigned __float_as_uint(float x) { return bits_as<unsigned>(x); }
static inline float __uint_as_float(unsigned x) { return bits_as<float>(x); }
static inline long long __double_as_longlong(double x) { return bits_as<long long>(x); }
static inline double __longlong_as_double(long long x) { return bits_as<double>(x); }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline double __dadd_rn(double a, double b) { return a + b; }

// --- tensor cores -----------------------------------------------------------------------------------------------

// TF32: the upper 19 bits of a float32, rounded to nearest, ties away from zero (cvt.rna).
static inline unsigned round_to_tf32(float x) {
    return x - x == 0 ? (__float_as_uint(x) + 0x1000u) & 0xffffe000u : __float_as_uint(x);
}

// bfloat16: the upper 16 bits, ties to even (cvt.rn). A NaN becomes the quiet NaN of PTX.
static inline unsigned round_to_bf16(float x) {
    unsigned bits = __float_as_uint(x);
    return x != x ? 0x7fffu : (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}
static inline unsigned pack_bf16(float low, float high) { return round_to_bf16(high) << 16 | round_to_bf16(low); }

namespace emulation {
// The fragment of lane 4 g + t: A[g, t], A[g + 8, t], A[g, t + 4], A[g + 8, t + 4]; B[t, g], B[t + 4, g];
// D[g, 2 t], D[g, 2 t + 1], D[g + 8, 2 t], D[g + 8, 2 t + 1], in words: a TF32 number or two bfloat16 along k.
typedef float (*Product)(unsigned, unsigned);

static inline unsigned word_of_a(int row, int k) { return warp_slots()[row % 8 * 4 + k % 4].word[row / 8 + k / 4 * 2]; }
static inline unsigned word_of_b(int k, int col) { return warp_slots()[col * 4 + k % 4].word[4 + k / 4]; }

__attribute__((noinline)) static void mma(float *d, const unsigned *a, const unsigned *b, Product product, int line) {
    Slot &mine = warp_slots()[lane()];
    for (int i = 0; i < 4; i++) mine.word[i] = a[i];
    for (int i = 0; i < 2; i++) mine.word[4 + i] = b[i];
    wait(AT_WARP_BARRIER, line);
    for (int i = 0; i < 4; i++) {
        int row = lane() / 4 + i / 2 * 8, col = lane() % 4 * 2 + i % 2;
        for (int k = 0; k < 8; k++) d[i] += product(word_of_a(row, k), word_of_b(k, col));
    }
    wait(AT_WARP_BARRIER, line);
}

// The address of a line of a matrix is a lane's to give, and four lanes' to read from: 16 bytes.
__attribute__((noinline)) static void ldmatrix(unsigned *words, const unsigned *line, int at) {
    const unsigned *mine = (const unsigned *)aligned<16>(line);
    memcpy(warp_slots()[lane()].word, &mine, sizeof mine);
    wait(AT_WARP_BARRIER, at);
    for (int j = 0; j < 4; j++) {
        const unsigned *theirs;
        memcpy(&theirs, warp_slots()[8 * j + lane() / 4].word, sizeof theirs);
        words[j] = theirs[lane() % 4];
    }
    wait(AT_WARP_BARRIER, at);
}

static float tf32_product(unsigned a, unsigned b) {  // the hardware ignores the lower 13 bits
    return __uint_as_float(a & 0xffffe000u) * __uint_as_float(b & 0xffffe000u);
}
static float bf16_product(unsigned a, unsigned b) {
    return __uint_as_float(a << 16) * __uint_as_float(b << 16) +
           __uint_as_float(a & 0xffff0000u) * __uint_as_float(b & 0xffff0000u);
}
}  // namespace emulation

#define ldmatrix_x4(words, line) emulation::ldmatrix(words, line, __LINE__)
#define mma_tf32(d, a, b) emulation::mma(d, a, b, emulation::tf32_product, __LINE__)
#define mma_bf16(d, a, b) emulation::mma(d, a, b, emulation::bf16_product, __LINE__)
