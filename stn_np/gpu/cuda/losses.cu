// Softmax and cross-entropy of layers/losses.py: an item is a row of logits (rows, K).
//
//   losses   (rows,) of each row
//   dz       (rows, K) the gradient of its own loss
//
// A label that is out of range makes its row NaN: nobody waits for a GPU to tell.
#include "launcher.cuh"

template <typename T>
__global__ void cross_entropy(
    int64 items, const T* __restrict__ z, const int64* __restrict__ labels, T* __restrict__ losses,
    T* __restrict__ dz, int64 K, double epsilon
) {
    FOR_EACH_ITEM(row, items) {
        const T* in = z + row * K;
        T* out = dz + row * K;
        const int64 label = labels[row];
        const bool known = label >= 0 && label < K;
        T largest = K > 0 ? in[0] : T(0);
        for (int64 k = 1; k < K; ++k) {
            if (in[k] > largest) largest = in[k];  // so that exp cannot overflow
        }
        T sum = 0, mean = 0;
        for (int64 k = 0; k < K; ++k) {
            sum += out[k] = exp(in[k] - largest);
            mean += (in[k] - largest) / T(K);
        }
        const T poison = known ? T(0) : T(0) / T(0);
        const T certain = T(1 - epsilon), shared = K > 0 ? T(epsilon / double(K)) : T(0);
        T target = known ? in[label] - largest : poison;
        if (epsilon > 0) target = certain * target + T(epsilon) * mean;
        losses[row] = log(sum) - target;
        for (int64 k = 0; k < K; ++k) {
            out[k] = out[k] / sum - (k == label ? certain + shared : shared) + poison;
        }
    }
}
