"""One localisation net, asked several times: does each step help? (Lin & Lucey 2017, "IC-STN").

The net looks at the picture, then at what the map that it gave makes of the picture, and so on, and
says each time what is still missing. Warps are composed, so that every look is a fresh one at the
picture itself; or, to compare, each warp is made of the one before, which blurs and crops.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from stn_np.backend import Array, OptionalBackward
from stn_np.checks import check_array, check_choice, check_size
from stn_np.experiments.classification import TRANSFORM_HELP
from stn_np.experiments.distorted_digits import DistortedDigits, DistortedDigitsSettings
from stn_np.models import Model
from stn_np.module import Module, Training, apply
from stn_np.training.settings import setting
from stn_np.transformer import SpatialTransformer, WarpBackward
from stn_np.transforms import (
    FAMILIES,
    AffineNatural,
    Group,
    Projective,
    Transform,
    by_name,
)
from stn_np.transforms.groups.group import PairBackward

#: How the steps follow each other.
WARPS = ("composed", "resampled")
#: The families whose maps can always be composed. Of projective ones the product may have no last
#: entry of 1, and of the natural ones no logarithm: that would end a training in the middle.
GROUPS = tuple(
    name
    for name in FAMILIES
    if isinstance(family := by_name(name, (2, 2)), Group)
    and not isinstance(family, Projective | AffineNatural)
)


@dataclass(frozen=True, kw_only=True)
class RecurrentSettings(DistortedDigitsSettings):
    """How often the net is asked, and what becomes of its answers."""

    model: str = setting("st-cnn", "the network", choices=("st-fcn", "st-cnn"))
    transform: str = setting("affine", TRANSFORM_HELP, metavar="NAME", choices=GROUPS)
    steps: int = setting(2, "how many times the one localisation net is asked", minimum=1)
    warps: str = setting(
        "composed",
        "composed: each step reads the picture itself through the product of all maps so far; "
        "resampled: what the step before has made of it",
        metavar="|".join(WARPS),
        choices=WARPS,
    )

    by_data: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        name: {**settings, "distortion": "RTS"}
        for name, settings in DistortedDigitsSettings.by_data.items()
    }


class Recurrent(DistortedDigits):
    """Read distorted digits, looking several times."""

    name = label = "recurrent"
    Settings = RecurrentSettings
    no_figure = "the paper asks its localisation nets once"

    def model(self) -> Model:
        """One of the paper's, with its transformer asked so many times: as many parameters."""
        model, settings = super().model(), self.settings
        once = model.transformer
        assert once is not None, "both models have one"
        model.transformer = RecurrentTransformer(
            once.localisation, once.transform, steps=settings.steps, warps=settings.warps
        )
        return model

    def paper_error(self) -> float | None:
        """It has none."""
        return None

    def stem(self, *about: str) -> str:
        """With the number of steps, and how they follow each other unless they are composed."""
        settings = self.settings
        about = (*about, f"{settings.steps}-steps")
        return super().stem(*about, *((settings.warps,) if settings.warps != WARPS[0] else ()))

    @classmethod
    def title(cls, config: Mapping[str, Any]) -> str:
        """With the number of steps."""
        n = config["steps"]
        steps = "1 step" if n == 1 else f"{n} steps {config['warps']}"
        return f"{super().title(config)}, {steps}"


class RecurrentTransformer(SpatialTransformer):
    r"""A spatial transformer whose localisation net is asked several times.

    .. math:: \theta_1 = f_{loc}(U), \quad \theta_{k+1} = \theta_k \circ f_{loc}(V_k)

    V_k is U warped by theta_k, anew each time where the warps are composed; resampled, it is the
    picture V_{k-1} warped by f_loc(V_{k-1}), which is the same map.

    Parameters
    ----------
    localisation, transform, rules
        As in `SpatialTransformer`; transform is a `Group`.
    steps
        How many times the net is asked.
    warps
        "composed" or "resampled".

    Raises
    ------
    TypeError, ValueError
        As `SpatialTransformer`; or if the family's maps cannot be composed.
    """

    def __init__(
        self,
        localisation: Module,
        transform: Transform,
        *,
        steps: int,
        warps: str = "composed",
        **rules: Any,
    ) -> None:
        super().__init__(localisation, transform, None, **rules)
        if getattr(transform, "name", "") not in GROUPS:
            wanted = f"a family of images whose maps can always be composed ({', '.join(GROUPS)})"
            raise TypeError(f"transform: expected {wanted}, got {transform!r}")
        self.steps = check_size("steps", steps)
        check_choice("warps", warps, WARPS)
        self.warps = warps

    def _describe(self) -> str:
        return ", ".join(filter(None, [f"steps={self.steps}, {self.warps}", super()._describe()]))

    def theta(self, U: Array) -> Array:
        """The product of all steps' maps: (N, C, H, W) to (N, n_params); errors as of a call."""
        V, size = U, U.shape[2:]
        theta = delta = super().theta(U)
        for _ in range(1, self.steps):
            read, by = (U, theta) if self.warps == "composed" else (V, delta)
            V, _ = self._by(read, by, size, needs_dU=False)
            delta = super().theta(V)
            theta, _ = self._compose(theta, delta, size)
        return theta

    def __call__(
        self, U: Array, *, needs_dx: bool = True, mode: Training | None = None
    ) -> tuple[Array, OptionalBackward]:
        """U (N, C, H, W) to V (N, C, H, W); backward(dV) returns dU, or None if not needed.

        ValueError if U has another shape, or one that the localisation net cannot read.
        """
        check_array("U", U, ("N", "C", "H", "W"))
        forward = self._composed if self.warps == "composed" else self._resampled
        return forward(U, needs_dx, mode)

    def _composed(
        self, U: Array, needs_dx: bool, mode: Training | None
    ) -> tuple[Array, OptionalBackward]:
        """Each look is at U itself, through the map so far."""
        size = U.shape[2:]
        theta, first_look = apply(self.localisation, U, needs_dx=needs_dx, mode=mode)
        steps = []
        for _ in range(1, self.steps):
            V, warp_backward = self._by(U, theta, size, needs_dU=needs_dx)
            delta, look_backward = apply(self.localisation, V, needs_dx=True, mode=mode)
            theta, compose_backward = self._compose(theta, delta, size)
            steps.append((warp_backward, look_backward, compose_backward))
        V, last_warp = self._by(U, theta, size, needs_dU=needs_dx)

        def backward(dV: Array) -> Array | None:
            dU, dtheta = last_warp(dV)
            for warp_backward, look_backward, compose_backward in reversed(steps):
                dtheta, ddelta = compose_backward(dtheta)
                dseen = look_backward(ddelta)
                assert dseen is not None, "it was asked for"
                dlooked, dtheta_of_warp = warp_backward(dseen)
                dtheta = dtheta + dtheta_of_warp  # theta_k is in the product, and warps
                dU = None if dU is None else dU + dlooked
            dU_of_look = first_look(dtheta)
            return None if dU is None or dU_of_look is None else dU + dU_of_look

        return V, backward

    def _resampled(
        self, U: Array, needs_dx: bool, mode: Training | None
    ) -> tuple[Array, OptionalBackward]:
        """A chain of transformers that share the net: each warps what the one before hands on."""
        V, pullbacks = U, []
        for k in range(self.steps):
            V, backward_of_step = super().__call__(V, needs_dx=needs_dx or k > 0, mode=mode)
            pullbacks.append(backward_of_step)

        def backward(dV: Array) -> Array | None:
            d: Array | None = dV
            for backward_of_step in reversed(pullbacks):
                assert d is not None, "all but the first need it"
                d = backward_of_step(d)
            return d

        return V, backward

    def _by(
        self, U: Array, theta: Array, size: Any, *, needs_dU: bool
    ) -> tuple[Array, WarpBackward]:
        """U warped by theta, with or without a grid; backward(dV) returns (dU, dtheta)."""
        warp = self._warp_without_grid if self._is_affine() else self._warp
        return warp(U, theta, size, needs_dU=needs_dU)

    def _compose(self, outer: Array, inner: Array, size: Any) -> tuple[Array, PairBackward]:
        """The theta of the map that reads through `inner`, then `outer`."""
        group, corners = cast(Group, self.transform), self.rules.align_corners
        return group.compose(outer, inner, out_shape=size, align_corners=corners)
