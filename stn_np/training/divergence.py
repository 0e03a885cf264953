"""What is said when a training stops giving finite numbers: where, how it shows, what to try."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stn_np.training.loop import Trainer


class DivergedError(Exception):
    """A loss, a gradient or, where it is looked at, a weight stopped being a finite number."""


def before_update(trainer: Trainer, loss: float, norm: float) -> DivergedError:
    """The step under way has no finite loss or gradient. It is not made."""
    lr = trainer.lr(trainer.step)
    return DivergedError(
        f"step {trainer.step + 1} (epoch {_epoch(trainer, trainer.step)}): loss {loss:g}, gradient "
        f"norm {norm:g} at learning rate {lr:.3g}; this step was not made. {_advice(trainer)}"
    )


def between_looks(trainer: Trainer, before: int) -> DivergedError:
    """On a GPU, something went wrong after this many steps, and was seen only now."""
    rates = sorted((trainer.lr(before), trainer.lr(trainer.step - 1)))
    return DivergedError(
        f"one of the steps {before + 1} to {trainer.step} (epoch {_epoch(trainer, before)}): a "
        f"loss, gradient or weight is no finite number, at learning rates from {rates[0]:.3g} to "
        f"{rates[1]:.3g}. {_advice(trainer)}"
    )


def in_test(trainer: Trainer, loss: float) -> DivergedError:
    """The weights that the last step made do not give the test images a finite loss."""
    return DivergedError(
        f"step {trainer.step} (epoch {_epoch(trainer, trainer.step - 1)}): the weights that it "
        f"made give the test images loss {loss:g}. {_advice(trainer)}"
    )


def _epoch(trainer: Trainer, step: int) -> int:
    """The epoch, counted from 1, of a step, counted from 0."""
    return step // trainer.batches.per_epoch + 1


def _advice(trainer: Trainer) -> str:
    """What to try after a divergence."""
    return f"Try a new run with a smaller rate: --lr {trainer.config.lr / 3:.1g}"
