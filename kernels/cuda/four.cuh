// Elementwise work by fours: a thread reads its four numbers of every array before it writes any.
//
// Memory answers after hundreds of cycles, and a multiprocessor has only so many threads to wait with: each must have more
// than one number under way. In a plain loop it has not, for the compiler may not move a read before the write of the
// number before, which could be to the same place. Where all arrays start at a multiple of 16 bytes, as those that CuPy
// makes do, the accesses are of 16 bytes as well.

template <class T, int ALIGNED> struct alignas(ALIGNED) Four {
    T at[4];
};

// Four numbers of an array, in registers.
template <class T, int ALIGNED> struct Held {
    T *place;
    Four<T, ALIGNED> four;

    __device__ __forceinline__ Held(T *place) : place(place), four(*(const Four<T, ALIGNED> *)place) {}
    __device__ __forceinline__ void write() const { *(Four<T, ALIGNED> *)place = four; }
};
template <class T, int ALIGNED> struct Held<const T, ALIGNED> {
    Four<T, ALIGNED> four;

    __device__ __forceinline__ Held(const T *place) : four(*(const Four<T, ALIGNED> *)place) {}
    __device__ __forceinline__ void write() const {}
};

template <class Body, class... Fours>
__device__ __forceinline__ void for_four(Body body, Fours... fours)
{
#pragma unroll
    for (int k = 0; k < 4; k++) body(fours.four.at[k]...);
    (fours.write(), ...);
}

// body(a[i], b[i], ...) for all i < n, of arrays that do not overlap; what it assigns to is written to those that are not
// const. The grid has a thread for every four numbers.
template <class Body, class T, class... Others>
__device__ __forceinline__ void for_each(long long n, Body body, T *first, Others *...others)
{
    const long long i = 4 * ((long long)blockIdx.x * blockDim.x + threadIdx.x);
    const bool aligned = (((size_t)first | ... | (size_t)others) % 16) == 0;
    if (i + 4 > n) {
#pragma unroll 1
        for (long long k = i; k < n; k++) body(first[k], others[k]...);
    } else if (aligned) {
        for_four(body, Held<T, 16>(first + i), Held<Others, 16>(others + i)...);
    } else {
        for_four(body, Held<T, sizeof(T)>(first + i), Held<Others, sizeof(T)>(others + i)...);
    }
}
