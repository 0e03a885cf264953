// CUDA's built-ins for a C++ compiler: a kernel becomes a function that is called once per thread.
//
// Threads run one after the other, so what needs them at the same time (shared memory,
// __syncthreads, warp shuffles) is not here, and a kernel that uses it does not compile.
#pragma once
#define STN_NP_ON_CPU 1

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string>
#include <type_traits>
#include <utility>

#define __global__
#define __launch_bounds__(...)
#define __device__
#define __host__
#define __constant__ const
#define __forceinline__ inline
#define __launch_bounds__(...)
#define EXPORTED extern "C" __attribute__((visibility("default")))

struct dim3 {
    unsigned int x = 1, y = 1, z = 1;
};
static dim3 gridDim, blockDim, blockIdx, threadIdx;

// Arithmetic that CUDA has without a header.
template <typename T> inline T __ldg(const T* address) { return *address; }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
inline int __popc(unsigned int x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
template <typename A, typename B>
inline std::common_type_t<A, B> min(A a, B b) { return b < a ? b : a; }
template <typename A, typename B>
inline std::common_type_t<A, B> max(A a, B b) { return a < b ? b : a; }

template <typename To, typename From> inline To same_bits(From x) {
    static_assert(sizeof(To) == sizeof(From));
    To y;
    __builtin_memcpy(&y, &x, sizeof y);
    return y;
}
inline float __int_as_float(int x) { return same_bits<float>(x); }
inline int __float_as_int(float x) { return same_bits<int>(x); }
inline float __uint_as_float(unsigned int x) { return same_bits<float>(x); }
inline unsigned int __float_as_uint(float x) { return same_bits<unsigned int>(x); }
inline double __longlong_as_double(long long x) { return same_bits<double>(x); }
inline long long __double_as_longlong(double x) { return same_bits<long long>(x); }

// Atomics: for the types that CUDA has them for, and no others. Each gives the value before.
template <typename T>
using if_added = std::enable_if_t<
    std::is_same_v<T, float> || std::is_same_v<T, double> || std::is_same_v<T, int> ||
    std::is_same_v<T, unsigned int> || std::is_same_v<T, unsigned long long>, T>;
template <typename T>
using if_integer = std::enable_if_t<
    std::is_same_v<T, int> || std::is_same_v<T, unsigned int> ||
    std::is_same_v<T, long long> || std::is_same_v<T, unsigned long long>, T>;
template <typename T> struct same { using type = T; };  // the second argument converts to the first

template <typename T> if_added<T> atomicAdd(T* address, typename same<T>::type value) {
    T before = *address;
    if constexpr (std::is_same_v<T, int>)  // on a GPU an int wraps round
        *address = int(unsigned(before) + unsigned(value));
    else
        *address = before + value;
    return before;
}
template <typename T> if_integer<T> atomicMax(T* address, typename same<T>::type value) {
    T before = *address;
    if (before < value) *address = value;
    return before;
}
template <typename T> if_integer<T> atomicMin(T* address, typename same<T>::type value) {
    T before = *address;
    if (value < before) *address = value;
    return before;
}
template <typename T>
if_integer<T> atomicCAS(T* address, typename same<T>::type expected, typename same<T>::type value) {
    T before = *address;
    if (before == expected) *address = value;
    return before;
}
template <typename T> if_integer<T> atomicExch(T* address, typename same<T>::type value) {
    return std::exchange(*address, value);
}

// How kernels.py gets at them.
namespace stand_in {

// "f4", "i8", "u1", "b1"; anything else by its size: float16 is "f2".
template <typename T> std::string kind() {
    std::string size = std::to_string(sizeof(T));
    if (std::is_same_v<T, bool>) return "b" + size;
    if (std::is_integral_v<T> || std::is_enum_v<T>) return (std::is_signed_v<T> ? "i" : "u") + size;
    return (std::is_floating_point_v<T> || sizeof(T) == 2 ? "f" : "x") + size;
}

// "i8" for a number, "*f4" for an array that is written, "*const f4" for one that is read.
template <typename P> std::string parameter() {
    if constexpr (std::is_pointer_v<P>) {
        using T = std::remove_pointer_t<P>;
        return (std::is_const_v<T> ? "*const " : "*") + kind<std::remove_cv_t<T>>();
    } else {
        return kind<P>();
    }
}

template <typename... P> std::string signature(void (*)(P...)) {
    std::string all;
    ((all += parameter<P>() + ","), ...);
    return all;
}

template <typename... P, size_t... I>
void call(void (*kernel)(P...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_cv_t<P>*>(arguments[I])...);
}

// Every thread of every block, from the first to the last or the other way round.
template <typename... P>
void run(void (*kernel)(P...), unsigned int blocks, unsigned int threads, int backwards, void** a) {
    gridDim.x = blocks;
    blockDim.x = threads;
    unsigned long long total = (unsigned long long)blocks * threads;
    for (unsigned long long i = 0; i < total; ++i) {
        unsigned long long item = backwards ? total - 1 - i : i;
        blockIdx.x = (unsigned int)(item / threads);
        threadIdx.x = (unsigned int)(item % threads);
        call(kernel, a, std::index_sequence_for<P...>());
    }
}

}  // namespace stand_in
