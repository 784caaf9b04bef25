"""One step of hardware-aware training as a pure function, for custom loops; ``fine_tune`` is built from it.

    step = make_step(model, variables, x[:64], optimizer=optax.adam(1e-3), distil=0.5)
    carry, update = step.initial_state, jax.jit(step)
    for number in range(1000):
        batch, key = ..., jax.random.fold_in(root, number)
        carry, metrics = update(carry, x, labels, key, ramp(number), step.teacher_logits(x))
    variables = step.unbind(carry)                                       # metrics.loss, metrics.accuracy

The step depends only on its arguments: ``jax.lax.scan`` runs an epoch, ``jax.vmap`` over keys trains on several samples
of the hardware, and arrays sharded over the examples make it data-parallel. ``step.loss`` can be passed to ``jax.grad``
or another optimiser. The noise scale may be traced, so that a ramp needs one compilation. With several micro-batches,
each samples separate hardware, and their gradients are accumulated sequentially, so that memory holds one gradient and
the activations of one micro-batch.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from analogsim.base.call_inputs import (
    Fixed,
    Options,
    apart,
    as_inputs,
    count_examples,
    first_examples,
    fixed_options,
    keywords,
    no_arrays,
)
from analogsim.base.checks import check_fraction, check_integer, check_number
from analogsim.base.errors import InputError
from analogsim.base.random import check_one_key, stream
from analogsim.base.types import Numeric, PyTree
from analogsim.models.protocol import BoundModel
from analogsim.training.fitting import Fit, fit_of, learned_labels, tracks
from analogsim.training.losses import Loss, cross_entropy, distillation
from analogsim.training.schedule import scaled_noise


class TrainState(NamedTuple):
    """State of training between steps.

    Attributes:
      params: ``{"params": ...}``, and ``"ranges"`` if the hardware learns them: the trained arrays.
      model_state: the model's other collections, such as batch statistics and tracked ranges.
      opt_state: state of the optimiser.
    """

    params: PyTree
    model_state: PyTree
    opt_state: PyTree


class StepMetrics(NamedTuple):
    """Mean loss and fraction of correct classes of a batch, before the update.

    The accuracy is NaN if labels are not one class number per output.
    """

    loss: jax.Array
    accuracy: jax.Array


class Recipe(NamedTuple):
    """What a step does, besides the structure of its model; compares by value, as a static argument of ``jax.jit``.

    A step itself holds arrays and closures that are new in every call of ``make_step``. A function that is compiled for
    a recipe serves every step of the same recipe, with other weights, data and keys.
    """

    options: Options
    hardware: tuple[tuple[str, Fixed], ...]
    optimizer: Fixed
    range_learning_rate: Fixed
    loss: Fixed
    distil: Fixed
    temperature: Fixed
    micro_batches: int

    def step(self, bound: BoundModel, start: TrainState) -> "TrainingStep":
        """Return the step of a bound model whose arrays are in ``start``."""
        hardware = {path: item.value for path, item in self.hardware}
        fit = Fit(bound, keywords(self.options), hardware)
        tx = _with_ranges(self.optimizer.value, self.range_learning_rate.value, fit, start.params)
        settings = (self.loss.value, self.distil.value, self.temperature.value, self.micro_batches)
        return TrainingStep(fit, start, tx, *settings, self)


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingStep:
    """A training step; see ``make_step``.

    Attributes:
      fit: the model in the form used by training.
      initial_state: state before the first step.
    """

    fit: Fit
    initial_state: TrainState
    optimizer: optax.GradientTransformation
    objective: Loss
    distil: float
    temperature: Numeric
    micro_batches: int
    recipe: Recipe

    def loss(
        self,
        params: PyTree,
        state: PyTree,
        x: Any,
        labels: Any,
        key: jax.Array,
        noise_scale: Numeric = 1.0,
        teacher_logits: Any = None,
    ) -> tuple[jax.Array, tuple[Any, jax.Array]]:
        """Return ``(loss, (state, accuracy))`` on sampled hardware, for ``jax.value_and_grad(..., has_aux=True)``.

        Args:
          params, state: ``params`` and ``model_state`` of a ``TrainState``.
          x, labels: batch, ``[n, ...]`` each; ``x`` as in ``analogsim.Inputs``, with the same structure in every step.
          key: random key of the hardware.
          noise_scale: factor of the non-idealities (``scaled_noise``); may be traced.
          teacher_logits: logits of the teacher, ``[n, classes]``; required unless ``distil`` is 0.
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
        self,
        carry: TrainState,
        x: Any,
        labels: Any,
        key: jax.Array,
        noise_scale: Numeric = 1.0,
        teacher_logits: Any = None,
    ) -> tuple[TrainState, StepMetrics]:
        """Return the state after one step, and the metrics; see ``loss`` for the arguments."""
        batch = (x, labels, teacher_logits)
        if self.micro_batches == 1:
            metrics, state, gradient = self._gradient(carry.params, carry.model_state, batch, key, noise_scale)
        else:
            metrics, state, gradient = self._accumulated(carry.params, carry.model_state, batch, key, noise_scale)
        updates, opt_state = self.optimizer.update(gradient, carry.opt_state, carry.params)
        return TrainState(optax.apply_updates(carry.params, updates), state, opt_state), metrics

    def teacher_logits(self, x: Any) -> jax.Array:
        """Return the logits ``[n, classes]`` of the teacher, the digital model that training starts from."""
        start = self.initial_state
        return digital_outputs(self.fit.with_arrays(start.params, start.model_state), x)

    def unbind(self, carry: TrainState) -> Any:
        """Return a Linen model's variables, or the trained copy of an NNX model."""
        model, variables = self.unbound(carry)
        return model if variables is None else variables

    def unbound(self, carry: TrainState) -> tuple[Any, Any]:
        """Return model and variables; the variables are None if the model is a trained copy that holds its arrays."""
        return self.fit.unbound(carry.params, carry.model_state)

    def _gradient(self, params, state, batch, key, noise_scale):
        x, labels, teacher_logits = batch
        loss_and_gradient = jax.value_and_grad(self.loss, has_aux=True)
        result, gradient = loss_and_gradient(params, state, x, labels, key, noise_scale, teacher_logits)
        value, (state, accuracy) = result
        return StepMetrics(value, accuracy), state, gradient

    def _accumulated(self, params, state, batch, key, noise_scale):
        m = self.micro_batches
        x, *other_leaves = batch
        n = count_examples(as_inputs(x))
        if n % m:
            raise InputError(f"micro_batches = {m}: must divide the {n} examples of a batch")
        arrays, together = apart(as_inputs(x))  # shared inputs are not split
        cut = jax.tree.map(lambda a: a.reshape(m, n // m, *a.shape[1:]), (arrays, *other_leaves))

        def one(carry, numbered):
            state, total = carry
            number, (examples, *other_parts) = numbered
            part = (together(examples), *other_parts)
            # Each part samples its hardware; the key is folded even for the first, unlike without micro-batches.
            metrics, state, gradient = self._gradient(params, state, part, jax.random.fold_in(key, number), noise_scale)
            return (state, jax.tree.map(lambda t, s: t + s / m, total, gradient)), metrics

        zero = jax.tree.map(jnp.zeros_like, params)
        (state, gradient), metrics = jax.lax.scan(one, (state, zero), (jnp.arange(m), cut))
        return jax.tree.map(jnp.mean, metrics), state, gradient


def make_step(
    model: Any,
    variables: PyTree,
    x: Any,
    *,
    optimizer: optax.GradientTransformation,
    range_learning_rate: Any = 0.01,
    loss: Loss = cross_entropy,
    distil: float = 0.0,
    temperature: Numeric = 2.0,
    micro_batches: int = 1,
    key: jax.Array | None = None,
    training_options: dict[str, Any] | None = None,
    **options: Any,
) -> TrainingStep:
    """Build one step of hardware-aware training; the module's docstring shows a loop.

    Args:
      model, variables: a Linen model with analog layers and its variables (calibrated, if ranges are learned), or an
        NNX model and None. Neither is modified.
      x: a first batch (``analogsim.Inputs``), ``[n, ...]`` each, for shapes and for initial values of tracked ranges.
      optimizer: optimiser of the parameters.
      range_learning_rate: learning rate of learned ranges, relative to the size of each range; Adam.
      loss: loss of the task, ``loss(outputs, labels) -> number``.
      distil, temperature: weight of the teacher in the loss, in [0, 1], and temperature of the distillation.
      micro_batches: number of parts that every batch is split into.
      key: random key for initial values of tracked ranges; otherwise not needed.
      training_options, **options: see ``fine_tune``.

    Returns:
      the step, ``step(state, x, labels, key, noise_scale, teacher_logits) -> (state, StepMetrics)``.

    Raises:
      InputError: for a model without analog layers, missing ranges, or a setting out of range.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from analogsim import preset
      >>> from analogsim.linen import AnalogDense
      >>> layer, x = AnalogDense(3, hardware=preset("pcm")), jax.random.normal(jax.random.key(0), (16, 4))
      >>> step = make_step(layer, layer.init(jax.random.key(1), x), x, optimizer=optax.sgd(0.1))
      >>> carry, metrics = jax.jit(step)(step.initial_state, x, jnp.zeros(16, int), jax.random.key(2))
      >>> step.unbind(carry)["params"]["kernel"].shape
      (4, 3)
    """
    check_number(range_learning_rate, "range_learning_rate", ge=0)
    check_fraction(distil, "distil")
    check_number(temperature, "temperature", gt=0)
    check_integer(micro_batches, "micro_batches")
    options, more = no_arrays(options), no_arrays(training_options)
    x = as_inputs(x)
    two = first_examples(x, 2)
    fit = fit_of(model, variables, two, options if training_options is None else more, options)
    params, state = fit.start()
    if tracks(fit.hardware):
        if key is None:
            raise InputError("key: is required for the initial values of tracked ranges")
        check_one_key(key)
        _, state = jax.jit(fit.call)(params, state, x, stream(key, "first ranges"))
    recipe = Recipe(
        fixed_options(fit.options), tuple((path, Fixed(item)) for path, item in fit.hardware.items()), Fixed(optimizer),
        Fixed(range_learning_rate), Fixed(loss), Fixed(distil), Fixed(temperature), int(micro_batches),
    )  # fmt: skip
    start = TrainState(params, state, None)
    return recipe.step(fit.bound, start._replace(opt_state=_first_opt_state(recipe, fit.bound, start)))


def _first_opt_state(recipe: Recipe, bound: BoundModel, start: TrainState) -> Any:
    """Return the first state of the optimiser; what it keeps for a parameter lies where the parameter lies."""
    spread = [
        (path, a.shape, a.sharding)
        for path, a in jax.tree_util.tree_leaves_with_path(start.params)
        if isinstance(a, jax.Array) and not isinstance(a, jax.core.Tracer) and len(a.sharding.device_set) > 1
    ]
    if not spread:
        return _opt_state(recipe, bound, start)
    # Zeros depend on no array, so that XLA would put all of them on every device.
    shapes = jax.eval_shape(functools.partial(_opt_state, recipe), bound, start)

    def place(path: tuple, leaf: Any) -> Any:
        fits = (where for of, shape, where in spread if path[-len(of) :] == of and leaf.shape == shape)
        return next(fits, None)

    shardings = jax.tree_util.tree_map_with_path(place, shapes)
    return jax.jit(_opt_state, static_argnums=0, out_shardings=shardings)(recipe, bound, start)


@functools.partial(jax.jit, static_argnums=0)
def _opt_state(recipe: Recipe, bound: BoundModel, start: TrainState) -> Any:
    return recipe.step(bound, start).optimizer.init(start.params)


#: Outputs of the digital model in inference. Module-level, so that all trainings share one cache.
digital_outputs = jax.jit(lambda bound, x: bound.digital(x, in_eval_mode=True))


def _with_ranges(of_params: Any, range_learning_rate: Any, fit: Fit, params: PyTree) -> optax.GradientTransformation:
    if "ranges" not in params:
        return of_params
    # Steps are relative to the range: as fast for a range of 0.01 as for one of 10, and it never crosses zero.
    of_ranges = optax.chain(optax.scale_by_adam(), _times_value(), optax.scale(-range_learning_rate))
    rules = {"params": of_params, "ranges": of_ranges, "frozen": optax.set_to_zero()}
    return optax.partition(rules, learned_labels(params, fit.hardware))


def _times_value() -> optax.GradientTransformation:
    def update(updates, state, params=None):
        return jax.tree.map(lambda u, p: u * p, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _accuracy(outputs: Any, labels: Any) -> jax.Array:
    shape: tuple[int, ...] = getattr(outputs, "shape", ())
    one_class_per_output = shape[:-1] == jnp.shape(labels) and len(shape) > 1 and shape[-1] > 1
    if not one_class_per_output or not jnp.issubdtype(jnp.result_type(labels), jnp.integer):
        return jnp.full((), jnp.nan)
    return (jnp.argmax(jax.lax.stop_gradient(outputs), axis=-1) == labels).mean()
