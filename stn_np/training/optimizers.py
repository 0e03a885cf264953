"""SGD, Adam and AdamW: in place, from the gradients that the backward pass left in the parameters.

Each update is written out as single NumPy calls into one scratch array, because on half a million
numbers the time goes into passes over memory and fresh arrays, not into arithmetic.
"""

from __future__ import annotations

import math
from typing import Any

from stn_np.backend import Array, array_module
from stn_np.checks import check_choice
from stn_np.module import Module
from stn_np.training.flat import Part
from stn_np.training.optimizer_base import Optimizer, RateFactor


class SGD(Optimizer):
    """Gradient descent with momentum (Polyak's, not Nesterov's).

    With a running direction b that starts at 0: ``b = momentum * b + g``, then ``p -= lr * b``.

    Parameters
    ----------
    model, rate_factor
        See `stn_np.training.optimizer_base.Optimizer`.
    momentum
        Share of the last step's direction that is kept. The paper names SGD but no momentum.
    """

    slots = ("momentum",)

    def __init__(
        self, model: Module, *, rate_factor: RateFactor | None = None, momentum: float = 0.9
    ) -> None:
        super().__init__(model, rate_factor=rate_factor)
        self.momentum = momentum

    def _coefficients(self, lr: float) -> tuple[float, ...]:
        return (lr,)

    def _update(self, part: Part, tmp: Array, *coefficients: Any) -> None:
        _, p, g, (b,) = part
        (lr,) = coefficients
        xp = array_module(parameter=p)
        xp.multiply(b, self.momentum, out=b)
        xp.add(b, g, out=b)
        xp.multiply(b, lr, out=tmp)
        xp.subtract(p, tmp, out=p)


class Adam(Optimizer):
    r"""Adam (Kingma & Ba, 2015), in the form that PyTorch computes too.

    .. math::

        m \leftarrow b_1 m + (1 - b_1) g, \quad v \leftarrow b_2 v + (1 - b_2) g^2, \quad
        p \leftarrow p - \frac{\mathrm{lr}}{1 - b_1^t}
        \frac{m}{\sqrt{v / (1 - b_2^t)} + \mathrm{eps}}

    Parameters
    ----------
    model, rate_factor
        See `stn_np.training.optimizer_base.Optimizer`.
    betas
        (b1, b2), the decay of the two running means.
    eps
        Keeps the division finite where a gradient is always zero.
    """

    slots = ("mean", "square")
    #: Share of lr by which the parameter itself shrinks, apart from the gradient.
    weight_decay = 0.0

    def __init__(
        self,
        model: Module,
        *,
        rate_factor: RateFactor | None = None,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(model, rate_factor=rate_factor)
        self.betas = betas
        self.eps = eps

    def _coefficients(self, lr: float) -> tuple[float, ...]:
        b1, b2 = self.betas
        # The bias correction of v is one number: taken out of the root it saves a pass.
        root = math.sqrt(1 - b2**self.n_steps)
        return 1 - lr * self.weight_decay, self.eps * root, lr * root / (1 - b1**self.n_steps)

    def _update(self, part: Part, tmp: Array, *coefficients: Any) -> None:
        _, p, g, (m, v) = part
        shrink, eps, rate = coefficients
        xp, (b1, b2) = array_module(parameter=p), self.betas
        if self.weight_decay:
            xp.multiply(p, shrink, out=p)
        xp.multiply(m, b1, out=m)
        xp.multiply(g, 1 - b1, out=tmp)
        xp.add(m, tmp, out=m)
        xp.multiply(v, b2, out=v)
        xp.multiply(g, g, out=tmp)
        xp.multiply(tmp, 1 - b2, out=tmp)
        xp.add(v, tmp, out=v)
        xp.sqrt(v, out=tmp)
        xp.add(tmp, eps, out=tmp)
        xp.divide(m, tmp, out=tmp)
        xp.multiply(tmp, rate, out=tmp)
        xp.subtract(p, tmp, out=p)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter, 2019).

    Before each of Adam's steps, ``p *= 1 - lr * weight_decay``.

    Parameters
    ----------
    model, rate_factor, betas, eps
        See `Adam`.
    weight_decay
        0.01, as in PyTorch. It acts on every parameter, biases included.
    """

    def __init__(
        self,
        model: Module,
        *,
        rate_factor: RateFactor | None = None,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(model, rate_factor=rate_factor, betas=betas, eps=eps)
        self.weight_decay = weight_decay


#: The optimisers by the names that the command line knows.
OPTIMIZERS: dict[str, type[SGD] | type[Adam] | type[AdamW]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
}


def build_optimizer(name: str, model: Module, rate_factor: RateFactor | None = None) -> Optimizer:
    """The optimiser of this name with its default settings.

    Raises
    ------
    ValueError
        If the name is unknown; the nearest one is suggested.
    """
    check_choice("optimizer", name, OPTIMIZERS)
    return OPTIMIZERS[name](model, rate_factor=rate_factor)
