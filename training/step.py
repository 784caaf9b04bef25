"""One step of hardware-aware training as a plain function, for a loop of one's own; ``fine_tune`` is made of it.

    step = make_step(model, variables, x[:64], optimizer=optax.adam(1e-3), distil=0.5)
    carry, update = step.initial_state, jax.jit(step)
    for number in range(1000):
        batch, key = ..., jax.random.fold_in(root, number)
        carry, found = update(carry, x, labels, key, ramp(number), step.teacher_logits(x))     # found.loss,
    found.accuracy
    variables = step.unbind(carry)

It is pure, and reads nothing but its arguments: ``jax.lax.scan`` makes an epoch of it, ``jax.vmap`` over keys trains on
several draws of the hardware, arrays sharded over the examples make it data-parallel. ``step.loss`` alone goes into
``jax.grad``, or any other optimiser. The level is a number like any other: a ramp is one compilation. With several
micro-batches each has hardware of its own and their gradients are added up one after the other, so that memory holds
the activations of one and one gradient.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from analogsim.base.call_inputs import apart, as_inputs, count_examples, map_examples, no_arrays
from analogsim.base.checks import check_fraction, check_integer, check_number
from analogsim.base.errors import InputError
from analogsim.base.random import check_one_key, stream
from analogsim.training.fitting import Fit, fit_of, learned_labels, tracks
from analogsim.training.losses import Loss, cross_entropy, distillation
from analogsim.training.schedule import scaled_noise


class TrainState(NamedTuple):
    """What one step hands to the next.

    Attributes:
      params: ``{"params": ...}``, and ``"ranges"`` where the hardware learns them: what the optimiser moves.
      model_state: the model's other collections, batch statistics and tracked ranges among them.
      opt_state: of the optimiser.
    """

    params: Any
    model_state: Any
    opt_state: Any


class StepMetrics(NamedTuple):
    """What a step found before it moved: mean loss, and the share of its examples whose class was right.

    The accuracy is NaN where labels are not one class number for each output.
    """

    loss: jax.Array
    accuracy: jax.Array


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingStep:
    """A step; see ``make_step``.

    Attributes:
      initial_state: the carry to begin with.
      fit: the model as training sees it.
    """

    fit: Fit
    initial_state: TrainState
    optimizer: optax.GradientTransformation
    objective: Loss
    distil: float
    temperature: Any
    micro_batches: int

    def loss(
        self,
        params: Any,
        state: Any,
        x: Any,
        labels: Any,
        key: jax.Array,
        noise_scale: Any = 1.0,
        teacher_logits: Any = None,
    ) -> tuple[jax.Array, tuple[Any, jax.Array]]:
        """``(loss, (state, accuracy))`` on hardware drawn from the key; for ``jax.value_and_grad(..., has_aux=True)``.

        Args:
          params, state: as in a ``TrainState``.
          x, labels: ``[n, ...]`` each; ``x`` as of ``analogsim.Inputs``, of the same form in every step.
          key: a random key.
          noise_scale: how far the hardware deviates from an ideal one (``noise_scale``); may be traced.
          teacher_logits: logits of the teacher, ``[n, classes]``; needed where ``distil`` is not 0.
        """
        with scaled_noise(noise_scale):
            outputs, state = self.fit.call(params, state, x, key)
        accuracy = _accuracy(outputs, labels)
        if not self.distil:
            return self.objective(outputs, labels), (state, accuracy)
        if teacher_logits is None:
            raise InputError(
                "teacher_logits: with distil, a step needs the teacher's logits, for example step.teacher_logits(x)"
            )
        value = distillation(
            outputs, labels, teacher_logits, weight=self.distil, temperature=self.temperature, loss=self.objective
        )
        return value, (state, accuracy)

    def __call__(
        self, carry: TrainState, x: Any, labels: Any, key: jax.Array, noise_scale: Any = 1.0, teacher_logits: Any = None
    ) -> tuple[TrainState, StepMetrics]:
        """The carry after one step, and what it found; arguments as of ``loss``."""
        batch = (x, labels, teacher_logits)
        if self.micro_batches == 1:
            found, state, gradient = self._gradient(carry.params, carry.model_state, batch, key, noise_scale)
        else:
            found, state, gradient = self._accumulated(carry.params, carry.model_state, batch, key, noise_scale)
        updates, opt_state = self.optimizer.update(gradient, carry.opt_state, carry.params)
        return TrainState(optax.apply_updates(carry.params, updates), state, opt_state), found

    def teacher_logits(self, x: Any) -> jax.Array:
        """Logits of the exact network that training starts from, ``[n, classes]``: the teacher."""
        return self._exact(self.initial_state.params, self.initial_state.model_state, x)

    def unbind(self, carry: TrainState) -> Any:
        """A Linen model's variables, or the trained copy of an NNX model."""
        model, variables = self.unbound(carry)
        return model if variables is None else variables

    def unbound(self, carry: TrainState) -> tuple[Any, Any]:
        """Model and variables; the variables are None where the model is a trained copy that holds its arrays."""
        return self.fit.unbound(carry.params, carry.model_state)

    @functools.cached_property
    def _exact(self) -> Any:
        return jax.jit(self.fit.digital)

    def _gradient(self, params, state, batch, key, noise_scale):
        x, labels, teacher_logits = batch
        both = jax.value_and_grad(self.loss, has_aux=True)(params, state, x, labels, key, noise_scale, teacher_logits)
        (value, (state, accuracy)), gradient = both
        return StepMetrics(value, accuracy), state, gradient

    def _accumulated(self, params, state, batch, key, noise_scale):
        m = self.micro_batches
        x, *other_leaves = batch
        n = count_examples(as_inputs(x))
        if n % m:
            raise InputError(f"micro_batches = {m}: must divide the {n} examples of a batch")
        arrays, together = apart(as_inputs(x))  # what the examples share is not cut
        cut = jax.tree.map(lambda a: a.reshape(m, n // m, *a.shape[1:]), (arrays, *other_leaves))

        def one(carry, numbered):
            state, total = carry
            number, (examples, *other_parts) = numbered
            part = (together(examples), *other_parts)
            metrics, state, gradient = self._gradient(params, state, part, jax.random.fold_in(key, number), noise_scale)
            return (state, jax.tree.map(lambda t, s: t + s / m, total, gradient)), metrics

        zero = jax.tree.map(jnp.zeros_like, params)
        (state, gradient), metrics = jax.lax.scan(one, (state, zero), (jnp.arange(m), cut))
        return jax.tree.map(jnp.mean, metrics), state, gradient


def make_step(
    model: Any,
    variables: Any,
    x: Any,
    *,
    optimizer: optax.GradientTransformation,
    range_learning_rate: Any = 0.01,
    loss: Loss = cross_entropy,
    distil: float = 0.0,
    temperature: Any = 2.0,
    micro_batches: int = 1,
    key: jax.Array | None = None,
    training_options: dict[str, Any] | None = None,
    **options: Any,
) -> TrainingStep:
    """One step of hardware-aware training; the module shows a loop.

    Args:
      model, variables: a Linen model with analog layers and its variables (calibrated, where ranges are learned), or an
        NNX model and None. Neither is changed.
      x: a first batch (``analogsim.Inputs``), ``[n, ...]`` each: for its shape, and the first values of tracked ranges.
      optimizer: of the parameters.
      range_learning_rate: of learned ranges, relative to each range's size; Adam.
      loss: ``loss(outputs, labels) -> number`` of the task.
      distil, temperature: weight of the teacher in the loss, in [0, 1], and how soft its outputs are taken.
      micro_batches: pieces that every batch is cut into.
      key: for the first values of tracked ranges; not needed without.
      training_options, **options: as of ``fine_tune``.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from analogsim import preset
      >>> from analogsim.linen import AnalogDense
      >>> layer, x = AnalogDense(3, hardware=preset("pcm")), jax.random.normal(jax.random.key(0), (16, 4))
      >>> step = make_step(layer, layer.init(jax.random.key(1), x), x, optimizer=optax.sgd(0.1))
      >>> carry, found = jax.jit(step)(step.initial_state, x, jnp.zeros(16, int), jax.random.key(2))
      >>> step.unbind(carry)["params"]["kernel"].shape
      (4, 3)
    """
    check_number(range_learning_rate, "range_learning_rate", ge=0)
    check_fraction(distil, "distil")
    check_number(temperature, "temperature", gt=0)
    check_integer(micro_batches, "micro_batches")
    options, more = no_arrays(options), no_arrays(training_options)
    x = as_inputs(x)
    fit = fit_of(model, variables, _first(x, 2), options if training_options is None else more, options)
    params, state = fit.start()
    if tracks(fit.hardware):
        if key is None:
            raise InputError("key: tracked ranges need one for their first values")
        check_one_key(key)
        _, state = jax.jit(fit.call)(params, state, x, stream(key, "first ranges"))
    tx = _with_ranges(optimizer, range_learning_rate, fit, params)
    return TrainingStep(
        fit, TrainState(params, state, tx.init(params)), tx, loss, distil, temperature, int(micro_batches)
    )


def _first(x: Any, n: int) -> Any:
    return map_examples(lambda a: a[:n], x)


def _with_ranges(of_params: Any, range_learning_rate: Any, fit: Fit, params: Any) -> optax.GradientTransformation:
    if "ranges" not in params:
        return of_params
    # Adam's step times the range itself: as fast for a range of 0.01 as for one of 10, and never through zero.
    of_ranges = optax.chain(optax.scale_by_adam(), _times_value(), optax.scale(-range_learning_rate))
    rules = {"params": of_params, "ranges": of_ranges, "frozen": optax.set_to_zero()}
    return optax.partition(rules, learned_labels(params, fit.hardware))


def _times_value() -> optax.GradientTransformation:
    def update(updates, state, params=None):
        return jax.tree.map(lambda u, p: u * p, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _accuracy(outputs: Any, labels: Any) -> jax.Array:
    shape: tuple[int, ...] = getattr(outputs, "shape", ())
    one_each = shape[:-1] == jnp.shape(labels) and len(shape) > 1 and shape[-1] > 1
    if not one_each or not jnp.issubdtype(jnp.result_type(labels), jnp.integer):
        return jnp.full((), jnp.nan)
    return (jnp.argmax(jax.lax.stop_gradient(outputs), axis=-1) == labels).mean()
