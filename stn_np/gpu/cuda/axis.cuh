// Where a point lies on one axis, which pixels it reads there, and how they weigh.
//
// The specification is coordinates.py, continuation.py and kernels.py: same names, same arithmetic.
#include "launcher.cuh"

// The kernels k of eq. (3); their values are the numbers of pixels that they read.
enum Mode { NEAREST = 1, LINEAR = 2, CUBIC = 4 };
// What lies outside the image. ZEROS stands for any constant.
enum Padding { ZEROS, BORDER, REFLECTION, WRAP };

// In place of the offset of a pixel that lies outside.
constexpr int64 OUTSIDE = -1;
// Points further outside than this many pixels all count as one point there, without gradient.
constexpr int64 FAR = 100000;

// Whether the coordinate itself is clipped or mirrored, before the kernel looks at pixels.
__device__ constexpr bool follows_coordinate(Mode mode, Padding padding) {
    return mode != CUBIC && (padding == BORDER || padding == REFLECTION);
}

// ------------------------------------------------------------------ coordinates.py

template <typename X> __device__ X units_to_pixels(int64 size, bool align_corners) {
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

// Clip to so many pixels left and right of the outermost ones. fmax turns NaN into the bound.
template <typename X> __device__ X keep_within(X x, int64 size, int64 reach) {
    return fmin(fmax(x, X(-reach)), X(size - 1 + reach));
}

// Mirror x at both ends as often as needed; returns the slope.
template <typename X> __device__ X reflect(X& x, int64 size, bool align_corners) {
    const X low = align_corners ? X(0) : X(-0.5);
    const X span = X(align_corners ? size - 1 : size);
    if (span == 0) {  // a single pixel between two mirrors
        x = 0;
        return 0;
    }
    if (x <= X(-FAR) || x >= X(size - 1 + FAR)) x = low;  // counts as outside, on the left
    x -= low;
    X slope = x < 0 ? X(-1) : X(1);
    x = fabs(x);
    const X turns = floor(x / span);
    x -= turns * span;
    if (turns - 2 * floor(turns / 2) == 1) {
        x = span - x;
        slope = -slope;
    }
    x += low;
    return slope;
}

// Move x onto the image, by border or reflection; returns the slope of this: 0 on and beyond the
// border.
template <Padding PADDING, typename X>
__device__ X move_inside(X& x, int64 size, bool align_corners) {
    X slope = PADDING == REFLECTION ? reflect(x, size, align_corners) : X(1);
    const X last = X(size - 1);
    if (!(x > 0 && x < last)) slope = 0;
    x = fmin(fmax(x, X(0)), last);
    return slope;
}

// ------------------------------------------------------------------ continuation.py

__device__ __forceinline__ int64 modulo(int64 m, int64 period) {
    if (m >= 0 && m < period) return m;  // nearly always, and a division takes long
    m %= period;
    return m < 0 ? m + period : m;
}

// The pixel of the image that stands at m in the continued image, or OUTSIDE.
template <Mode MODE, Padding PADDING>
__device__ int64 pixel_at(int64 m, int64 size, bool align_corners) {
    if (PADDING == ZEROS) return m >= 0 && m < size ? m : OUTSIDE;
    if (PADDING == WRAP) return modulo(m, size);
    if (PADDING == BORDER || follows_coordinate(MODE, PADDING)) {
        return m < 0 ? 0 : m < size ? m : size - 1;
    }
    const int64 period = align_corners ? (size > 1 ? 2 * size - 2 : 1) : 2 * size;
    m = modulo(m, period);
    const int64 mirrored = align_corners ? period - m : period - 1 - m;
    return m < mirrored ? m : mirrored;
}

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
    X x_slope;  // d(place where it is read)/d(pixel coordinate)

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
    Taps<X, MODE> taps;
    if (follows_coordinate(MODE, PADDING)) {
        x = keep_within(x, size, PADDING == BORDER ? 1 : FAR);
        taps.x_slope = move_inside<PADDING>(x, size, ALIGN_CORNERS);
    } else {
        x = keep_within(x, size, FAR);
        taps.x_slope = x > X(-FAR) && x < X(size - 1 + FAR) ? X(1) : X(0);
    }
    const X first = floor(x - X(0.5) * MODE) + 1;  // the radius is half the number of pixels
#pragma unroll
    for (int j = 0; j < MODE; ++j) {
        const int64 m = pixel_at<MODE, PADDING>(int64(first) + j, size, ALIGN_CORNERS);
        const X d = x - first - j;
        taps.tap[j] = {m == OUTSIDE ? OUTSIDE : m * stride, k<MODE>(d), k_slope<MODE>(d)};
    }
    return taps;
}
