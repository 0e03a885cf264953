"""The spatial transformer: localisation net, grid generator and sampler (figure 2 of the paper)."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any, TypeAlias, cast

from stn_np.backend import Array, OptionalBackward
from stn_np.checks import check_array, check_sizes
from stn_np.module import Module, Training, apply
from stn_np.sampling import Linearised, Mode
from stn_np.sampling.affine_sample import warp
from stn_np.sampling.grid_sample import sample
from stn_np.sampling.rules import Rules
from stn_np.transforms import MatrixFamily, Transform

#: Pullback of a warp: takes dV, returns (dU or None, dtheta).
WarpBackward: TypeAlias = Callable[[Array], tuple[Array | None, Array]]


class SpatialTransformer(Module):
    """Warp each image by a transformation predicted from that image.

    Called as ``V, backward = transformer(U)`` with U (N, C, H, W) and V (N, C, H', W'), or with
    volumes (N, C, D, H, W) and V (N, C, D', H', W').

    Parameters
    ----------
    localisation : Module
        f_loc: U (N, C, H, W) to theta (N, transform.n_params).
    transform : Transform
        The grid generator, one of `stn_np.transforms`.
    out_shape : tuple of int, optional
        (H', W') or (D', H', W') of the output, in pixels; U's own by default.
    mode, padding_mode, padding_value, align_corners, grid_gradient, dU_method
        As in `stn_np.grid_sample`.

    Raises
    ------
    ValueError, TypeError
        For settings that `grid_sample` would refuse, or an out_shape of something else than
        positive whole numbers.

    Notes
    -----
    Let it begin at the identity: the localisation net's last layer with weights zero and the bias
    ``transform.identity`` (`stn_np.models.regression` makes such a layer). Where the whole grid
    lies outside the image, zero padding leaves no gradient to come back by: keep the net's learning
    rate small.

    **Convention.** The warp goes backward, from output to input; see `stn_np.affine_grid`.
    """

    def __init__(
        self,
        localisation: Module,
        transform: Transform,
        out_shape: tuple[int, ...] | None = None,
        *,
        mode: Mode = "bilinear",
        padding_mode: str = "zeros",
        padding_value: float = 0.0,
        align_corners: bool = True,
        grid_gradient: str | Linearised = "exact",
        dU_method: str = "deterministic",
    ) -> None:
        self.rules = Rules(
            mode, padding_mode, padding_value, align_corners, grid_gradient, dU_method
        )
        if not isinstance(localisation, Module):
            is_class = isinstance(localisation, type)
            got = f"the class {localisation.__name__}" if is_class else type(localisation).__name__
            raise TypeError(
                f"localisation: expected a Module, such as layers.Sequential(...), got {got}"
            )
        if not hasattr(transform, "n_params") or isinstance(transform, type):
            raise TypeError(
                "transform: expected an object such as stn_np.transforms.Affine(), "
                f"got {transform!r}"
            )
        self.n_dims: int = getattr(transform, "n_dims", 2)
        self.rules.kernels(self.n_dims)  # one for each axis, if there are several
        if out_shape is not None:
            out_shape = check_sizes("out_shape", out_shape, self.n_dims)
        self.localisation = localisation
        self.transform = transform
        self.out_shape = out_shape

    def _describe(self) -> str:
        """The settings that are not the usual ones."""
        usual = signature(SpatialTransformer).parameters
        chosen = {"out_shape": self.out_shape, "align_corners": None} | vars(self.rules)
        return ", ".join(f"{k}={v!r}" for k, v in chosen.items() if v != usual[k].default)

    def _children(self) -> dict[str, str]:
        transform = repr(self.transform)
        if type(self.transform).__repr__ is object.__repr__:  # a family of somebody's own
            transform = f"{type(self.transform).__name__}({self.transform.n_params} numbers)"
        return {"localisation": repr(self.localisation), "transform": transform}

    def theta(self, U: Array) -> Array:
        """The transformation that the localisation net predicts: (N, C, H, W) to (N, n_params)."""
        return self.localisation(U, needs_dx=False)[0]

    @property
    def align_corners(self) -> bool:
        """Which points of the image -1 and +1 are."""
        return self.rules.align_corners

    def __call__(
        self, U: Array, *, needs_dx: bool = True, mode: Training | None = None
    ) -> tuple[Array, OptionalBackward]:
        """U (N, C, H, W) to V (N, C, H', W'); backward(dV) returns dU, or None if not needed."""
        check_array("U", U, ("N", "C", *("D", "H", "W")[-self.n_dims :]))
        out_shape: Any = self.out_shape or U.shape[2:]

        theta, localisation_backward = apply(self.localisation, U, needs_dx=needs_dx, mode=mode)
        warp_by = self._warp_without_grid if self._is_affine() else self._warp
        V, warp_backward = warp_by(U, theta, out_shape, needs_dU=needs_dx)

        def backward(dV: Array) -> Array | None:
            dU, dtheta = warp_backward(dV)
            dU_through_theta = localisation_backward(dtheta)
            if dU is not None and dU_through_theta is not None:
                dU += dU_through_theta  # U is read twice: by the sampler and by f_loc
            return dU

        return V, backward

    def _warp(
        self, U: Array, theta: Array, out_shape: Any, *, needs_dU: bool
    ) -> tuple[Array, WarpBackward]:
        """Theta to grid, and with it U to V; backward(dV) returns (dU, dtheta)."""
        corners = self.rules.align_corners
        grid, grid_backward = self.transform(theta, out_shape, align_corners=corners)
        V, sampler_backward = sample(U, grid, self.rules, needs_dU=needs_dU)

        def backward(dV: Array) -> tuple[Array | None, Array]:
            dU, dgrid = sampler_backward(dV)
            assert dgrid is not None  # it was asked for
            return dU, grid_backward(dgrid)

        return V, backward

    def _warp_without_grid(
        self, U: Array, theta: Array, out_shape: Any, *, needs_dU: bool
    ) -> tuple[Array, WarpBackward]:
        """The same where theta stands for a 2x3 matrix A: about 0.8 of the time in training."""
        corners, transform = self.rules.align_corners, cast(MatrixFamily, self.transform)
        A, matrix_backward = transform.matrix(theta, out_shape, align_corners=corners)
        V, sampler_backward = warp(U, A, out_shape, self.rules, needs_dU=needs_dU)

        def backward(dV: Array) -> tuple[Array | None, Array]:
            dU, dA = sampler_backward(dV)
            assert dA is not None  # it was asked for
            return dU, matrix_backward(dA)

        return V, backward

    def _is_affine(self) -> bool:
        """Whether the maps are matrices, and `affine_sample` knows how they are to be sampled."""
        rules = self.rules
        return (
            hasattr(self.transform, "matrix")
            and self.n_dims == 2
            and rules.mode == "bilinear"
            and not rules.linearised
            and rules.padding.neighbours
        )
