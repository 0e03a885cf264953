// The sampler through a grid: V, eq. (3), and its gradients, eqs (6) and (7).
//
//   U     (N or 1, C, [D,] H, W) contiguous; U_step: from image to image, 0 if all share one
//   grid  any order of axes: grid[n step_n + p step_p + axis step_axis]; axis 0 is x
//   V     (N, C, P) contiguous, P points; likewise dV
//
// Work items are numbered so that neighbouring threads have neighbouring points: what they read and
// write then lies together.
#include "points.cuh"

// Eq. (3). An item is a point in so many channels; where it lies is worked out once for them.
template <typename T, typename X, int DIM, Mode MODE, Padding PADDING, bool ALIGN_CORNERS>
__global__ void forward(
    int64 items, const T* __restrict__ U, const X* __restrict__ grid, T* __restrict__ V, int64 C,
    int64 D, int64 H, int64 W, int64 P, int64 U_step, int64 step_n, int64 step_p, int64 step_axis,
    int64 channels, double outside
) {
    using A = typename Wide<T>::type;
    const Size<DIM> size(D, H, W);
    const int64 plane = size.plane();
    FOR_EACH_ITEM(i, items) {
        const Item item(i, P, C, channels);
        const auto point = from_grid<MODE, PADDING, ALIGN_CORNERS, DIM>(
            grid, item.n, item.p, step_n, step_p, step_axis, size
        );
        const T* image = U + item.n * U_step;
        T* out = V + item.n * C * P + item.p;
#pragma unroll CHANNELS_AT_ONCE<MODE, DIM>
        for (int64 c = item.c_begin; c < item.c_end; ++c) {
            out[c * P] = T(read<DIM - 1>(image + c * plane, point, 0, A(outside)));
        }
    }
}

// Eq. (7), summed over the channels in their order. An item is a point. dgrid is (N, DIM, P).
template <typename T, typename X, int DIM, Mode MODE, Padding PADDING, bool ALIGN_CORNERS>
__global__ void backward_grid(
    int64 items, const T* __restrict__ U, const X* __restrict__ grid, const T* __restrict__ dV,
    X* __restrict__ dgrid, int64 C, int64 D, int64 H, int64 W, int64 P, int64 U_step,
    int64 step_n, int64 step_p, int64 step_axis, double outside
) {
    using A = typename Wide<T>::type;
    const Size<DIM> size(D, H, W);
    const int64 plane = size.plane();
    FOR_EACH_ITEM(i, items) {
        const int64 n = quotient(i, P), p = i - n * P;
        const auto point = from_grid<MODE, PADDING, ALIGN_CORNERS, DIM>(
            grid, n, p, step_n, step_p, step_axis, size
        );
        const T* image = U + n * U_step;
        const T* upstream = dV + n * C * P + p;
        A dx[DIM] = {};
#pragma unroll CHANNELS_AT_ONCE<MODE, DIM>
        for (int64 c = 0; c < C; ++c) {
            const auto slopes = read_slopes<DIM - 1>(image + c * plane, point, 0, A(outside));
            const A dv = A(upstream[c * P]);
            for (int axis = 0; axis < DIM; ++axis) dx[axis] += dv * slopes.along[axis];
        }
        for (int axis = 0; axis < DIM; ++axis) {
            const X unit = units_to_pixels<X>(size.pixels[axis], ALIGN_CORNERS);
            dgrid[(n * DIM + axis) * P + p] =
                X(dx[axis] * A(point.axis[axis].x_slope * unit));
        }
    }
}

// Eq. (6) by atomic additions into dU, which starts at 0: their order, and so the last bits, change
// from run to run. The other way is in transpose.cu.
template <typename T, typename X, int DIM, Mode MODE, Padding PADDING, bool ALIGN_CORNERS>
__global__ void backward_image_atomic(
    int64 items, const X* __restrict__ grid, const T* __restrict__ dV,
    typename Wide<T>::type* __restrict__ dU, int64 C, int64 D, int64 H, int64 W, int64 P,
    int64 U_step, int64 step_n, int64 step_p, int64 step_axis, int64 channels
) {
    using A = typename Wide<T>::type;
    const Size<DIM> size(D, H, W);
    const int64 plane = size.plane();
    FOR_EACH_ITEM(i, items) {
        const Item item(i, P, C, channels);
        const auto point = from_grid<MODE, PADDING, ALIGN_CORNERS, DIM>(
            grid, item.n, item.p, step_n, step_p, step_axis, size
        );
        A* image = dU + item.n * U_step;
        const T* upstream = dV + item.n * C * P + item.p;
        for (int64 c = item.c_begin; c < item.c_end; ++c) {
            const A dv = A(upstream[c * P]);
            spread<DIM - 1>(point, 0, A(1), 0, [&](int64 offset, A weight, int) {
                atomicAdd(image + c * plane + offset, weight * dv);
            });
        }
    }
}
