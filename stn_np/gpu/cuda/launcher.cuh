// What every kernel of the library begins with; the other half of launcher.py.
//
// No header is included and no shared memory, barrier or shuffle is used: the same text compiles
// with NVRTC and, for the tests, as C++, where one thread after the other runs on the CPU.

using int64 = long long;
using float32 = float;
using float64 = double;

#ifdef STN_NP_ON_CPU
using float16 = _Float16;
#else
// Two conversions are all that half precision needs here: it is read and written, but never
// computed with.
struct float16 {
    unsigned short bits;

    float16() = default;
    __device__ float16(float x) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x)); }
    __device__ operator float() const {
        float x;
        asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
        return x;
    }
};
#endif

// In what values of a dtype are computed and summed up: float32 at least.
template <typename T> struct Wide { using type = T; };
template <> struct Wide<float16> { using type = float32; };

// Work items 0 to n - 1, shared out among all threads of a launch of any size.
#define FOR_EACH_ITEM(i, n)                                                        \
    for (int64 i = blockIdx.x * int64(blockDim.x) + threadIdx.x; i < (n);          \
         i += int64(gridDim.x) * blockDim.x)

// i / d for what is not negative. 64-bit divisions take several times as long as 32-bit ones.
__device__ __forceinline__ int64 quotient(int64 i, int64 d) {
    if (((i | d) >> 32) == 0) return static_cast<unsigned>(i) / static_cast<unsigned>(d);
    return i / d;
}

// a b + c, on a GPU in one instruction and rounded once. Kernels are compiled without that
// (-fmad=false), since where a point lies must not depend on it; sums may, and take fewer
// instructions.
template <typename T> __device__ __forceinline__ T fused(T a, T b, T c) {
#ifdef STN_NP_ON_CPU
    return a * b + c;
#else
    return fma(a, b, c);
#endif
}

__device__ __forceinline__ int64 smaller(int64 a, int64 b) { return a < b ? a : b; }
