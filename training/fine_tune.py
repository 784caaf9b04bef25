"""Hardware-aware fine-tuning: from a pretrained network to one that survives its hardware, in one call.

    tuned = fine_tune(model, variables, x, labels, key=key, epochs=5)      # variables: pretrained, calibrated
    variables = tuned.variables

What it does is a user's own loop, which stays the way to do anything else:

    fit = fit_of(model, variables, x[:2], {}, {})            # or plain model.apply with rngs={"analog": key}
    tree, state = fit.start()

    def loss(tree, state, x, labels, teacher, key, level):
        with strength(level):                                # a schedule of how hard training is
            outputs, state = fit.call(tree, state, x, key)   # hardware drawn from the key
        return distillation(outputs, labels, teacher), state

Every step draws its hardware from a key of its own, or every micro-batch does; the digital network that it starts from
teaches it (``losses.distillation``); learned ranges move with the parameters, in proportion to their size. The epoch is
one compiled scan, whatever the noise level. V. Joshi et al., Nat. Commun. 11, 2473 (2020), doi
10.1038/s41467-020-16108-9, fine-tune with noise from a pretrained network; M. J. Rasch et al., Nat. Commun. 14, 5282
(2023), doi 10.1038/s41467-023-40770-4, add distillation, learned ranges and a ramp.
"""

import dataclasses
import functools
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from analogsim.devices.errors import InputError
from analogsim.devices.random import check_one_key, stream
from analogsim.models import observe
from analogsim.ranges import RangeReport, range_report
from analogsim.training.fitting import Fit, LinenFit, fit_of, learned_labels, tracks
from analogsim.training.losses import Loss, cross_entropy, distillation
from analogsim.training.schedule import strength
from analogsim.training.selection import check_number

_CHECKED = 256  # examples whose clipping is looked at before and after


@dataclasses.dataclass(frozen=True)
class FineTuned:
    """What ``fine_tune`` gives.

    Attributes:
      variables: a Linen model's variables, ranges and batch statistics among them; None for NNX.
      model: the trained copy of an NNX model; the model itself for Linen.
      loss: mean over the steps of each epoch, ``[epochs]``.
      strength: at the end of each epoch, ``[epochs]``.
      clipping: what the ranges do to the first examples afterwards; None where nothing is calibrated.
    """

    variables: Any
    model: Any
    loss: np.ndarray
    strength: np.ndarray
    clipping: RangeReport | None


def fine_tune(
    model: Any,
    variables: Any,
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
    """Train a model on its hardware, from the parameters that it has.

    Args:
      model, variables: a Linen model with analog layers and its variables (calibrated, where ranges are learned), or an
        NNX model and None. Neither is changed.
      x, labels: the training data, ``[n, ...]`` each; ``x`` may be a tuple of inputs.
      key: the order of the data and all of the hardware follow from it.
      epochs, batch_size: as usual; what does not fill a batch waits for the next epoch's order.
      optimizer: of the parameters; None for Adam with a cosine schedule from 1e-3. Ends well with ``clip_weights``.
      range_learning_rate: of learned ranges, relative to each range's size; Adam.
      distil: weight of the teacher in the loss, in [0, 1]; 0 for none.
      temperature: of the distillation.
      teacher: ``teacher(x) -> logits`` of all examples of a batch; None for the exact network that it starts from.
      loss: ``loss(outputs, labels) -> number`` of the task; cross entropy by default.
      ramp: share of the steps over which the hardware's deviations grow from none to all (``strength``).
      micro_batches: pieces that every batch is cut into, each on hardware of its own; their gradients are averaged.
      training_options: keyword arguments of a Linen model's call while it is trained, for example ``{"train": True}``;
        None for ``options``.
      on_epoch: called with the epoch's number and mean loss.
      **options: keyword arguments of the Linen model's call elsewhere, for example ``train=False``.

    Raises:
      InputError: for a loss that is not a number, with the step and the first layer in which it shows.

    Warns:
      UserWarning: for a layer that clips more than half of its inputs or conversions, by its path.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from analogsim import preset
      >>> from analogsim.linen import AnalogDense
      >>> layer, x = AnalogDense(3, hardware=preset("pcm")), jax.random.normal(jax.random.key(0), (64, 4))
      >>> variables = layer.init(jax.random.key(1), x)
      >>> tuned = fine_tune(layer, variables, x, jnp.zeros(64, int), key=jax.random.key(2), epochs=2, batch_size=16)
      >>> bool(tuned.loss[1] < tuned.loss[0])
      True
    """
    check_one_key(key)
    x, labels = _checked_data(x, labels)
    n = len(labels)
    _check_settings(n, epochs, batch_size, micro_batches, ramp, distil)
    exact_options = options
    fit = fit_of(model, variables, _some(x, 2), training_options if training_options is not None else options, options)
    tree, state = fit.start()
    if tracks(fit.hardware):  # their first values are those of the first examples
        _, state = jax.jit(fit.call)(tree, state, _some(x, batch_size), stream(key, "first ranges"))
    steps = n // batch_size
    tx = _optimizer(optimizer, range_learning_rate, fit, tree, epochs * steps)
    taught = _teacher_outputs(fit, tree, state, teacher, x, batch_size) if distil else jnp.zeros((n, 0))
    objective = functools.partial(_objective, loss, distil, temperature)
    run = _epoch_of(fit, tx, objective, steps, batch_size, micro_batches, ramp * epochs * steps)
    _warn(fit, tree, state, x, exact_options, model)

    carry, history, levels = (tree, state, tx.init(tree)), [], []
    for epoch in range(epochs):
        own = jax.random.fold_in(key, epoch)
        before = carry
        carry, losses, level = run(carry, own, jnp.asarray(epoch * steps), x, labels, taught)
        losses = np.asarray(losses)
        if not np.all(np.isfinite(losses)):
            bad = int(np.argmin(np.isfinite(losses)))
            _explain(fit, run, before, own, epoch, steps, bad, x, labels, taught, exact_options, model)
        history.append(float(losses.mean()))
        levels.append(float(level))
        if on_epoch is not None:
            on_epoch(epoch, history[-1])
    tree, state, _ = carry
    clipping = _warn(fit, tree, state, x, exact_options, model)
    done = fit.finished(tree, state)
    linen = isinstance(fit, LinenFit)
    return FineTuned(done if linen else None, model if linen else done, np.array(history), np.array(levels), clipping)


def _objective(loss: Loss, distil: float, temperature: float, outputs: Any, labels: Any, taught: Any) -> jax.Array:
    if not distil:
        return loss(outputs, labels)
    return distillation(outputs, labels, taught, weight=distil, temperature=temperature, loss=loss)


def _epoch_of(
    fit: Fit, tx: Any, objective: Any, steps: int, batch_size: int, micro_batches: int, ramp_steps: float
) -> Callable:
    """``(carry, key, first step, x, labels, teacher) -> (carry, losses, level)``: an epoch in one compiled scan."""

    def loss(tree, state, x, labels, taught, key, level):
        with strength(level):
            outputs, state = fit.call(tree, state, x, key)
        return objective(outputs, labels, taught), state

    def gradients(tree, state, batch, key, level):
        """Over micro-batches, each with a key of its own."""

        def one(state, numbered):
            number, (x, labels, taught) = numbered
            own = key if micro_batches == 1 else jax.random.fold_in(key, number)
            (value, state), slope = jax.value_and_grad(loss, has_aux=True)(tree, state, x, labels, taught, own, level)
            return state, (value, slope)

        if micro_batches == 1:
            state, (value, slope) = one(state, (0, batch))
            return state, value, slope
        cut = jax.tree.map(lambda a: a.reshape(micro_batches, a.shape[0] // micro_batches, *a.shape[1:]), batch)
        state, (values, slopes) = jax.lax.scan(one, state, (jnp.arange(micro_batches), cut))
        return state, values.mean(), jax.tree.map(lambda a: a.mean(0), slopes)

    def epoch(carry, key, first, x, labels, taught):
        order = jax.random.permutation(stream(key, "order"), len(labels))[: steps * batch_size]
        numbers = first + jnp.arange(steps)

        def step(carry, numbered):
            tree, state, memory = carry
            number, indices = numbered
            level = jnp.minimum(1.0, (number + 1) / ramp_steps) if ramp_steps else jnp.ones(())
            batch = jax.tree.map(lambda a: a[indices], (x, labels, taught))
            state, value, slope = gradients(tree, state, batch, jax.random.fold_in(key, number), level)
            updates, memory = tx.update(slope, memory, tree)
            return (optax.apply_updates(tree, updates), state, memory), (value, level)

        carry, (losses, levels) = jax.lax.scan(step, carry, (numbers, order.reshape(steps, batch_size)))
        return carry, losses, levels[-1]

    return jax.jit(epoch)


def _optimizer(optimizer: Any, range_learning_rate: Any, fit: Fit, tree: Any, steps: int) -> Any:
    check_number(range_learning_rate, "range_learning_rate", "at least 0", allowed=lambda v: v >= 0)
    of_params = optax.adam(optax.cosine_decay_schedule(1e-3, steps)) if optimizer is None else optimizer
    if "ranges" not in tree:
        return of_params
    # Adam's step times the range itself: as fast for a range of 0.01 as for one of 10, and never through zero.
    of_ranges = optax.chain(optax.scale_by_adam(), _times_value(), optax.scale(-range_learning_rate))
    rules = {"params": of_params, "ranges": of_ranges, "frozen": optax.set_to_zero()}
    return optax.partition(rules, learned_labels(tree, fit.hardware))


def _times_value() -> optax.GradientTransformation:
    def update(updates, state, params=None):
        return jax.tree.map(lambda u, p: u * p, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _teacher_outputs(fit: Fit, tree: Any, state: Any, teacher: Any, x: Any, batch_size: int) -> jax.Array:
    """What the teacher says to every example, once."""
    if teacher is not None and not callable(teacher):
        raise InputError(f"teacher = {teacher!r}: must be a function teacher(x) that gives logits, or None")
    said = jax.jit(lambda t, s, a: fit.digital(t, s, a)) if teacher is None else lambda t, s, a: teacher(a)
    n = jax.tree.leaves(x)[0].shape[0]
    size = min(n, max(batch_size, 256))
    starts = [min(i, n - size) for i in range(0, n, size)]  # batches of one size: one compilation
    parts = [said(tree, state, jax.tree.map(lambda a, i=i: a[i : i + size], x)) for i in starts]
    return jnp.concatenate([part[start - s :] for part, s, start in zip(parts, starts, range(0, n, size), strict=True)])


def _checked_data(x: Any, labels: Any) -> tuple[Any, jax.Array]:
    x, labels = jax.tree.map(jnp.asarray, x), jnp.asarray(labels)
    shapes = [a.shape for a in jax.tree.leaves(x)]
    if not shapes or any(not shape or shape[0] != shapes[0][0] for shape in shapes) or not shapes[0][0]:
        raise InputError(f"x: shapes {shapes}: must be [n, ...] with one n, at least 1")
    if labels.shape[:1] != shapes[0][:1]:
        raise InputError(f"labels: shape {labels.shape} does not match {shapes[0][0]} examples in x")
    return x, labels


def _check_settings(n: int, epochs: Any, batch_size: Any, micro_batches: Any, ramp: Any, distil: Any) -> None:
    for name, value in (("epochs", epochs), ("batch_size", batch_size), ("micro_batches", micro_batches)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise InputError(f"{name} = {value!r}: must be a whole number and at least 1")
    if batch_size > n:
        raise InputError(f"batch_size = {batch_size}: must be at most {n}, the examples in x")
    if batch_size % micro_batches:
        raise InputError(f"micro_batches = {micro_batches}: must divide batch_size = {batch_size}")
    for name, value in (("ramp", ramp), ("distil", distil)):
        check_number(value, name, "at least 0 and at most 1", allowed=lambda v: (v >= 0) & (v <= 1))


def _warn(fit: Fit, tree: Any, state: Any, x: Any, options: dict[str, Any], model: Any) -> RangeReport | None:
    """Say which layers clip nearly everything."""
    variables, model = _whole(fit, tree, state, model)
    ranges = variables.get("ranges", {}) if variables is not None else {**tree, **state}.get("ranges")
    if not jax.tree.leaves(ranges):
        return None
    report = range_report(model, variables, _some(x, _CHECKED), **options)
    for sentence in report.clipping():
        warnings.warn(sentence, UserWarning, stacklevel=3)
    return report


def _whole(fit: Fit, tree: Any, state: Any, model: Any) -> tuple[Any, Any]:
    done = fit.finished(tree, state)
    return (done, model) if isinstance(fit, LinenFit) else (None, done)


def _some(x: Any, n: int) -> Any:
    return jax.tree.map(lambda a: a[:n], x)


def _explain(fit, run, before, key, epoch, steps, bad, x, labels, taught, options, model) -> None:
    """Name the first layer in which a loss that is no number shows."""
    variables, whole = _whole(fit, before[0], before[1], model)
    where = f"loss = nan at step {epoch * steps + bad + 1} (epoch {epoch + 1})"
    advice = "lower the learning rate, clip gradients (optax.clip_by_global_norm), or look at the data"
    if not bool(jnp.all(jnp.stack([jnp.all(jnp.isfinite(a)) for a in jax.tree.leaves(x)]))):
        raise InputError(f"{where}: x holds NaN or infinity")
    if bad == 0:
        for use in observe(whole, variables, _some(x, 64), **options):
            if not bool(jnp.all(jnp.isfinite(use.weights))):
                raise InputError(f"{where}: layer {use.path}: its weights hold NaN or infinity; {advice}")
            if jnp.issubdtype(use.x.dtype, jnp.inexact) and not bool(jnp.all(jnp.isfinite(use.x))):
                raise InputError(f"{where}: layer {use.path}: its input is the first that holds NaN; {advice}")
        raise InputError(f"{where}: every layer's input is finite; the loss itself is not a number")
    after, _, _ = run(before, key, jnp.asarray(epoch * steps), x, labels, taught)
    odd = [
        "/".join(str(getattr(p, "key", p)) for p in path[1:])
        for path, leaf in jax.tree_util.tree_leaves_with_path(after[0])
        if not bool(jnp.all(jnp.isfinite(leaf)))
    ]
    first = next((path for path in fit.hardware if any(name.startswith(path) for name in odd)), odd[0] if odd else "")
    raise InputError(f"{where}: the training diverged, first seen in layer {first or '(the loss)'}; {advice}")
