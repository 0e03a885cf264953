// Where a point lies on one axis, which pixels it reads there, and how they weigh.
//
// The specification is coordinates.py, padding.py and kernels.py: same names, same arithmetic.
#include "launcher.cuh"

// The kernels k of eq. (3); their values are the numbers of pixels that they read.
enum Mode { NEAREST = 1, LINEAR = 2, CUBIC = 4 };
// What lies outside the image. ZEROS stands for any constant.
enum Padding { ZEROS, BORDER, REFLECTION, WRAP };

// In place of the offset of a pixel that lies outside.
constexpr int64 OUTSIDE = -1;
// Points further outside than this many pixels all count as one point there, without gradient.
[[maybe_unused]] constexpr int64 FAR = 100000;

// ------------------------------------------------------------------ coordinates.py

template <typename X> __device__ X pixels_per_unit(int64 size, bool align_corners) {
    return X(align_corners ? size - 1 : size) / 2;
}

// x, measured from the middle of the axis, to pixel coordinates, rounded so that pixel centres are
// hit exactly: adding and subtracting M = 1.5 2^p drops what is smaller than q.
template <typename X> __device__ X from_centre(X x, int64 size) {
    const X M = X(1.5) * X(int64(1) << (64 - __clzll(size + 3)));
    const X centre = X(size - 1) / 2;
    x += M;
    return x - (M - centre);
}

// Clip FAR pixels left and right of the outermost ones. fmax turns NaN into the bound.
template <typename X> __device__ X keep_within(X x, int64 size) {
    return fmin(fmax(x, X(-FAR)), X(size - 1 + FAR));
}

// ------------------------------------------------------------------ padding.py

__device__ __forceinline__ int64 modulo(int64 m, int64 period) {
    if (m >= 0 && m < period) return m;  // nearly always, and a division takes long
    m %= period;
    return m < 0 ? m + period : m;
}

__device__ __forceinline__ int64 clipped(int64 m, int64 size) {
    return m < 0 ? 0 : m < size ? m : size - 1;
}

// The table: an entry a mode, in the order of padding.py.
//
//   MOVES     whether nearest and linear kernels have their coordinate moved onto the image
//   move      does this, and returns its sign: 1, -1 where mirrored, 0 on and beyond the border
//   pixel_at  the pixel of the image that stands at m in the continued image, or OUTSIDE
template <Padding PADDING> struct Rule;

template <> struct Rule<ZEROS> {
    static constexpr bool MOVES = false;

    static __device__ int64 pixel_at(int64 m, int64 size, bool) {
        return m >= 0 && m < size ? m : OUTSIDE;
    }
};

template <> struct Rule<BORDER> {
    static constexpr bool MOVES = true;

    template <typename X> static __device__ X move(X& x, int64 size, bool) {
        const X last = X(size - 1), sign = x > 0 && x < last ? X(1) : X(0);
        x = fmin(fmax(x, X(0)), last);
        return sign;
    }
    static __device__ int64 pixel_at(int64 m, int64 size, bool) { return clipped(m, size); }
};

template <> struct Rule<REFLECTION> {
    static constexpr bool MOVES = true;

    // At both ends as often as needed; then as border, for half a pixel may lie outside.
    template <typename X> static __device__ X move(X& x, int64 size, bool align_corners) {
        const X low = align_corners ? X(0) : X(-0.5);
        const X span = X(align_corners ? size - 1 : size);
        if (span == 0) {  // a single pixel between two mirrors
            x = 0;
            return 0;
        }
        if (x <= X(-FAR) || x >= X(size - 1 + FAR)) x = low;  // counts as outside, on the left
        x -= low;
        X sign = x < 0 ? X(-1) : X(1);
        x = fabs(x);
        const X turns = floor(x / span);
        x -= turns * span;
        if (turns - 2 * floor(turns / 2) == 1) {
            x = span - x;
            sign = -sign;
        }
        x += low;
        return Rule<BORDER>::move(x, size, align_corners) == 0 ? X(0) : sign;
    }
    static __device__ int64 pixel_at(int64 m, int64 size, bool align_corners) {
        const int64 period = align_corners ? (size > 1 ? 2 * size - 2 : 1) : 2 * size;
        m = modulo(m, period);
        const int64 mirrored = align_corners ? period - m : period - 1 - m;
        return m < mirrored ? m : mirrored;
    }
};

template <> struct Rule<WRAP> {
    static constexpr bool MOVES = false;

    static __device__ int64 pixel_at(int64 m, int64 size, bool) { return modulo(m, size); }
};

// ------------------------------------------------------------------ kernels.py

// k(d) at d = x - m: eq. (4); eq. (5); Keys' cubic with a = -3/4.
template <Mode MODE, typename X> __device__ X k(X d) {
    if (MODE == NEAREST) return 1;
    const X e = fabs(d);
    if (MODE == LINEAR) return 1 - e;
    const X u = 2 - e, w = 1 - e, t = w + fabs(w);
    return X(0.75) * u * u * w - X(0.25) * t * t * t;
}

// dk/dd: eq. (7), where k has a kink the right derivative.
template <Mode MODE, typename X> __device__ X k_slope(X d) {
    if (MODE == NEAREST) return 0;
    const X sign = d >= 0 ? X(1) : X(-1);
    if (MODE == LINEAR) return -sign;
    const X e = fabs(d), u = 2 - e, w = 1 - e, t = w + fabs(w);
    return (X(1.5) * t * t - X(0.75) * u * (u + 2 * w)) * sign;
}

// ------------------------------------------------------------------ all of it together

template <typename X> struct Tap {
    int64 offset;  // of the pixel along this axis in memory, or OUTSIDE
    X weight;      // k(x - m)
    X slope;       // k'(x - m)
};

template <typename X, Mode MODE> struct Taps {
    Tap<X> tap[MODE];
    X sign;  // d(place where it is read)/d(pixel coordinate): 1, -1 or 0

    // Number j, also where the compiler does not know j: registers have no index.
    __device__ __forceinline__ Tap<X> operator[](int j) const {
        Tap<X> chosen = tap[0];
#pragma unroll
        for (int i = 1; i < MODE; ++i) {
            if (i == j) chosen = tap[i];
        }
        return chosen;
    }
};

// From a pixel coordinate, not yet clipped, to what is read there.
template <Mode MODE, Padding PADDING, bool ALIGN_CORNERS, typename X>
__device__ Taps<X, MODE> weigh(X x, int64 size, int64 stride) {
    constexpr bool MOVES = MODE != CUBIC && Rule<PADDING>::MOVES;
    Taps<X, MODE> taps;
    x = keep_within(x, size);
    if constexpr (MOVES) {
        taps.sign = Rule<PADDING>::move(x, size, ALIGN_CORNERS);
    } else {
        taps.sign = x > X(-FAR) && x < X(size - 1 + FAR) ? X(1) : X(0);
    }
    const X first = floor(x - X(0.5) * MODE) + 1;  // the radius is half the number of pixels
#pragma unroll
    for (int j = 0; j < MODE; ++j) {
        int64 m = int64(first) + j;
        m = MOVES ? clipped(m, size) : Rule<PADDING>::pixel_at(m, size, ALIGN_CORNERS);
        const X d = x - first - j;
        taps.tap[j] = {m == OUTSIDE ? OUTSIDE : m * stride, k<MODE>(d), k_slope<MODE>(d)};
    }
    return taps;
}
