// The sampler from an affine map straight to V and back: eqs (1), (5) to (7), and no grid in memory.
//
// U, V and dV as in sampler.cu; matrix (N or 1, 2, 3): eq. (1) counted in pixels from the middles of
// both images; matrix_step: from map to map, 0 if all share one.
#include "points.cuh"

template <typename T, typename X, Padding PADDING, bool ALIGN_CORNERS>
__global__ void affine_forward(
    int64 items, const T* __restrict__ U, const X* __restrict__ matrix, T* __restrict__ V,
    int64 C, int64 H, int64 W, int64 H_out, int64 W_out, int64 U_step, int64 matrix_step,
    int64 channels, double outside
) {
    using A = typename Wide<T>::type;
    const Size<2> size(1, H, W);
    const int64 plane = size.plane(), P = H_out * W_out;
    FOR_EACH_ITEM(i, items) {
        const Item item(i, P, C, channels);
        const auto point = from_affine<PADDING, ALIGN_CORNERS>(
            matrix + item.n * matrix_step, Target<X>(item.p, H_out, W_out), size
        );
        const T* image = U + item.n * U_step;
        T* out = V + item.n * C * P + item.p;
#pragma unroll CHANNELS_AT_ONCE<LINEAR, 2>
        for (int64 c = item.c_begin; c < item.c_end; ++c) {
            out[c * P] = T(read<1>(image + c * plane, point, 0, A(outside)));
        }
    }
}

// dL/dA. An item is one of `strips` threads that share the points of an image: it takes every
// strips-th one, in their order, so that neighbouring threads read neighbouring points. What each
// finds goes to dA (N, 6, strips), to be summed up afterwards: no two add to one place.
template <typename T, typename X, Padding PADDING, bool ALIGN_CORNERS>
__global__ void affine_backward_matrix(
    int64 items, const T* __restrict__ U, const X* __restrict__ matrix,
    const T* __restrict__ dV, typename Wide<T>::type* __restrict__ dA, int64 C, int64 H, int64 W,
    int64 H_out, int64 W_out, int64 U_step, int64 matrix_step, int64 strips, double outside
) {
    using A = typename Wide<T>::type;
    const Size<2> size(1, H, W);
    const int64 plane = size.plane(), P = H_out * W_out;
    FOR_EACH_ITEM(i, items) {
        const int64 n = quotient(i, strips), strip = i - n * strips;
        const T* image = U + n * U_step;
        A sum[6] = {};
        for (int64 p = strip; p < P; p += strips) {
            const Target<X> target(p, H_out, W_out);
            const auto point =
                from_affine<PADDING, ALIGN_CORNERS>(matrix + n * matrix_step, target, size);
            const T* upstream = dV + n * C * P + p;
            A dx[2] = {};
#pragma unroll CHANNELS_AT_ONCE<LINEAR, 2>
            for (int64 c = 0; c < C; ++c) {
                const auto slopes = read_slopes<1>(image + c * plane, point, 0, A(outside));
                const A dv = A(upstream[c * P]);
                dx[0] += dv * slopes.along[0];
                dx[1] += dv * slopes.along[1];
            }
            for (int axis = 0; axis < 2; ++axis) {
                const A d = dx[axis] * A(point.axis[axis].x_slope);
                sum[3 * axis] += d * A(target.x);
                sum[3 * axis + 1] += d * A(target.y);
                sum[3 * axis + 2] += d;
            }
        }
        for (int entry = 0; entry < 6; ++entry) dA[(n * 6 + entry) * strips + strip] = sum[entry];
    }
}

// Eq. (6) by atomic additions, as in sampler.cu.
template <typename T, typename X, Padding PADDING, bool ALIGN_CORNERS>
__global__ void affine_backward_image_atomic(
    int64 items, const X* __restrict__ matrix, const T* __restrict__ dV,
    typename Wide<T>::type* __restrict__ dU, int64 C, int64 H, int64 W, int64 H_out, int64 W_out,
    int64 U_step, int64 matrix_step, int64 channels
) {
    using A = typename Wide<T>::type;
    const Size<2> size(1, H, W);
    const int64 plane = size.plane(), P = H_out * W_out;
    FOR_EACH_ITEM(i, items) {
        const Item item(i, P, C, channels);
        const auto point = from_affine<PADDING, ALIGN_CORNERS>(
            matrix + item.n * matrix_step, Target<X>(item.p, H_out, W_out), size
        );
        A* image = dU + item.n * U_step;
        const T* upstream = dV + item.n * C * P + item.p;
        for (int64 c = item.c_begin; c < item.c_end; ++c) {
            const A dv = A(upstream[c * P]);
            spread<1>(point, 0, A(1), 0, [&](int64 offset, A weight, int) {
                atomicAdd(image + c * plane + offset, weight * dv);
            });
        }
    }
}
