// Eq. (6) for affine maps, from the image's side: each pixel looks for the points that read it.
//
// Nothing is listed, counted or sorted, and nothing is added into shared places. It takes bilinear
// sampling, and one constant outside the image. Then the readers of pixel m are points t with
//
//     |x - m_x| <= 1  and  |y - m_y| <= 1,      (x, y) = A t, eq. (1)
//
// a parallelogram. `bound` works out once for every map in which rows and columns it lies, with
// room for rounding. `gather_affine` goes through them, row by row, and asks of each point what
// eq. (3) asks, in the same arithmetic. So too wide a bound costs time and nothing else. What is
// not finite bounds nothing: fmin and fmax return the other number.
//
//   matrix  (N or 1, 2, 3), in pixels from the middles of both images
//   bounds  (N or 1, 10), see Bounds
#include "points.cuh"

// Along x or y: a point of the middle column of row t_y lies k = A (0, t_y) - m from the pixel. The
// row has no readers if |k| > reach; else they lie in columns within `half` of -k inverse.
template <typename X> struct Strip {
    X reach, inverse, half;
};

// Rows with readers of a pixel m lie within `half` of across m_x + down m_y + shift. Everything is
// counted from the middle of its image.
template <typename X> struct Bounds {
    X across, down, shift, half;
    Strip<X> strip[2];
};

// x / y, which is infinite for y = 0 (0 for 0 / 0): a division by 0 is not defined in C++.
__device__ __forceinline__ double divided(double x, double y) {
    return y == 0 ? x * 1e300 * 1e300 : x / y;
}

// An item is a map. In float64, whatever X is.
template <typename X>
__global__ void bound(
    int64 items, const X* __restrict__ matrix, X* __restrict__ bounds, int64 H, int64 W,
    int64 H_out, int64 W_out
) {
    const double rounding = sizeof(X) == 4 ? 1e-6 : 2e-15;  // of a few operations in X
    FOR_EACH_ITEM(i, items) {
        const X* A = matrix + 6 * i;
        Bounds<X>& to = reinterpret_cast<Bounds<X>*>(bounds)[i];
        double radius[2];
        for (int axis = 0; axis < 2; ++axis) {
            const double a = A[3 * axis], b = A[3 * axis + 1], c = A[3 * axis + 2];
            const double columns = fabs(a) * double(W_out), rows = fabs(b) * double(H_out);
            radius[axis] = 1 + rounding * (columns + rows + fabs(c) + double(axis ? H : W));
            to.strip[axis].reach = X(radius[axis] + columns / 2);
            to.strip[axis].inverse = X(divided(1, a));
            to.strip[axis].half = X(divided(radius[axis], fabs(a)) + rounding * double(W_out));
        }
        const double a = A[0], b = A[1], c = A[2], d = A[3], e = A[4], f = A[5];
        const double det = a * e - b * d;
        const double across = divided(-d, det), down = divided(a, det);
        const double shift = divided(d * c - a * f, det);
        // How far off the middle of the rows may be: by rounding in X, and because det is wrong.
        const double sizes = fabs(across) * (double(W) + fabs(c)) +
                             fabs(down) * (double(H) + fabs(f)) + double(H_out);
        const double wrong = divided(1e-15 * (fabs(a * e) + fabs(b * d)), fabs(det));
        const bool known = fabs(det) > 1e-290 && wrong < 1e-3;
        to.across = X(known ? across : 0);
        to.down = X(known ? down : 0);
        to.shift = X(known ? shift : 0);
        to.half = X(
            known ? (1 + wrong) * (fabs(down) * radius[1] + fabs(across) * radius[0]) +
                        (rounding + 2 * wrong) * sizes
                  : 1e38  // more rows than there are
        );
    }
}

// Whether a point at pixel coordinate x reads pixel m of an axis, and by which weight.
template <typename X> __device__ __forceinline__ bool reads(X x, X m, X& weight) {
    const X first = floor(x - X(0.5) * LINEAR) + 1, j = m - first;
    weight = k<LINEAR>(x - first - j);
    return j == 0 || j == 1;
}

// The rows or columns from `low` to `high`, counted from `middle`, of so many.
template <typename X> struct Range {
    int64 first, last;

    __device__ Range(X low, X high, X middle, int64 length) {
        first = int64(ceil(fmin(fmax(low + middle, X(0)), X(length))));
        last = int64(floor(fmax(fmin(high + middle, X(length)), X(-1))));
        last = smaller(last, length - 1);
    }
};

// An item is a pixel in so many channels, which it takes AT_ONCE at a time. `maps` share an image.
template <typename T, typename X, int AT_ONCE>
__global__ void gather_affine(
    int64 items, const X* __restrict__ points, const X* __restrict__ bounds,
    const T* __restrict__ dV, T* __restrict__ dU, int64 C, int64 H, int64 W, int64 P, int64 maps,
    int64 step_n, int64 H_out, int64 W_out, int64 patches, int64 channels
) {
    using A = typename Wide<T>::type;
    const AffineMap<X> source{points, step_n, H_out, W_out};
    const Order order(H * W, patches);
    const X middle_x = X(W_out - 1) / 2, middle_y = X(H_out - 1) / 2;
    FOR_EACH_ITEM(i, items) {
        const Item item(i, order.places, C, channels);
        const int64 pixel = order.point(item.p);
        if (pixel == OUTSIDE) continue;
        const int64 row = quotient(pixel, W);
        const X m_x = X(pixel - row * W), m_y = X(row);
        const X q_x = m_x - X(W - 1) / 2, q_y = m_y - X(H - 1) / 2;
        for (int64 c = item.c_begin; c < item.c_end; c += AT_ONCE) {
            const int channels_here = int(smaller(AT_ONCE, item.c_end - c));
            A sum[AT_ONCE] = {};
            for (int64 n = item.n * maps; n < (item.n + 1) * maps; ++n) {
                const int64 map = step_n ? n : 0;
                const Bounds<X> bound = reinterpret_cast<const Bounds<X>*>(bounds)[map];
                const X t_y = bound.across * q_x + bound.down * q_y + bound.shift;
                const Range<X> rows(t_y - bound.half, t_y + bound.half, middle_y, H_out);
                for (int64 r = rows.first; r <= rows.last; ++r) {
                    const X y = X(r) - middle_y;
                    X low = -middle_x, high = middle_x;
                    bool none = false;
                    const X q[2] = {q_x, q_y};
#pragma unroll
                    for (int axis = 0; axis < 2; ++axis) {
                        const X* a = points + n * step_n + 3 * axis;
                        const Strip<X> strip = bound.strip[axis];
                        const X k = a[1] * y + a[2] - q[axis];
                        none = none || !(fabs(k) <= strip.reach);
                        low = fmax(low, -k * strip.inverse - strip.half);
                        high = fmin(high, -k * strip.inverse + strip.half);
                    }
                    if (none) continue;
                    const Range<X> columns(low, high, middle_x, W_out);
                    const T* upstream = dV + (n * C + c) * P + r * W_out + columns.first;
                    for (int64 t = columns.first; t <= columns.last; ++t, ++upstream) {
                        X x[2], w_x, w_y;
                        source.map(n, {X(t) - middle_x, y}, x);
                        const bool x_reads = reads(from_centre(x[0], W), m_x, w_x);
                        const bool y_reads = reads(from_centre(x[1], H), m_y, w_y);
                        if (!x_reads || !y_reads) continue;
                        const A weight = A(w_y) * A(w_x);
#pragma unroll
                        for (int b = 0; b < AT_ONCE; ++b) {
                            if (b < channels_here) {
                                sum[b] = fused(weight, A(upstream[b * P]), sum[b]);
                            }
                        }
                    }
                }
            }
            T* out = dU + item.n * C * H * W + pixel;
#pragma unroll
            for (int b = 0; b < AT_ONCE; ++b) {
                if (b < channels_here) out[(c + b) * H * W] = T(sum[b]);
            }
        }
    }
}
