// A point of the output: where it comes from, what it reads (eqs (3) to (5)), and to what it gives
// (eqs (6) and (7)). Axes are numbered as grids are: 0 is x, 1 is y, 2 is z.
#include "axis.cuh"

// How many of an axis's pixels are read at a time: of the 64 of a cubic kernel in three dimensions
// not all, for that is more than there are registers.
template <Mode MODE, int AXIS> constexpr int TAPS_AT_ONCE = MODE == CUBIC && AXIS == 2 ? 1 : MODE;

// How many channels a thread has under way: enough to wait for many reads at a time where each is
// of few pixels, and no more than there are registers for.
template <Mode MODE, int DIM>
constexpr int CHANNELS_AT_ONCE = MODE == CUBIC || DIM == 3 ? 1 : 4;

// In which order the P points of an image are taken. Of an output W pixels wide a warp takes a patch
// of 8 x 4 and a block one of 16 x 16: what they read of the image lies close together, whichever way
// the map turns. With W = 0 they are taken one after the other.
struct Order {
    int64 P, W, across;
    int64 places;  // of an image: P, and those of patches that stick out

    __device__ Order(int64 P, int64 W) : P(P), W(W), across(0), places(P) {
        if (W == 0) return;
        across = quotient(W + 15, 16);
        places = across * quotient(quotient(P, W) + 15, 16) * 256;
    }

    // The point at a place, or OUTSIDE.
    __device__ __forceinline__ int64 point(int64 place) const {
        if (W == 0) return place;
        const int64 patch = place >> 8, down = quotient(patch, across);
        const int in_patch = int(place & 255);  // bits yyxyyxxx
        const int64 x = (patch - down * across) * 16 + ((in_patch >> 2) & 8) + (in_patch & 7);
        const int64 y = down * 16 + ((in_patch >> 4) & 12) + ((in_patch >> 3) & 3);
        return x < W && y * W < P ? y * W + x : OUTSIDE;
    }
};

// Which place in the order, of which image, in which channels.
struct Item {
    int64 n, p, c_begin, c_end;

    __device__ Item(int64 i, int64 P, int64 C, int64 channels) {
        const int64 rest = quotient(i, P);
        p = i - rest * P;
        const int64 groups = quotient(C + channels - 1, channels);
        n = quotient(rest, groups);
        c_begin = (rest - n * groups) * channels;
        c_end = c_begin + channels < C ? c_begin + channels : C;
    }
};

template <int DIM> struct Size {
    int64 pixels[DIM];  // (W, H[, D])

    __device__ Size(int64 D, int64 H, int64 W) {
        pixels[0] = W;
        pixels[1] = H;
        if constexpr (DIM == 3) pixels[2] = D;
    }
    __device__ int64 plane() const {
        int64 product = 1;
        for (int axis = 0; axis < DIM; ++axis) product *= pixels[axis];
        return product;
    }
};

template <typename X, int DIM, Mode MODE> struct Point {
    Taps<X, MODE> axis[DIM];
};

// ------------------------------------------------------------------ where points come from

// A source gives the coordinates of point p of image n, in pixels from the middle of the image. It
// is made of a pointer and three numbers, which the launch hands on as they are.

// A grid, which may lie in memory in any order of its axes.
template <typename X_, int DIM_> struct Grid {
    using X = X_;
    static constexpr int DIM = DIM_;

    const X* grid;
    int64 step_n, step_p, step_axis;

    __device__ void operator()(
        int64 n, int64 p, const Size<DIM>& size, bool align_corners, X (&x)[DIM]
    ) const {
#pragma unroll
        for (int axis = 0; axis < DIM; ++axis) {
            const X g = grid[n * step_n + p * step_p + axis * step_axis];
            x[axis] = g * pixels_per_unit<X>(size.pixels[axis], align_corners);
        }
    }
};

// Affine maps, eq. (1), without a grid: (2, 3) matrices that count in pixels from the middles of
// both images.
template <typename X_> struct AffineMap {
    using X = X_;
    static constexpr int DIM = 2;

    const X* matrix;
    int64 step_n, H_out, W_out;

    // Target pixel p, in pixels from the middle of the output.
    struct Target {
        X x, y;
    };
    __device__ Target target(int64 p) const {
        const int64 row = quotient(p, W_out);
        return {X(p - row * W_out) - X(W_out - 1) / 2, X(row) - X(H_out - 1) / 2};
    }
    __device__ void map(int64 n, const Target& t, X (&x)[2]) const {
#pragma unroll
        for (int axis = 0; axis < 2; ++axis) {
            const X* row = matrix + n * step_n + 3 * axis;
            x[axis] = row[0] * t.x + row[1] * t.y + row[2];
        }
    }
    __device__ void operator()(int64 n, int64 p, const Size<2>&, bool, X (&x)[2]) const {
        map(n, target(p), x);
    }
};

template <Mode MODE, Padding PADDING, bool ALIGN_CORNERS, typename Source>
__device__ Point<typename Source::X, Source::DIM, MODE> locate(
    const Source& source, int64 n, int64 p, const Size<Source::DIM>& size
) {
    typename Source::X x[Source::DIM];
    source(n, p, size, ALIGN_CORNERS, x);
    Point<typename Source::X, Source::DIM, MODE> point;
    int64 stride = 1;
#pragma unroll
    for (int axis = 0; axis < Source::DIM; ++axis) {
        const int64 pixels = size.pixels[axis];
        point.axis[axis] = weigh<MODE, PADDING, ALIGN_CORNERS>(
            from_centre(x[axis], pixels), pixels, stride
        );
        stride *= pixels;
    }
    return point;
}

// ------------------------------------------------------------------ eq. (3)

__device__ __forceinline__ int64 step(int64 offset, int64 along) {
    return offset == OUTSIDE || along == OUTSIDE ? OUTSIDE : offset + along;
}

// Always reads, if need be the first pixel: a thread then has all its reads under way at a time,
// where branches would have it wait at each.
template <typename T, typename A>
__device__ __forceinline__ A pixel(const T* U, int64 offset, A outside) {
    const A value = A(U[offset == OUTSIDE ? 0 : offset]);
    return offset == OUTSIDE ? outside : value;
}

// V: for each tap of an axis the same over the remaining ones, weighed by k.
template <int AXIS, typename T, typename A, typename X, int DIM, Mode MODE>
__device__ __forceinline__ A read(
    const T* U, const Point<X, DIM, MODE>& point, int64 offset, A outside
) {
    if constexpr (AXIS < 0) {
        return pixel(U, offset, outside);
    } else {
        A sum = 0;
#pragma unroll TAPS_AT_ONCE<MODE, AXIS>
        for (int j = 0; j < MODE; ++j) {
            const Tap<X> tap = point.axis[AXIS][j];
            const A value = read<AXIS - 1>(U, point, step(offset, tap.offset), outside);
            sum = fused(A(tap.weight), value, sum);
        }
        return sum;
    }
}

// ------------------------------------------------------------------ eq. (7)

template <typename A, int N> struct Derivatives {
    A value;
    A along[N + 1];  // along x, y, ...; one more, for there are no arrays of length 0
};

// V and dV/dx, dV/dy, ...: along an axis by k', along the others by k.
template <int AXIS, typename T, typename A, typename X, int DIM, Mode MODE>
__device__ __forceinline__ Derivatives<A, AXIS + 1> read_derivatives(
    const T* U, const Point<X, DIM, MODE>& point, int64 offset, A outside
) {
    Derivatives<A, AXIS + 1> sum = {};
    if constexpr (AXIS < 0) {
        sum.value = pixel(U, offset, outside);
    } else {
#pragma unroll TAPS_AT_ONCE<MODE, AXIS>
        for (int j = 0; j < MODE; ++j) {
            const Tap<X> tap = point.axis[AXIS][j];
            const auto inner =
                read_derivatives<AXIS - 1>(U, point, step(offset, tap.offset), outside);
            sum.value = fused(A(tap.weight), inner.value, sum.value);
            sum.along[AXIS] = fused(A(tap.slope), inner.value, sum.along[AXIS]);
            for (int other = 0; other < AXIS; ++other) {
                sum.along[other] = fused(A(tap.weight), inner.along[other], sum.along[other]);
            }
        }
    }
    return sum;
}

// Whether all that a point reads along some axis lies outside.
template <typename X, int DIM, Mode MODE>
__device__ __forceinline__ bool reads_nothing(const Point<X, DIM, MODE>& point) {
    bool nothing = false;
    for (int axis = 0; axis < DIM; ++axis) {
        bool none = true;
#pragma unroll
        for (int j = 0; j < MODE; ++j) none = none && point.axis[axis].tap[j].offset == OUTSIDE;
        nothing = nothing || none;
    }
    return nothing;
}

// What comes back to a point: dL/dx, dL/dy, ... in pixels, summed over the channels in their order.
template <typename T, typename A, typename X, int DIM, Mode MODE>
__device__ __forceinline__ void back_to_point(
    const T* image, const T* upstream, const Point<X, DIM, MODE>& point, int64 C, int64 plane,
    int64 P, A outside, A (&dx)[DIM]
) {
    if (reads_nothing(point)) return;  // slopes add up to 0, but for rounding
#pragma unroll CHANNELS_AT_ONCE<MODE, DIM>
    for (int64 c = 0; c < C; ++c) {
        const auto dV = read_derivatives<DIM - 1>(image + c * plane, point, 0, outside);
        const A dv = A(upstream[c * P]);
        for (int axis = 0; axis < DIM; ++axis) dx[axis] = fused(dv, dV.along[axis], dx[axis]);
    }
    for (int axis = 0; axis < DIM; ++axis) dx[axis] *= A(point.axis[axis].sign);
}

// ------------------------------------------------------------------ eq. (6)

// The transpose of eq. (3): give(offset, weight, number of the tap) for each pixel that the point reads.
template <int AXIS, typename A, typename X, int DIM, Mode MODE, typename Give>
__device__ __forceinline__ void spread(
    const Point<X, DIM, MODE>& point, int64 offset, A weight, int number, const Give& give
) {
    if constexpr (AXIS < 0) {
        if (offset != OUTSIDE) give(offset, weight, number);
    } else {
#pragma unroll TAPS_AT_ONCE<MODE, AXIS>
        for (int j = 0; j < MODE; ++j) {
            const Tap<X> tap = point.axis[AXIS][j];
            spread<AXIS - 1>(
                point, step(offset, tap.offset), weight * A(tap.weight), number * MODE + j, give
            );
        }
    }
}
