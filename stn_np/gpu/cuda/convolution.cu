// Unfolding of images for a convolution, and its transpose.
//
// Images lie in memory as (C, H, W, N), with their padding. What the kernel's pixel (u, v) of
// channel c sees of them, at all places (i, j) that the kernel takes, is one line of the columns:
//
//     columns[(c, u, v), (i, j, n)] = x[c, i down + u, j across + v, n]       (C kh kw, H' W' N)
//
// In both, (j, n) runs along one row without a gap, W N numbers long here and W' N there, and a
// step to the next v is a step of N. So with steps of one pixel images and pixels need not be told
// apart, and neighbouring threads take neighbouring numbers whatever N is.
//
// A piece of the columns holds the places first to first + length - 1 of the H' W' N.

#include "launcher.cuh"

// One item is (c, u) at one place: it copies the kw lines of that kernel row.
template <typename T>
__global__ void unfold(int64 n, const T* __restrict__ x, T* __restrict__ columns, int64 N, int64 H,
                       int64 W, int64 kh, int64 kw, int64 down, int64 across, int64 first,
                       int64 length) {
    const int64 row = W * N, row_out = (quotient(W - kw, across) + 1) * N;
    FOR_EACH_ITEM(item, n) {
        const int64 cu = quotient(item, length), place = item - cu * length;
        const int64 c = quotient(cu, kh), u = cu - c * kh;
        const int64 i = quotient(first + place, row_out), jn = first + place - i * row_out;
        const int64 skipped = across == 1 ? 0 : quotient(jn, N) * (across - 1) * N;
        const T* from = x + (c * H + i * down + u) * row + jn + skipped;
        T* to = columns + cu * kw * length + place;
        for (int64 v = 0; v < kw; ++v) to[v * length] = from[v * N];
    }
}

// One item is one pixel of dx, in image rows first_row to first_row + rows - 1: it collects its
// entries in a fixed order. What one of several pieces gives is added to dx, a whole is written.
template <typename T, bool PIECE>
__global__ void fold(int64 n, const T* __restrict__ dcolumns, T* __restrict__ dx, int64 N, int64 H,
                     int64 W, int64 kh, int64 kw, int64 down, int64 across, int64 first,
                     int64 length, int64 first_row, int64 rows) {
    const int64 H_out = quotient(H - kh, down) + 1, W_out = quotient(W - kw, across) + 1;
    const int64 row = W * N;
    FOR_EACH_ITEM(item, n) {
        const int64 line = quotient(item, row), jn = item - line * row;
        const int64 c = quotient(line, rows), r = first_row + line - c * rows;
        const int64 column = quotient(jn, N), image = jn - column * N;
        // The kernel lay on this pixel with its pixels (u, v): at the last such place (i, j) with
        // the first of them, and one place before with the one that is a step further on.
        const int64 last_i = smaller(quotient(r, down), H_out - 1);
        const int64 last_j = smaller(quotient(column, across), W_out - 1);
        const int64 u_to = smaller(kh, r + 1), v_to = smaller(kw, column + 1);
        typename Wide<T>::type sum = 0;
        for (int64 i = last_i, u = r - i * down; u < u_to; --i, u += down)
            for (int64 j = last_j, v = column - j * across; v < v_to; --j, v += across) {
                const int64 place = (i * W_out + j) * N + image - first;
                if (!PIECE || (0 <= place && place < length))
                    sum += dcolumns[((c * kh + u) * kw + v) * length + place];
            }
        T* to = dx + (c * H + r) * row + jn;
        *to = PIECE ? *to + sum : sum;
    }
}
