// The updates of training/optimizers.py, the same arithmetic in one pass: an item is a number of the
// parameters.
//
//   p, g      parameters and their gradient; b, m, v: the optimiser's state
//   numbers   what changes from step to step, in the GPU's memory, where a graph reads it anew
#include "launcher.cuh"

template <typename T>
__global__ void sgd(
    int64 items, T* __restrict__ p, const T* __restrict__ g, T* __restrict__ b,
    const float64* __restrict__ numbers, double momentum
) {
    const T share = T(momentum), lr = T(numbers[0]);
    FOR_EACH_ITEM(i, items) {
        b[i] = b[i] * share + g[i];
        p[i] -= b[i] * lr;
    }
}

template <typename T>
__global__ void adam(
    int64 items, T* __restrict__ p, const T* __restrict__ g, T* __restrict__ m, T* __restrict__ v,
    const float64* __restrict__ numbers, double beta_1, double beta_2
) {
    const T b1 = T(beta_1), b2 = T(beta_2), rest_1 = T(1 - beta_1), rest_2 = T(1 - beta_2);
    const T shrink = T(numbers[0]), eps = T(numbers[1]), rate = T(numbers[2]);
    FOR_EACH_ITEM(i, items) {
        m[i] = m[i] * b1 + g[i] * rest_1;
        v[i] = v[i] * b2 + g[i] * g[i] * rest_2;
        p[i] = p[i] * shrink - m[i] / (sqrt(v[i]) + eps) * rate;
    }
}
