// Maxima and means over k x k windows that begin every `step` pixels.
//
// What these kernels write lies in memory as (C, H, W, N). What they read from outside (x, dy)
// comes with the strides of its axes N, C, H, W, in elements.
//
// One item is a place (c, row, column) and every lanes-th image of the batch there: finding out
// where an item is takes longer than the few numbers of one image that are to be moved.
//
// A window that sticks out of the image has the pixels that lie inside.

#include "launcher.cuh"

using uint8 = unsigned char;

struct Place {
    int64 c, row, column, lane;
};

__device__ __forceinline__ Place place_of(int64 item, int64 rows, int64 columns, int64 lanes) {
    const int64 c_row_column = quotient(item, lanes), c_row = quotient(c_row_column, columns);
    const int64 c = quotient(c_row, rows);
    return {c, c_row - c * rows, c_row_column - c_row * columns, item - c_row_column * lanes};
}

// For each window its maximum, and which pixel that is: v k + u for the one in row u, column v.
// Column by column, and only what is larger takes over: of equals it is the uppermost in the
// leftmost column. A NaN is larger than every number.
//
// K is k, or 0 for any. If it is known, all pixels of a window are under way at once; one that lies
// outside is then read as the last one inside, which does not take over from itself.
template <typename T, typename Index, int K>
__global__ void max_forward(int64 n, const T* __restrict__ x, T* __restrict__ y,
                            Index* __restrict__ largest, int64 x_N, int64 x_C, int64 x_H, int64 x_W,
                            int64 N, int64 H, int64 W, int64 H_out, int64 W_out, int64 k,
                            int64 step, int64 lanes) {
    FOR_EACH_ITEM(item, n) {
        const Place at = place_of(item, H_out, W_out, lanes);
        const int64 top = at.row * step, left = at.column * step;
        const int64 rows = smaller(k, H - top), columns = smaller(k, W - left);
        const T* corner = x + at.c * x_C + top * x_H + left * x_W;
        const int64 window = ((at.c * H_out + at.row) * W_out + at.column) * N;
        for (int64 image = at.lane; image < N; image += lanes) {
            const T* pixels = corner + image * x_N;
            typename Wide<T>::type maximum = *pixels;
            int64 where = 0;
            for (int64 v = 0; v < (K ? K : columns); ++v)
                for (int64 u = 0; u < (K ? K : rows); ++u) {
                    const int64 inside = smaller(u, rows - 1) * x_H + smaller(v, columns - 1) * x_W;
                    const typename Wide<T>::type value = pixels[inside];
                    const bool larger = value > maximum || (value != value && maximum == maximum);
                    maximum = larger ? value : maximum;
                    where = larger ? v * k + u : where;
                }
            y[window + image] = maximum;
            largest[window + image] = static_cast<Index>(where);
        }
    }
}

// Each pixel collects, in a fixed order, from the windows whose largest it was. With ONE, windows
// do not overlap, and only the last that begins before a pixel can contain it.
template <typename T, typename Index, bool ONE>
__global__ void max_backward(int64 n, const T* __restrict__ dy, T* __restrict__ dx,
                             const Index* __restrict__ largest, int64 dy_N, int64 dy_C, int64 dy_H,
                             int64 dy_W, int64 N, int64 H, int64 W, int64 H_out, int64 W_out,
                             int64 k, int64 step, int64 lanes) {
    using Sum = typename Wide<T>::type;
    FOR_EACH_ITEM(item, n) {
        const Place at = place_of(item, H, W, lanes);
        const int64 last_i = smaller(quotient(at.row, step), H_out - 1);
        const int64 last_j = smaller(quotient(at.column, step), W_out - 1);
        const int64 first_i = ONE ? last_i : 0, first_j = ONE ? last_j : 0;
        const int64 pixel = ((at.c * H + at.row) * W + at.column) * N;
        for (int64 image = at.lane; image < N; image += lanes) {
            Sum sum = 0;
            for (int64 i = last_i; i >= first_i && at.row - i * step < k; --i)
                for (int64 j = last_j; j >= first_j && at.column - j * step < k; --j) {
                    const int64 here = (at.column - j * step) * k + at.row - i * step;
                    const Sum value = dy[at.c * dy_C + i * dy_H + j * dy_W + image * dy_N];
                    const int64 there = largest[((at.c * H_out + i) * W_out + j) * N + image];
                    sum += here == there ? value : Sum(0);
                }
            dx[pixel + image] = sum;
        }
    }
}

template <typename T>
__global__ void average_forward(int64 n, const T* __restrict__ x, T* __restrict__ y, int64 x_N,
                                int64 x_C, int64 x_H, int64 x_W, int64 N, int64 H, int64 W,
                                int64 H_out, int64 W_out, int64 k, int64 step, int64 lanes) {
    using Sum = typename Wide<T>::type;
    FOR_EACH_ITEM(item, n) {
        const Place at = place_of(item, H_out, W_out, lanes);
        const int64 top = at.row * step, left = at.column * step;
        const int64 rows = smaller(k, H - top), columns = smaller(k, W - left);
        const T* corner = x + at.c * x_C + top * x_H + left * x_W;
        const Sum pixels = static_cast<Sum>(rows * columns);
        const int64 window = ((at.c * H_out + at.row) * W_out + at.column) * N;
        for (int64 image = at.lane; image < N; image += lanes) {
            Sum sum = 0;
            for (int64 u = 0; u < rows; ++u)
                for (int64 v = 0; v < columns; ++v)
                    sum += corner[u * x_H + v * x_W + image * x_N];
            y[window + image] = sum / pixels;
        }
    }
}

template <typename T>
__global__ void average_backward(int64 n, const T* __restrict__ dy, T* __restrict__ dx, int64 dy_N,
                                 int64 dy_C, int64 dy_H, int64 dy_W, int64 N, int64 H, int64 W,
                                 int64 H_out, int64 W_out, int64 k, int64 step, int64 lanes) {
    using Sum = typename Wide<T>::type;
    FOR_EACH_ITEM(item, n) {
        const Place at = place_of(item, H, W, lanes);
        const int64 last_i = smaller(quotient(at.row, step), H_out - 1);
        const int64 last_j = smaller(quotient(at.column, step), W_out - 1);
        const int64 pixel = ((at.c * H + at.row) * W + at.column) * N;
        for (int64 image = at.lane; image < N; image += lanes) {
            Sum sum = 0;
            for (int64 i = last_i; i >= 0 && at.row - i * step < k; --i)
                for (int64 j = last_j; j >= 0 && at.column - j * step < k; --j) {
                    const int64 pixels = smaller(k, H - i * step) * smaller(k, W - j * step);
                    const Sum value = dy[at.c * dy_C + i * dy_H + j * dy_W + image * dy_N];
                    sum += value / static_cast<Sum>(pixels);
                }
            dx[pixel + image] = sum;
        }
    }
}
