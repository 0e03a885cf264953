// The sampler: V, eq. (3), and its gradients, eqs (6) and (7), through a grid or an affine map.
//
//   U       (N or 1, C, [D,] H, W) contiguous; U_step: from image to image, 0 if all share one
//   points  a grid or matrices, with three numbers: see Source in points.cuh
//   V       (N, C, P) contiguous, P points; likewise dV
//
// Work items are numbered so that neighbouring threads have neighbouring points: what they read and
// write then lies together.
#include "points.cuh"

// Eq. (3), by `read` of points.cuh. An item is a point in so many channels; where it lies is worked
// out once for them.
template <typename T, typename Source, Mode MODE, Padding PADDING, bool ALIGN_CORNERS>
__global__ void forward(
    int64 items, const T* __restrict__ U, const typename Source::X* __restrict__ points,
    T* __restrict__ V, int64 C, int64 D, int64 H, int64 W, int64 P, int64 U_step, int64 step_n,
    int64 second, int64 third, int64 patches, int64 channels, double outside
) {
    using A = typename Wide<T>::type;
    constexpr int DIM = Source::DIM;
    const Source source{points, step_n, second, third};
    const Size<DIM> size(D, H, W);
    const int64 plane = size.plane();
    const Order order(P, patches);
    FOR_EACH_ITEM(i, items) {
        const Item item(i, order.places, C, channels);
        const int64 p = order.point(item.p);
        if (p == OUTSIDE) continue;
        const auto point = locate<MODE, PADDING, ALIGN_CORNERS>(source, item.n, p, size);
        const T* image = U + item.n * U_step;
        T* out = V + item.n * C * P + p;
#pragma unroll CHANNELS_AT_ONCE<MODE, DIM>
        for (int64 c = item.c_begin; c < item.c_end; ++c) {
            out[c * P] = T(read<DIM - 1>(image + c * plane, point, 0, A(outside)));
        }
    }
}

// Eq. (7) for a grid. An item is a point. dgrid is (N, DIM, P).
template <typename T, typename Source, Mode MODE, Padding PADDING, bool ALIGN_CORNERS>
__global__ void backward_grid(
    int64 items, const T* __restrict__ U, const typename Source::X* __restrict__ points,
    const T* __restrict__ dV, typename Source::X* __restrict__ dgrid, int64 C, int64 D, int64 H,
    int64 W, int64 P, int64 U_step, int64 step_n, int64 second, int64 third, int64 patches,
    double outside
) {
    using A = typename Wide<T>::type;
    using X = typename Source::X;
    constexpr int DIM = Source::DIM;
    const Source source{points, step_n, second, third};
    const Size<DIM> size(D, H, W);
    const Order order(P, patches);
    FOR_EACH_ITEM(i, items) {
        const int64 n = quotient(i, order.places), p = order.point(i - n * order.places);
        if (p == OUTSIDE) continue;
        const auto point = locate<MODE, PADDING, ALIGN_CORNERS>(source, n, p, size);
        A dx[DIM] = {};
        back_to_point(
            U + n * U_step, dV + n * C * P + p, point, C, size.plane(), P, A(outside), dx
        );
        for (int axis = 0; axis < DIM; ++axis) {
            const X unit = pixels_per_unit<X>(size.pixels[axis], ALIGN_CORNERS);
            dgrid[(n * DIM + axis) * P + p] = X(dx[axis] * A(unit));
        }
    }
}

// Eq. (7) and the transpose of eq. (1): dL/dA of affine maps. An item is one of `strips` threads
// that share the points of an image: it takes every strips-th one, in their order, so that
// neighbouring threads read neighbouring points. What each finds goes to dA (N, 6, strips), to be
// summed up afterwards: no two add to one place.
template <typename T, typename Source, Mode MODE, Padding PADDING, bool ALIGN_CORNERS>
__global__ void backward_matrix(
    int64 items, const T* __restrict__ U, const typename Source::X* __restrict__ points,
    const T* __restrict__ dV, typename Wide<T>::type* __restrict__ dA, int64 C, int64 D, int64 H,
    int64 W, int64 P, int64 U_step, int64 step_n, int64 second, int64 third, int64 strips,
    double outside
) {
    using A = typename Wide<T>::type;
    const Source source{points, step_n, second, third};
    const Size<2> size(D, H, W);
    const int64 plane = size.plane();
    FOR_EACH_ITEM(i, items) {
        const int64 n = quotient(i, strips), strip = i - n * strips;
        const T* image = U + n * U_step;
        A sum[6] = {};
        for (int64 p = strip; p < P; p += strips) {
            const auto target = source.target(p);
            const auto point = locate<MODE, PADDING, ALIGN_CORNERS>(source, n, p, size);
            A dx[2] = {};
            back_to_point(image, dV + n * C * P + p, point, C, plane, P, A(outside), dx);
            for (int axis = 0; axis < 2; ++axis) {
                sum[3 * axis] = fused(dx[axis], A(target.x), sum[3 * axis]);
                sum[3 * axis + 1] = fused(dx[axis], A(target.y), sum[3 * axis + 1]);
                sum[3 * axis + 2] += dx[axis];
            }
        }
        for (int entry = 0; entry < 6; ++entry) dA[(n * 6 + entry) * strips + strip] = sum[entry];
    }
}

// Eq. (6) by atomic additions into dU, which starts at 0: their order, and so the last bits, change
// from run to run. The other way is in transpose.cu. The bounds make room for two blocks at a time.
template <typename T, typename Source, Mode MODE, Padding PADDING, bool ALIGN_CORNERS>
__global__ void __launch_bounds__(256, 2) backward_image_atomic(
    int64 items, const typename Source::X* __restrict__ points, const T* __restrict__ dV,
    typename Wide<T>::type* __restrict__ dU, int64 C, int64 D, int64 H, int64 W, int64 P,
    int64 U_step, int64 step_n, int64 second, int64 third, int64 patches, int64 channels
) {
    using A = typename Wide<T>::type;
    const Source source{points, step_n, second, third};
    const Size<Source::DIM> size(D, H, W);
    const int64 plane = size.plane();
    const Order order(P, patches);
    FOR_EACH_ITEM(i, items) {
        const Item item(i, order.places, C, channels);
        const int64 p = order.point(item.p);
        if (p == OUTSIDE) continue;
        const auto point = locate<MODE, PADDING, ALIGN_CORNERS>(source, item.n, p, size);
        A* image = dU + item.n * U_step;
        const T* upstream = dV + item.n * C * P + p;
        for (int64 c = item.c_begin; c < item.c_end; ++c) {
            const A dv = A(upstream[c * P]);
            spread<Source::DIM - 1>(point, 0, A(1), 0, [&](int64 offset, A weight, int) {
                atomicAdd(image + c * plane + offset, weight * dv);
            });
        }
    }
}
