"""Find the cause of a non-finite loss, by repeating the steps of the epoch one by one.

The first non-finite array is searched in the order in which a step uses them: the batch, the parameters and ranges
after the previous step, the activations of the digital model. The parameters after a step are checked before the next
step, because one layer that overflows makes all layers non-finite one step later.
"""

from collections.abc import Callable
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.errors import InputError
from analogsim.base.types import PyTree
from analogsim.chips.adc_inputs import first_not_finite
from analogsim.models.bound import observe
from analogsim.training.fitting import path_names
from analogsim.training.step import TrainingStep, TrainState

_ADVICE = "lower the learning rate, clip gradients (optax.clip_by_global_norm), or look at the data"


def explain(
    step: TrainingStep,
    carry: TrainState,
    take_step: Callable[[TrainState, int], TrainState],
    losses: np.ndarray,
    batch: Callable[[int], Any],
    numbers: tuple[int, int],
    options: dict[str, Any],
) -> NoReturn:
    """Raise an ``InputError`` that names the step and the first non-finite layer.

    Args:
      step: the training step.
      carry: state before the first step of the epoch.
      take_step: ``take_step(carry, i)``, the state after step i of the epoch.
      losses: losses of the epoch, ``[steps]``, at least one of them not finite.
      batch: ``batch(i)``, the inputs of step i.
      numbers: number of the epoch and of its first step, both counted from 0.
      options: keyword arguments of the digital model's call.
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
            carry = take_step(carry, i)
    layer = first_not_finite(observe(*step.unbound(carry), batch(bad), **options))
    if layer:
        raise InputError(f"{where}: {layer} is the first non-finite value in the digital model; {_ADVICE}")
    raise InputError(
        f"{where}: all weights and all activations of the digital model are finite; the loss function or the sampled "
        f"hardware gives a non-finite value; {_ADVICE}"
    )


def _broken(step: TrainingStep, carry: TrainState) -> list[str]:
    """Return layers with non-finite parameters, ranges or other state: analog in the order of use, then digital."""
    leaves = jax.tree_util.tree_leaves_with_path((carry.model_state, carry.params))
    # Without the first two parts, the position in the tuple and the name of the collection.
    broken = [path_names(path)[2:] for path, leaf in leaves if not _finite(leaf)]
    analog = [path for path in step.fit.hardware if any(_inside(names, path) for names in broken)]
    digital = [names for names in broken if not any(_inside(names, path) for path in analog)]
    return [*analog, *dict.fromkeys("/".join(names[:-1]) or "/".join(names) for names in digital)]


def _inside(names: list[str], path: str) -> bool:
    parts = [] if path == "(the model itself)" else path.split("/")
    return names[: len(parts)] == parts


def _finite(tree: PyTree) -> bool:
    numbers = [a for a in jax.tree.leaves(tree) if jnp.issubdtype(jnp.result_type(a), jnp.inexact)]
    return all(bool(jnp.all(jnp.isfinite(a))) for a in numbers)
