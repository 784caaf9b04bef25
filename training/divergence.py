"""Where a loss that is not a number comes from: the steps since the last good epoch are taken again, one by one.

The first array that is not finite is looked for in the order in which training touches things: the data, the parameters
and ranges that a step left behind, what passes through the exact network on the batch at hand. A step's parameters are
named before the loss of the next one, because one layer that overflows spoils all others a step later.
"""

from collections.abc import Callable
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.errors import InputError
from analogsim.chips.adc_inputs import first_not_finite
from analogsim.models.bound import observe
from analogsim.training.fitting import path_names
from analogsim.training.step import TrainingStep, TrainState

_ADVICE = "lower the learning rate, clip gradients (optax.clip_by_global_norm), or look at the data"


def explain(
    step: TrainingStep,
    carry: TrainState,
    one: Callable[[TrainState, int], TrainState],
    losses: np.ndarray,
    batch: Callable[[int], Any],
    numbers: tuple[int, int],
    options: dict[str, Any],
) -> NoReturn:
    """Raise an ``InputError`` that names the step and the first layer.

    Args:
      step: what is trained.
      carry: before the first step of the epoch.
      one: ``one(carry, i)``: the carry after step i of the epoch.
      losses: of the epoch, ``[steps]``, at least one of them not finite.
      batch: ``batch(i)``: the inputs of step i.
      numbers: of the epoch, and of its first step, both from 0.
      options: keyword arguments of the model's exact call.
    """
    epoch, first = numbers
    bad = int(np.argmin(np.isfinite(losses)))
    where = f"loss = {losses[bad]} at step {first + bad + 1} (epoch {epoch + 1})"
    if not _finite(batch(bad)):
        raise InputError(f"{where}: x holds NaN or infinity")
    for i in range(bad + 1):
        layers = _broken(step, carry)
        if layers:
            more = f" (and in {len(layers) - 1} more)" if len(layers) > 1 else ""
            when = f"after step {first + i}" if first + i else "before the first step"
            raise InputError(f"{where}: layer {layers[0]}: its weights hold NaN or infinity {when}{more}; {_ADVICE}")
        if i < bad:
            carry = one(carry, i)
    found = _overflowing(step, carry, batch(bad), options)
    if found:
        raise InputError(f"{where}: {found} is the first that is not finite; {_ADVICE}")
    raise InputError(
        f"{where}: all weights are finite, and so is what passes through the exact network: the loss itself, or what "
        f"the hardware does, is not; {_ADVICE}"
    )


def _broken(step: TrainingStep, carry: TrainState) -> list[str]:
    """Layers with parameters, ranges or other state that are not finite, in the order of use."""
    kept = {"tree": carry.params, "state": carry.model_state}
    leaves = [(path_names(path)[2:], leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(kept)]
    odd = [names for names, leaf in leaves if not _finite(leaf)]
    analog = [path for path in step.fit.hardware if any(_inside(names, path) for names in odd)]
    rest = ["/".join(names[:-1]) or "/".join(names) for names in odd if not any(_inside(names, p) for p in analog)]
    return [*analog, *dict.fromkeys(rest)]


def _inside(names: list[str], path: str) -> bool:
    own = [] if path == "(the model itself)" else path.split("/")
    return names[: len(own)] == own


def _overflowing(step: TrainingStep, carry: TrainState, x: Any, options: dict[str, Any]) -> str | None:
    """The first input or output of an analog layer that is not finite in the exact network."""
    return first_not_finite(observe(*step.unbound(carry), x, **options))


def _finite(tree: Any) -> bool:
    numbers = [a for a in jax.tree.leaves(tree) if jnp.issubdtype(jnp.result_type(a), jnp.inexact)]
    return all(bool(jnp.all(jnp.isfinite(a))) for a in numbers)
