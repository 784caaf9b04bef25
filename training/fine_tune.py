"""Hardware-aware fine-tuning of a pretrained network in one call.

    tuned = fine_tune(model, variables, x, labels, key=key, epochs=5)      # variables: pretrained, calibrated
    variables = tuned.variables

``fine_tune`` is a loop over ``training.make_step``, which also serves custom loops. Every step, or every micro-batch,
samples its hardware from a separate key; the initial digital model is the teacher (``losses.distillation``); learned
ranges are trained with the parameters, in proportion to their size. One compiled step serves all noise levels.
V. Joshi et al., Nat. Commun. 11, 2473 (2020), doi 10.1038/s41467-020-16108-9, fine-tune with noise from a pretrained
network; M. J. Rasch et al., Nat. Commun. 14, 5282 (2023), doi 10.1038/s41467-023-40770-4, add distillation, learned
ranges and a ramp.
"""

import dataclasses
import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from analogsim.base.call_inputs import count_examples, first_examples, inputs_of, map_examples
from analogsim.base.checks import check_fraction, check_integer
from analogsim.base.equality import ByValue
from analogsim.base.errors import InputError
from analogsim.base.random import check_one_key, stream
from analogsim.base.types import PyTree
from analogsim.chips.metrics import check_data
from analogsim.chips.range_report import RangeReport, range_report
from analogsim.training.divergence import explain
from analogsim.training.losses import Loss, check_classes_of, cross_entropy
from analogsim.training.step import Recipe, TrainingStep, TrainState, make_step

_CHECKED = 256  # examples of the clipping reports before and after


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class FineTuned(ByValue):
    """Result of ``fine_tune``, which has an example.

    A chip of the trained model is programmed by ``program(model, result.variables, key, x)`` in Linen, and by
    ``program(result.model, key=key)`` in NNX.

    Attributes:
      variables: a Linen model's variables, including ranges and batch statistics; None for NNX.
      model: the trained copy of an NNX model; the model itself for Linen.
      loss: mean loss of each epoch, ``[epochs]``.
      accuracy: fraction of correct classes during training, on the sampled hardware, ``[epochs]``; NaN if labels are
        not one class number per output.
      noise_scale: noise scale at the end of each epoch, ``[epochs]``.
      clipping_before, clipping: range reports of the first examples, before and after; None without calibrated ranges.
    """

    variables: PyTree
    model: Any
    loss: np.ndarray
    accuracy: np.ndarray
    noise_scale: np.ndarray
    clipping_before: RangeReport | None
    clipping: RangeReport | None


def fine_tune(
    model: Any,
    variables: PyTree,
    x: Any,
    labels: Any,
    *,
    key: jax.Array,
    epochs: int = 5,
    batch_size: int = 64,
    optimizer: optax.GradientTransformation | None = None,
    range_learning_rate: Any = 0.01,
    distil: float = 0.5,
    temperature: float = 2.0,
    teacher: Any = None,
    loss: Loss = cross_entropy,
    ramp: float = 0.0,
    micro_batches: int = 1,
    training_options: dict[str, Any] | None = None,
    on_epoch: Callable[[int, float], Any] | None = None,
    **options: Any,
) -> FineTuned:
    """Fine-tune a model on its hardware, starting from its parameters.

    Args:
      model, variables: a Linen model with analog layers and its variables (calibrated, if ranges are learned), or an
        NNX model and None. Neither is modified.
      x, labels: training data, ``[n, ...]`` each; ``x`` as in ``analogsim.Inputs``.
      key: random key of the data order and the hardware.
      epochs, batch_size: number of epochs and batch size; examples of an incomplete last batch are skipped.
      optimizer: optimiser of the parameters, best ending with ``clip_weights``; None for Adam with a cosine schedule
        from 1e-3.
      range_learning_rate: learning rate of learned ranges, relative to the size of each range; Adam.
      distil: weight of the teacher in the loss, in [0, 1]; 0 for no distillation.
      temperature: temperature of the distillation.
      teacher: ``teacher(x) -> logits`` for a batch; None for the digital model that training starts from.
      loss: loss of the task, ``loss(outputs, labels) -> number``; cross entropy by default. The compiled step is kept
        for the next call with the same function and optimiser, so, as under ``jax.jit``, both must be pure.
      ramp: fraction of the steps over which the noise scale grows from 0 to 1 (``scaled_noise``).
      micro_batches: number of parts of a batch, each on separately sampled hardware; their gradients are averaged.
      training_options: keyword arguments of a Linen model's call in training, for example ``{"train": True}``; None for
        ``options``.
      on_epoch: called with the epoch's number and mean loss.
      **options: keyword arguments of the model's call elsewhere, for example ``train=False``; those that hold arrays
        are inputs, with or without training.

    Returns:
      the trained variables or model, and the history of the training.

    Raises:
      InputError: for a loss that is not finite, with the step and the first layer at fault.

    Warns:
      UserWarning: for a layer that clips more than half of its inputs or conversions, by its path.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from analogsim import preset
      >>> from analogsim.linen import AnalogDense
      >>> layer, x = AnalogDense(3, hardware=preset("pcm")), jax.random.normal(jax.random.key(0), (64, 4))
      >>> variables = layer.init(jax.random.key(1), x)
      >>> tuned = fine_tune(layer, variables, x, jnp.zeros(64, int), key=jax.random.key(2), epochs=9, batch_size=16)
      >>> bool(tuned.loss[-1] < tuned.loss[0])
      True
    """
    check_one_key(key)
    _check_functions(loss=loss, teacher=teacher, on_epoch=on_epoch)
    x, options = inputs_of(x, options)
    labels = check_data(x, labels)
    n = len(labels)
    _check_settings(n, epochs, batch_size, micro_batches, ramp, distil)
    steps = n // batch_size
    optimizer = _default_optimizer(epochs * steps) if optimizer is None else optimizer
    step = make_step(
        model, variables, first_examples(x, batch_size), optimizer=optimizer,
        range_learning_rate=range_learning_rate, loss=loss, distil=distil, temperature=temperature,
        micro_batches=micro_batches, key=key, training_options=training_options, **options,
    )  # fmt: skip
    few = first_examples(x, batch_size)
    check_classes_of(
        loss,
        jax.eval_shape(step.fit.digital, step.initial_state.params, step.initial_state.model_state, few),
        first_examples(labels, n),
    )
    teacher_logits = _teacher_outputs(step, teacher, x, batch_size) if distil else None
    data, sizes = (x, labels, teacher_logits), _Sizes(steps, batch_size)
    run, single_step = _epoch_of(step, data, sizes)
    before = _warn(step, step.initial_state, x, options)

    carry, history = step.initial_state, []
    for epoch in range(epochs):
        # A loss that is not finite is explained by a replay from `start`: no argument of the step may be donated.
        epoch_key, order = _epoch_start(key, epoch, n, steps * batch_size)
        start, this = carry, (epoch_key, order, epoch * steps, ramp * epochs * steps or None)
        carry, metrics = run(carry, this)
        losses = np.asarray(metrics.loss)
        if not np.all(np.isfinite(losses)):
            batch = lambda i, order=order: map_examples(lambda a: a[order[i * batch_size :][:batch_size]], x)  # noqa: E731
            again = lambda c, i, this=this: single_step(c, this, i)[0]  # noqa: E731
            explain(step, start, again, losses, batch, (epoch, epoch * steps), options)
        noise_scale = min(1.0, (epoch + 1) / (ramp * epochs)) if ramp else 1.0
        history.append((float(losses.mean()), float(np.mean(metrics.accuracy)), noise_scale))
        if on_epoch is not None:
            on_epoch(epoch, history[-1][0])
    clipping = _warn(step, carry, x, options)
    model, variables = step.unbound(carry)
    losses, accuracies, levels = (np.array(column) for column in zip(*history, strict=True))
    return FineTuned(
        variables, model, losses, accuracies, levels, before, clipping
    )  # fmt: skip


@functools.partial(jax.jit, static_argnums=(2, 3))
def _epoch_start(key: jax.Array, epoch: Any, n: int, used: int) -> tuple[jax.Array, jax.Array]:
    """Return the key of an epoch, and its examples in their order, ``[used]``."""
    own = jax.random.fold_in(key, epoch)
    return own, jax.random.permutation(stream(own, "order"), n)[:used]


@functools.lru_cache(maxsize=16)
def _default_optimizer(steps: int) -> optax.GradientTransformation:
    # Kept, because an equal optimiser that is made anew has other functions, and the step would be compiled again.
    return optax.adam(optax.cosine_decay_schedule(1e-3, steps))


class _Sizes(NamedTuple):
    """Static sizes of an epoch."""

    steps: int
    batch_size: int


def _step(recipe: Recipe, sizes: _Sizes, bound: Any, carry: TrainState, epoch: tuple, i: Any, data: Any) -> Any:
    """Return the state after step i of an epoch ``(key, order, first, ramp)``, and its metrics."""
    key, order, first, ramp_steps = epoch
    indices = jax.lax.dynamic_slice_in_dim(order, i * sizes.batch_size, sizes.batch_size)
    x, labels, teacher_logits = map_examples(lambda a: a[indices], data)
    number = first + i
    noise_scale = 1.0 if ramp_steps is None else jnp.minimum(1.0, (number + 1) / ramp_steps)
    step = recipe.step(bound, carry)
    return step(carry, x, labels, jax.random.fold_in(key, number), noise_scale, teacher_logits)


# Module-level, and all that changes is an argument: a second training with other numbers compiles nothing. Arrays that
# a compiled function closes over would be constants of its program.
_single = jax.jit(_step, static_argnums=(0, 1))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _whole(recipe: Recipe, sizes: _Sizes, bound: Any, carry: TrainState, epoch: tuple, data: Any) -> Any:
    return jax.lax.scan(lambda c, i: _step(recipe, sizes, bound, c, epoch, i, data), carry, jnp.arange(sizes.steps))


def _epoch_of(step: TrainingStep, data: Any, sizes: _Sizes) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return an epoch, ``(carry, epoch) -> (carry, metrics [steps])``, and its step i, ``(carry, epoch, i)``.

    On accelerators the epoch is a scan. On CPUs XLA compiles the body of a loop for one core, which makes convolutions
    ten times slower than in a separate step, so there the epoch is a Python loop over one compiled step.
    """
    fixed = (step.recipe, sizes, step.fit.bound)

    def looped(carry, epoch):
        found = []
        for i in range(sizes.steps):
            carry, this = _single(*fixed, carry, epoch, i, data)
            found.append(this)
        # Fetched once per epoch: fetching every step would wait for it and leave the device idle in between.
        return carry, jax.tree.map(lambda *values: np.array(values), *jax.device_get(found))

    by_scan = lambda carry, epoch: _whole(*fixed, carry, epoch, data)  # noqa: E731
    return looped if _steps_alone() else by_scan, lambda carry, epoch, i: _single(*fixed, carry, epoch, i, data)


def _steps_alone() -> bool:
    return jax.default_backend() == "cpu"


def _teacher_outputs(step: TrainingStep, teacher: Any, x: Any, batch_size: int) -> jax.Array:
    """Return the teacher's logits for all examples, computed once."""
    said = step.teacher_logits if teacher is None else lambda batch: teacher(batch.given)
    n = count_examples(x)
    size = min(n, max(batch_size, 256))
    starts = [min(i, n - size) for i in range(0, n, size)]  # batches of one size: one compilation
    parts = [said(map_examples(lambda a, i=i: a[i : i + size], x)) for i in starts]
    # The last batch starts before its place; its first outputs repeat those of the batch before.
    return jnp.concatenate([part[start - s :] for part, s, start in zip(parts, starts, range(0, n, size), strict=True)])


_FUNCTIONS = {
    "loss": "loss(outputs, labels) that gives a number",
    "teacher": "teacher(x) that gives logits, or None",
    "on_epoch": "on_epoch(epoch, loss), or None",
}


def _check_functions(**given: Any) -> None:
    for name, function in given.items():
        if not callable(function) and (function is not None or name == "loss"):
            raise InputError(f"{name} = {function!r}: must be a function {_FUNCTIONS[name]}")


def _check_settings(n: int, epochs: Any, batch_size: Any, micro_batches: Any, ramp: Any, distil: Any) -> None:
    for name, value in (("epochs", epochs), ("batch_size", batch_size), ("micro_batches", micro_batches)):
        check_integer(value, name)
    if batch_size > n:
        raise InputError(f"batch_size = {batch_size}: must be at most {n}, the examples in x")
    if batch_size % micro_batches:
        raise InputError(f"micro_batches = {micro_batches}: must divide batch_size = {batch_size}")
    for name, value in (("ramp", ramp), ("distil", distil)):
        check_fraction(value, name)


def _warn(step: TrainingStep, carry: TrainState, x: Any, options: dict[str, Any]) -> RangeReport | None:
    """Warn about layers that clip more than half of their values."""
    if not jax.tree.leaves({**carry.params, **carry.model_state}.get("ranges")):
        return None
    report = range_report(*step.unbound(carry), first_examples(x, _CHECKED), **options)
    for sentence in report.clipping():
        warnings.warn(sentence, UserWarning, stacklevel=3)
    return report
