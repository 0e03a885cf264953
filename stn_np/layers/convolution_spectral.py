r"""Convolution as three matrix products, by the convolution theorem: for wide kernels, small maps.

A correlation of a map with a kernel, taken round the map's edges as if they met, is a product of
their spectra. A valid correlation is the part of it in which no window crosses an edge. With the
discrete Fourier transform at the frequencies (p, q), and a bar for the conjugate,

.. math::

    \hat x_{pq} = \sum_{i, j} x_{ij}\, e^{-2 \pi \mathrm i (p i / H + q j / W)}, \quad
    \hat y_{f} = \sum_c \overline{\hat w_{f c}}\, \hat x_{c}, \quad
    y_{ij} = \frac{1}{H W} \sum_{p, q} \hat y_{pq}\, e^{2 \pi \mathrm i (p i / H + q j / W)}

Maps are real, so frequencies come in conjugate pairs, and one of each pair tells all: K of H W
(52 of 100 at 10x10). In real numbers, with real and imaginary part one behind the other, this is ::

    X = D x       (2K, H W) @ (H W, C N)            spectra of the maps
    Y = S X       K times (2F, 2C) @ (2C, N)        S = [[Re w^, Im w^], [-Im w^, Re w^]]
    y = E Y       (H' W', 2K) @ (2K, F N)           back, only where no window crosses an edge

and the backward pass is the transposes of the three. For 7x7 kernels on 10x10 maps it takes 208
multiplications for each pair of channels instead of 784.

Errors are relative to an image's largest values, not to a window's: 5e-7 in float32, 3e-15 in
float64. A NaN or an infinity spreads over all of its image.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from stn_np.backend import Array

#: A direct product with F lines takes the time of one with so many more: on 176 shapes this tells
#: which way is quicker to within 10 % of the time in all but one (`benchmarks/convolution.py`).
THIN = 16
#: So many numbers may be kept for the backward pass, or as many as the direct way keeps.
MOST = 2**25


class Transforms(NamedTuple):
    """The matrices of one size of maps and kernels; K frequencies, (real, imaginary) parts."""

    of_map: Array  # D (2K, H W)
    of_kernel: Array  # (2K, kh kw)
    back: Array  # E (H' W', 2K)


@lru_cache(maxsize=8)
def transforms(H: int, W: int, kh: int, kw: int, dtype: np.dtype[Any]) -> Transforms:
    """D, its columns for pixels of a kernel, and E."""
    p, q = (axis.ravel() for axis in np.indices((H, W)))
    conjugate = (-p % H) * W + -q % W
    first = np.arange(H * W) <= conjugate  # of each conjugate pair
    itself = (np.arange(H * W) == conjugate)[first]
    p, q = p[first], q[first]

    def basis(height: int, width: int) -> Array:
        """(K, 2, pixels): cos and -sin of each frequency's phase at each pixel."""
        i, j = (axis.ravel() for axis in np.indices((height, width)))
        # Whole turns are taken off while the numbers are whole: the angles are exact to rounding.
        turns = (np.outer(p, i) % H) / H + (np.outer(q, j) % W) / W
        return np.stack([np.cos(2 * np.pi * turns), -np.sin(2 * np.pi * turns)], axis=1)

    # A pair counts twice; and what is there once for all, 1 / HW, is put into E.
    share = np.where(itself, 1, 2)[:, None, None] / (H * W)
    matrices = basis(H, W), basis(kh, kw), basis(H - kh + 1, W - kw + 1) * share
    D, D_w, E_T = (m.reshape(2 * len(p), -1).astype(dtype) for m in matrices)
    return Transforms(D, D_w, np.ascontiguousarray(E_T.T))


def pays(H: int, W: int, N: int, weight: Array) -> bool:
    """Whether `spectral` is the quicker way: a count of both ways' multiplications for an image."""
    F, C, kh, kw = weight.shape
    out, K2 = (H - kh + 1) * (W - kw + 1), H * W + 4  # 2K is at most that
    kept = K2 * (H * W + out + C * N + F * N + 2 * F * C)  # numbers: D, E, X, Y, S
    if kept > max(MOST, H * C * kw * (W - kw + 1) * N):  # than the direct way keeps
        return False
    by_spectra = K2 * (H * W * C + 2 * F * C + F * out + F * C * kh * kw / max(N, 1))
    return weight.dtype in (np.float32, np.float64) and by_spectra < (F + THIN) * C * kh * kw * out


def spectral(rows: Array, weight: Array, bias: Array, *, needs_dx: bool) -> Any:
    """Rows (H, C, W, N) to y (H', F, W', N); backward(dy) returns (dx or None, dweight, dbias).

    Stride 1, no padding. weight (F, C, kh, kw) and bias (F,) are of the dtype of rows.
    """
    (H, C, W, N), (F, _, kh, kw) = rows.shape, weight.shape
    H_out, W_out = H - kh + 1, W - kw + 1
    D, D_w, E = transforms(H, W, kh, kw, rows.dtype)
    K = len(D) // 2

    x = rows.transpose(0, 2, 1, 3).reshape(H * W, C * N)
    X = (D @ x).reshape(K, 2 * C, N)
    w = (D_w @ weight.transpose(2, 3, 0, 1).reshape(kh * kw, F * C)).reshape(K, 2, F, C)
    S = np.empty((K, 2, F, 2, C), rows.dtype)
    S[:, 0, :, 0] = S[:, 1, :, 1] = w[:, 0]
    S[:, 0, :, 1] = w[:, 1]
    S[:, 1, :, 0] = -w[:, 1]
    S_blocks = S.reshape(K, 2 * F, 2 * C)
    Y = (S_blocks @ X).reshape(2 * K, F * N)
    y = np.empty((H_out, F, W_out, N), rows.dtype)
    np.add((E @ Y).reshape(H_out, W_out, F, N).transpose(0, 2, 1, 3), bias[:, None, None], out=y)

    def backward(dy: Array) -> tuple[Array | None, Array, Array]:
        dbias = dy.sum(axis=(0, 2, 3))
        dy = dy.transpose(0, 2, 1, 3).reshape(H_out * W_out, F * N)
        dY = (E.T @ dy).reshape(K, 2 * F, N)

        # Each number of w stands twice in S.
        dS = (dY @ X.transpose(0, 2, 1)).reshape(K, 2, F, 2, C)
        dw = np.empty_like(w)
        np.add(dS[:, 0, :, 0], dS[:, 1, :, 1], out=dw[:, 0])
        np.subtract(dS[:, 0, :, 1], dS[:, 1, :, 0], out=dw[:, 1])
        dweight = (D_w.T @ dw.reshape(2 * K, F * C)).reshape(kh, kw, F, C).transpose(2, 3, 0, 1)
        if not needs_dx:
            return None, dweight, dbias

        dX = (S_blocks.transpose(0, 2, 1) @ dY).reshape(2 * K, C * N)
        dx = (D.T @ dX).reshape(H, W, C, N).transpose(0, 2, 1, 3)
        return np.ascontiguousarray(dx), dweight, dbias  # in the order of all feature maps

    return y, backward
