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

// Which point, of which image, in which channels.
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

template <Mode MODE, Padding PADDING, bool ALIGN_CORNERS, int DIM, typename X>
__device__ Point<X, DIM, MODE> locate(const X (&x)[DIM], const Size<DIM>& size) {
    Point<X, DIM, MODE> point;
    int64 stride = 1;
#pragma unroll
    for (int axis = 0; axis < DIM; ++axis) {
        point.axis[axis] =
            weigh<MODE, PADDING, ALIGN_CORNERS>(x[axis], size.pixels[axis], stride);
        stride *= size.pixels[axis];
    }
    return point;
}

// Point p of grid n, in pixels. The grid may lie in memory in any order of its axes.
template <Mode MODE, Padding PADDING, bool ALIGN_CORNERS, int DIM, typename X>
__device__ Point<X, DIM, MODE> from_grid(
    const X* grid, int64 n, int64 p, int64 step_n, int64 step_p, int64 step_axis,
    const Size<DIM>& size
) {
    X x[DIM];
#pragma unroll
    for (int axis = 0; axis < DIM; ++axis) {
        const int64 pixels = size.pixels[axis];
        const X g = grid[n * step_n + p * step_p + axis * step_axis];
        x[axis] = from_centre(g * units_to_pixels<X>(pixels, ALIGN_CORNERS), pixels);
    }
    return locate<MODE, PADDING, ALIGN_CORNERS>(x, size);
}

// Target pixel p, in pixels from the middle of the output.
template <typename X> struct Target {
    X x, y;

    __device__ Target(int64 p, int64 H_out, int64 W_out) {
        const int64 row = quotient(p, W_out);
        x = X(p - row * W_out) - X(W_out - 1) / 2;
        y = X(row) - X(H_out - 1) / 2;
    }
};

// The same point through an affine map, eq. (1), without a grid. A (2, 3) counts in pixels from
// the middles of both images.
template <Padding PADDING, bool ALIGN_CORNERS, typename X>
__device__ Point<X, 2, LINEAR> from_affine(
    const X* A, const Target<X>& target, const Size<2>& size
) {
    X x[2];
#pragma unroll
    for (int axis = 0; axis < 2; ++axis) {
        const X* row = A + 3 * axis;
        x[axis] = from_centre(
            row[0] * target.x + row[1] * target.y + row[2], size.pixels[axis]
        );
    }
    return locate<LINEAR, PADDING, ALIGN_CORNERS>(x, size);
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
            sum += A(tap.weight) * read<AXIS - 1>(U, point, step(offset, tap.offset), outside);
        }
        return sum;
    }
}

// ------------------------------------------------------------------ eq. (7)

template <typename A, int N> struct Slopes {
    A value;
    A along[N + 1];  // along x, y, ...; one more, for there are no arrays of length 0
};

// V and dV/dx, dV/dy, ...: along an axis by k', along the others by k.
template <int AXIS, typename T, typename A, typename X, int DIM, Mode MODE>
__device__ __forceinline__ Slopes<A, AXIS + 1> read_slopes(
    const T* U, const Point<X, DIM, MODE>& point, int64 offset, A outside
) {
    Slopes<A, AXIS + 1> sum = {};
    if constexpr (AXIS < 0) {
        sum.value = pixel(U, offset, outside);
    } else {
#pragma unroll TAPS_AT_ONCE<MODE, AXIS>
        for (int j = 0; j < MODE; ++j) {
            const Tap<X> tap = point.axis[AXIS][j];
            const auto inner =
                read_slopes<AXIS - 1>(U, point, step(offset, tap.offset), outside);
            sum.value += A(tap.weight) * inner.value;
            sum.along[AXIS] += A(tap.slope) * inner.value;
            for (int other = 0; other < AXIS; ++other) {
                sum.along[other] += A(tap.weight) * inner.along[other];
            }
        }
    }
    return sum;
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
