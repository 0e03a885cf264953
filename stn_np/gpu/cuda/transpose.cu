// Eq. (6) without atomic additions: the same bits in every run, and no zeros to begin with.
//
// Eq. (3) is a sparse matrix S, V = S U, whose row for a point has an entry for each pixel that the
// point reads. dU = S^T dV. The transpose is built row by row: how many entries has each pixel
// (`count`); where in one long list do they begin (a running sum, in Python); which are they
// (`fill`). Threads fill a row in whatever order they come, so each row is then put in order
// (`sort_rows`). All this is done once for all channels. Then each pixel adds up its entries
// (`gather`).
//
//   rows     the pixels of all images: (N or 1) H W, or times D; row_step: from image to image
//   ends     (rows,) before `fill`, where each row begins in the list; afterwards, where it ends
//   keys     (entries,) (where the point's dV lies in channel 0) TAPS + number of the tap
//   weights  (entries,)
//
// Of integers atomic additions are harmless: the sum is the same in any order.
//
// `fill` finds what `count` found, for both locate points by the same arithmetic. Should it ever
// find more, the result is wrong, but nothing is read or written beyond the `entries` of the lists.
#include "points.cuh"

__device__ constexpr int power(int base, int exponent) {
    return exponent ? base * power(base, exponent - 1) : 1;
}

// The entries of a row.
struct Row {
    int64 begin, end;

    __device__ Row(const int64* ends, int64 row, int64 entries) {
        begin = row ? ends[row - 1] : 0;
        end = ends[row] < entries ? ends[row] : entries;
    }
};

__device__ __forceinline__ int64 add_one(int64* x) {
    return int64(atomicAdd(reinterpret_cast<unsigned long long*>(x), 1ull));
}

template <typename Source, Mode MODE, Padding PADDING, bool ALIGN_CORNERS>
__global__ void count(
    int64 items, const typename Source::X* __restrict__ points, int64* __restrict__ counts,
    int64 D, int64 H, int64 W, int64 P, int64 row_step, int64 step_n, int64 second, int64 third,
    int64 patches
) {
    using X = typename Source::X;
    const Source source{points, step_n, second, third};
    const Size<Source::DIM> size(D, H, W);
    const Order order(P, patches);
    FOR_EACH_ITEM(i, items) {
        const int64 n = quotient(i, order.places), p = order.point(i - n * order.places);
        if (p == OUTSIDE) continue;
        const auto point = locate<MODE, PADDING, ALIGN_CORNERS>(source, n, p, size);
        spread<Source::DIM - 1>(point, 0, X(1), 0, [&](int64 offset, X, int) {
            add_one(counts + n * row_step + offset);
        });
    }
}

template <typename A, typename Source, Mode MODE, Padding PADDING, bool ALIGN_CORNERS>
__global__ void fill(
    int64 items, const typename Source::X* __restrict__ points, int64* __restrict__ ends,
    int64* __restrict__ keys, A* __restrict__ weights, int64 entries, int64 C, int64 D, int64 H,
    int64 W, int64 P, int64 row_step, int64 step_n, int64 second, int64 third, int64 patches
) {
    constexpr int TAPS = power(MODE, Source::DIM);
    const Source source{points, step_n, second, third};
    const Size<Source::DIM> size(D, H, W);
    const Order order(P, patches);
    FOR_EACH_ITEM(i, items) {
        const int64 n = quotient(i, order.places), p = order.point(i - n * order.places);
        if (p == OUTSIDE) continue;
        const auto point = locate<MODE, PADDING, ALIGN_CORNERS>(source, n, p, size);
        spread<Source::DIM - 1>(point, 0, A(1), 0, [&](int64 offset, A weight, int tap) {
            const int64 slot = add_one(ends + n * row_step + offset);
            if (slot >= entries) return;
            keys[slot] = (n * C * P + p) * TAPS + tap;
            weights[slot] = weight;
        });
    }
}

// An item is a row. Shell's method: short lists are the rule, for which it is insertion; and the
// thousands of entries that a pixel gets when a whole grid falls on it take no n^2 steps.
template <typename A>
__global__ void sort_rows(
    int64 items, const int64* __restrict__ ends, int64* __restrict__ keys, A* __restrict__ weights,
    int64 entries
) {
    FOR_EACH_ITEM(i, items) {
        const Row row(ends, i, entries);
        int64 gap = 1;
        while (gap < (row.end - row.begin) / 3) gap = 3 * gap + 1;
        for (; gap > 0; gap /= 3) {
            for (int64 k = row.begin + gap; k < row.end; ++k) {
                const int64 key = keys[k];
                const A weight = weights[k];
                int64 j = k;
                for (; j - gap >= row.begin && keys[j - gap] > key; j -= gap) {
                    keys[j] = keys[j - gap];
                    weights[j] = weights[j - gap];
                }
                keys[j] = key;
                weights[j] = weight;
            }
        }
    }
}

// dU = S^T dV. An item is a pixel in so many channels, which it takes AT_ONCE at a time: an entry is
// read once for them.
template <typename T, int TAPS, int AT_ONCE>
__global__ void gather(
    int64 items, const int64* __restrict__ ends, const int64* __restrict__ keys,
    const typename Wide<T>::type* __restrict__ weights, const T* __restrict__ dV,
    T* __restrict__ dU, int64 entries, int64 C, int64 plane, int64 P, int64 patches, int64 channels
) {
    using A = typename Wide<T>::type;
    const Order order(plane, patches);
    FOR_EACH_ITEM(i, items) {
        const Item item(i, order.places, C, channels);
        const int64 pixel = order.point(item.p);
        if (pixel == OUTSIDE) continue;
        const Row row(ends, item.n * plane + pixel, entries);
        T* out = dU + item.n * C * plane + pixel;
        for (int64 c = item.c_begin; c < item.c_end; c += AT_ONCE) {
            const int channels_here = int(smaller(AT_ONCE, item.c_end - c));
            A sum[AT_ONCE] = {};
            for (int64 entry = row.begin; entry < row.end; ++entry) {
                const T* upstream = dV + (keys[entry] / TAPS + c * P);
                const A weight = weights[entry];
#pragma unroll
                for (int b = 0; b < AT_ONCE; ++b, upstream += P) {
                    if (b < channels_here) sum[b] = fused(weight, A(*upstream), sum[b]);
                }
            }
#pragma unroll
            for (int b = 0; b < AT_ONCE; ++b) {
                if (b < channels_here) out[(c + b) * plane] = T(sum[b]);
            }
        }
    }
}
