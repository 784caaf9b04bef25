"""Tuning of converter ranges and conductance scales by gradient descent; the network's parameters do not change.

Calibration sets a layer's ranges from the values in that layer. Tuning instead considers the output of the network, on
chips with errors: a range may clip slightly more to gain resolution, and a layer may clip its largest weights to write
all others with larger conductances (a weight range below 1). Each range r = r_0 e^theta follows the gradient of a loss,
on one freshly fabricated chip per step,

    theta <- Adam(d loss/d theta)           with straight-through quantisers (``range_rules``, "gradient")

with the loss of the task or, without labels, the squared distance from the digital model's outputs in units of their
variance. A layer has one theta for each kind of range: if it has a range for every column, because weights are
bit-sliced, those keep their ratios, which the digital logic relies on. The returned ranges are the best on separate
validation chips, and never worse there than the initial ones.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from analogsim.base.call_inputs import count_examples, first_examples, inputs_of, map_examples
from analogsim.base.checks import check_integer, check_number
from analogsim.base.equality import ByValue
from analogsim.base.errors import InputError
from analogsim.base.random import check_one_key, stream
from analogsim.base.types import PyTree
from analogsim.base.units import seconds
from analogsim.chips.calibration import calibrate
from analogsim.chips.metrics import check_inputs, check_labels
from analogsim.converters.range_rules import LearnedRange
from analogsim.hardware.fresh_chip import FreshChip
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.override import override_hardware
from analogsim.models.bound import bind, front_end_of
from analogsim.training.calibrated_ranges import range_kind
from analogsim.training.fitting import Fit, fit_of, path_names
from analogsim.training.losses import Loss, cross_entropy
from analogsim.training.step import digital_outputs

#: Names of the hooks that follow a layer's path in Linen's collections and NNX's states.
_HOOKS = ("analog", "dot_general", "conv_general_dilated", "einsum_op", "analog_op", "attend_op")
_KINDS = ("input", "output", "weight")
_STRETCHES = 5  # number of validations during the descent


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Tuned(ByValue):
    """Result of ``tune``, which has an example; prints as a table.

    A chip with the tuned ranges is programmed by ``program(model, result.variables, key, x)`` in Linen, and by
    ``program(result.model, key=key)`` in NNX.

    Attributes:
      variables: a Linen model's variables with tuned ranges; None for NNX.
      model: a copy of an NNX model with tuned ranges; the model itself for Linen.
      before, after: mean loss on the validation chips.
      ranges: layer, kind, value before and value after.
    """

    variables: PyTree
    model: Any
    before: float
    after: float
    ranges: tuple[tuple[str, str, float, float], ...]

    def table(self) -> Any:
        """Return every range before and after tuning, as a rich table."""
        from analogsim.base.tables import simple_table

        table = simple_table(f"Loss on sampled chips: {self.before:.4g} before, {self.after:.4g} after tuning")
        for column in ("layer", "range"):
            table.add_column(column)
        for column in ("before", "after", "ratio"):
            table.add_column(column, justify="right")
        for layer, kind, before, after in self.ranges:
            table.add_row(layer, kind, f"{before:.4g}", f"{after:.4g}", f"{after / before:.3f}")
        return table

    def __str__(self) -> str:
        from analogsim.base.tables import as_text

        return as_text(self.table())


def tune(
    model: Any,
    variables: PyTree,
    x: Any,
    labels: Any = None,
    *,
    key: jax.Array,
    what: tuple[str, ...] = ("input", "output", "weight"),
    steps: int = 100,
    learning_rate: Any = 0.02,
    batch_size: int = 64,
    time: Any = "1 day",
    loss: Loss = cross_entropy,
    chips: int = 8,
    **options: Any,
) -> Tuned:
    """Tune ranges on a calibration set.

    Args:
      model, variables: a Linen model with analog layers and its variables, or an NNX model and None; not modified.
        Ranges start from the calibrated ones; if there are none, the model is calibrated first.
      x, labels: a few hundred examples (``analogsim.Inputs``), ``[n, ...]`` each; labels are optional.
      key: random key.
      what: any of ``"input"`` and ``"output"`` (the converters' ranges) and ``"weight"`` (the weight, relative to the
        largest of its column, that is written with the full conductance window).
      steps, batch_size: number of steps, each on a newly sampled chip, and examples per step.
      learning_rate: learning rate of Adam, in the logarithm of a range: 0.02 changes it by about 2 % per step.
      time: read time after programming, seconds or a string such as ``"1 day"``.
      loss: ``loss(outputs, labels) -> number``, used if there are labels.
      chips: number of validation chips that select the best ranges, on all of ``x``.
      **options: keyword arguments of the model's call, for example ``train=False``; those that hold arrays are inputs.

    Returns:
      the model or variables with tuned ranges, and the losses before and after.

    Raises:
      InputError: for a setting out of range, or a loss that is not finite at the start.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from analogsim import preset
      >>> from analogsim.linen import AnalogDense
      >>> layer = AnalogDense(3, hardware=preset("pcm", **{"adc.bits": 4}))
      >>> x = jax.random.normal(jax.random.key(0), (64, 8))
      >>> tuned = tune(layer, layer.init(jax.random.key(1), x), x, key=jax.random.key(2), steps=20)
      >>> tuned.after <= tuned.before
      True
    """
    check_one_key(key)
    _check(what, steps, batch_size, chips, learning_rate)
    x, options = inputs_of(x, options)
    n = check_inputs(x)
    time_s: Any = seconds(time, "time")
    on = functools.partial(_tunable, FreshChip(time_s=time_s))
    with override_hardware(on):
        model, variables = _started(model, variables, x, what, options)
        fit = fit_of(model, variables, first_examples(x, 2), options, options)
        tree, state = fit.start()
        targets = digital_outputs(fit.with_arrays(tree, state), x) if labels is None else labels
        targets = check_labels(targets, n)
        objective = _distance if labels is None else loss
        best, before, after = _descended(
            fit, tree, state, x, targets, objective, key, what, steps, learning_rate, min(batch_size, n), chips
        )
    model, variables = fit.unbound(best, state)
    rows = tuple(
        (layer, kind, float(old), float(new))
        for (layer, kind, old), (_, _, new) in zip(_rows(tree, what), _rows(best, what), strict=True)
    )
    return Tuned(variables, model, before, after, rows)


def _tunable(training: FreshChip, path: str, hardware: Hardware) -> Any:
    """Return the layer's hardware with ranges that have gradients."""
    learned = LearnedRange(rule="gradient")
    converts = hardware.dac is not None or hardware.adc is not None
    return hardware.replace(
        training=training,
        training_noise_scale=1.0,
        input_range=learned if converts else None,
        output_range=None if hardware.adc is None else learned,
    )


def _started(model: Any, variables: PyTree, x: Any, what: tuple[str, ...], options: dict[str, Any]) -> tuple[Any, Any]:
    """Return model and variables with initial ranges."""
    bound = bind(model, variables, x, options)
    model, variables = bound.unbind()  # a copy, where ranges are set in the model
    missing = bound.hardware().keys() - {path for path, ranges in bound.layer_ranges().items() if "input" in ranges}
    if missing:
        calibrated = calibrate(model, variables, x, **options)
        variables = None if variables is None else calibrated
    if "weight" not in what:
        return model, variables
    ranges = bind(model, variables, options=options).layer_ranges()
    ones = {path: {"weight": jnp.ones(jnp.shape(r["input"]))} for path, r in ranges.items() if "weight" not in r}
    with_weights = front_end_of(model).set_ranges(model, variables, ones)
    return model, None if variables is None else with_weights


def _distance(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Return the squared distance in units of the targets' variance."""
    return jnp.mean((outputs - targets) ** 2) / jnp.maximum(jnp.var(targets), 1e-12)


def _rows(tree: PyTree, what: tuple[str, ...]) -> list[tuple[str, str, Any]]:
    """Return layer, kind and (mean) value of every tuned range."""
    rows = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree["ranges"]):
        kind, hook = range_kind(path), _hook_of(path)
        if kind in what:
            # Only the last part can be the hook: a module of the model may be called "analog", too.
            name = "/".join(hook[:-1] if hook and hook[-1] in _HOOKS else hook)
            rows.append((name or "(the model itself)", kind, np.mean(leaf)))
    return rows


def _hook_of(path: tuple) -> tuple[str, ...]:
    """Return the path of the hook that a range belongs to."""
    names = tuple(path_names(path))
    return names[:-2] if names[-1] == "value" else names[:-1]


def _no_change(ranges: PyTree, what: tuple[str, ...]) -> Any:
    """Return theta = 0 for each layer's ranges of each kind, one for every member of a stack of layers."""
    leaves = jax.tree_util.tree_leaves_with_path(ranges)
    stacks = {_hook_of(path): np.shape(leaf) for path, leaf in leaves if range_kind(path) == "input"}

    def start(path: tuple, leaf: Any) -> jax.Array:
        members = stacks.get(_hook_of(path), ()) if range_kind(path) in what else ()
        return jnp.zeros(members, jnp.float32)

    return jax.tree_util.tree_map_with_path(start, ranges)


def _scaled(theta: jax.Array, leaf: Any) -> jax.Array:
    """Multiply a range by its layer's factor e^theta, the same for all columns of the layer."""
    return leaf * jnp.exp(theta).reshape(theta.shape + (1,) * (jnp.ndim(leaf) - theta.ndim)).astype(leaf.dtype)


def _descended(
    fit: Fit, tree: PyTree, state: PyTree, x: Any, targets: Any, objective: Any, key: jax.Array, kinds: tuple[str, ...],
    steps: int, learning_rate: Any, batch_size: int, chips: int,
) -> tuple[Any, float, float]:  # fmt: skip
    """Return the tree with the best ranges, and the validation losses before and after."""
    moves = jax.tree_util.tree_map_with_path(lambda path, _: range_kind(path) in kinds, tree["ranges"])
    if not any(jax.tree.leaves(moves)):
        raise InputError(f"what = {kinds!r}: the model has no such range")
    tx = optax.partition({True: optax.adam(learning_rate), False: optax.set_to_zero()}, moves)
    n = count_examples(x)

    def with_factors(theta: Any) -> Any:
        ranges = jax.tree.map(lambda t, r, m: _scaled(t, r) if m else r, theta, tree["ranges"], moves)
        return {**tree, "ranges": ranges}

    def loss(theta: Any, x: Any, targets: Any, chip_key: jax.Array) -> jax.Array:
        return objective(fit.call(with_factors(theta), state, x, chip_key)[0], targets)

    @jax.jit
    def validated(theta: Any, x: Any, targets: Any) -> jax.Array:
        # The same chips at every call, so that losses differ by the ranges alone.
        keys = jax.random.split(stream(key, "validation"), chips)
        return jax.lax.map(lambda k: loss(theta, x, targets, k), keys).mean()

    @jax.jit
    def descend(carry: Any, first: Any, last: Any, x: Any, targets: Any) -> Any:
        def step(number, carry):
            theta, opt_state = carry
            step_key = jax.random.fold_in(stream(key, "steps"), number)
            chosen = jax.random.choice(stream(step_key, "examples"), n, (batch_size,), replace=False)
            batch = map_examples(lambda a: a[chosen], (x, targets))
            gradient = jax.grad(loss)(theta, *batch, stream(step_key, "chip"))
            updates, opt_state = tx.update(gradient, opt_state, theta)
            return optax.apply_updates(theta, updates), opt_state

        # The bounds are traced: all stretches share one compilation.
        return jax.lax.fori_loop(first, last, step, carry)

    theta = _no_change(tree["ranges"], kinds)
    before = after = float(validated(theta, x, targets))
    if not np.isfinite(before):
        raise InputError("loss: is not finite on the sampled chips; check the data, weights and ranges")
    best, carry = theta, (theta, tx.init(theta))
    ends = [steps * (i + 1) // _STRETCHES for i in range(_STRETCHES)]
    for first, last in zip([0, *ends], ends, strict=False):
        carry = descend(carry, first, last, x, targets)
        validated_loss = float(validated(carry[0], x, targets))
        if validated_loss < after:
            best, after = carry[0], validated_loss
    return with_factors(best), before, after


def _check(what: Any, steps: Any, batch_size: Any, chips: Any, learning_rate: Any) -> None:
    if not isinstance(what, tuple) or not what or any(kind not in _KINDS for kind in what):
        raise InputError(f"what = {what!r}: must be a tuple of one or more of 'input', 'output', 'weight'")
    for name, value in (("steps", steps), ("batch_size", batch_size), ("chips", chips)):
        check_integer(value, name)
    check_number(learning_rate, "learning_rate", gt=0)
