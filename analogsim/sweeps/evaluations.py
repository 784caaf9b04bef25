"""The measurement of a sweep: a model's scores on sampled chips, or any function of the hardware.

    ChipScores(model, variables, x, labels)        a model's score on programmed chips, as ``evaluate`` measures it
    def evaluate(hardware, key): ...               anything else; with a third argument time_s if ages are swept

Both implement ``prepare``, which is called once per structure, outside the compiled program, and returns a function of
the swept numbers, of one chip's key and of the times.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from analogsim.base.call_inputs import Inputs, count_examples, inputs_of, map_examples
from analogsim.base.errors import InputError, brief
from analogsim.base.random import chip_key
from analogsim.base.types import Numeric, PyTree
from analogsim.base.units import seconds
from analogsim.chips.calibration import calibrate as calibrated
from analogsim.chips.chip import check_finite, first_chip
from analogsim.chips.evaluation import EvaluationJob, checked_work, chip_outputs, score_chip, score_digital
from analogsim.chips.metrics import accuracy, check_metric, on_numpy
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.override import override_hardware
from analogsim.hardware.rules import checked_rules
from analogsim.models.bound import bind, programmed_leaves
from analogsim.models.convert import convert
from analogsim.models.protocol import BoundModel
from analogsim.sweeps.axes import changed

_PRICED_EXAMPLES = 64


class Prepared(NamedTuple):
    """One structure, prepared for measurement.

    Attributes:
      operands: arrays (a tree) passed to ``measure``, so that they are not compiled into it as constants.
      measure: ``measure(operands, values, key, chip, times_s) -> {metric: [times]}``, or scalars if ``times_s`` is
        None; ``values`` holds the leaf axes' values by field, ``key`` is the sweep's, ``chip`` an index.
      compiled: whether ``measure`` can be traced.
    """

    operands: Any
    measure: Callable[..., dict[str, Any]]
    compiled: bool = True


class ByPoint(NamedTuple):
    """A quantity that depends on the hardware but not on the chip.

    Attributes:
      values: ``[points]``.
      unit, about: for labels.
    """

    values: np.ndarray
    unit: str
    about: str


class Evaluation(Protocol):
    """The interface of a measurement."""

    def targets(self, hardware: Any) -> list[Hardware]:
        """Return all hardware that a sweep over ``hardware`` changes."""
        ...

    def prepare(self, hardware: Hardware, change: Mapping[str, Any], key: jax.Array) -> Prepared:
        """Prepare one structure: the hardware with ``change`` applied."""
        ...

    def digital_scores(self) -> dict[str, float]:
        """Return the digital model's scores by metric; empty if there is none."""
        ...

    def words(self, metric: str) -> str:
        """Return a metric's name for labels."""
        ...

    def about(self) -> str:
        """Describe the measurement in one line."""
        ...

    def by_point(
        self, hardware: Hardware, change: Mapping[str, Any], columns: Mapping[str, np.ndarray]
    ) -> dict[str, ByPoint]:
        """Return the quantities that no chip decides, at every point of a structure.

        Args:
          hardware, change: the hardware and the changes of the structure.
          columns: values of the leaf axes by field, ``{field: [n_points]}``.
        """
        ...


@dataclasses.dataclass(frozen=True)
class ChipScores:
    """The scores of a model on programmed chips, for ``sweep``; computed as by ``evaluate``.

    Attributes:
      model: a Linen or NNX model: plain (it is converted to the swept hardware) or with analog layers (pass
        ``hardware=None`` to ``sweep``: each layer keeps its hardware, with the swept fields changed).
      variables: variables of a Linen model; None for NNX.
      x, labels: inputs and labels ``[n, ...]``, as for ``evaluate``.
      metric: ``metric(outputs, labels)``, or several by name, ``{"accuracy": accuracy, "loss": loss}``.
      calibrate: inputs for calibrating converter ranges at every structure, with keywords as
        ``Inputs(x, mask=mask)``; needed if a structural axis changes the tiles and the variables carry ranges. None
        keeps the variables' ranges, if any.
      time: time of reading if ages are not swept: seconds after programming, or a string.
      batch_size, batched: as for ``evaluate``: examples computed together, or all of them in one call.
      on_host: as for ``evaluate``: metrics are called in Python with NumPy arrays, one chip at a time.
      energy: also return ``energy_j``, the typical energy per inference at every point in J (``energy.inference_j``, on
        the first 64 examples).
      options: keyword arguments of the model's call, for example ``{"train": False}``, and ``rngs``; those that hold
        arrays are treated as inputs.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import flax.linen as nn
      >>> from analogsim import preset, sweep
      >>> model, x = nn.Dense(3), jax.random.normal(jax.random.key(0), (8, 4))
      >>> variables, labels = model.init(jax.random.key(1), x), jnp.zeros(8, int)
      >>> data = sweep(ChipScores(model, variables, x, labels), preset("pcm"),
      ...              over={"adc.bits": [4, 8], "time": ["1 s", "1 year"]}, chips=2, key=jax.random.key(2))
      >>> dict(data.score.sizes)
      {'adc.bits': 2, 'time': 2, 'chip': 2}
    """

    model: Any
    variables: PyTree
    x: Any
    labels: Any
    metric: Any = accuracy
    calibrate: Any = None
    time: Any = 0.0
    batch_size: int | None = None
    batched: bool = False
    on_host: bool = False
    energy: bool = False
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        seconds(self.time, "time")
        self._work(self.model, self.variables)
        if not callable(self.metric) and not (isinstance(self.metric, Mapping) and self.metric):
            raise InputError(
                f"metric = {brief(self.metric)}: must be a function metric(outputs, labels), or several by name"
            )

    @property
    def _metrics(self) -> dict[str, Callable]:
        return dict(self.metric) if isinstance(self.metric, Mapping) else {"score": self.metric}

    @property
    def _call_options(self) -> dict[str, Any]:
        """Keyword arguments of the call without arrays."""
        return inputs_of(self.x, self.options)[1]

    def _inputs(self) -> Inputs:
        return inputs_of(self.x, self.options)[0]

    def _work(self, model: Any, variables: PyTree) -> EvaluationJob:
        """Return the model of one structure, bound to its variables, with the data."""
        how = (self.batch_size, self.batched, self.on_host)
        return checked_work(model, variables, self.x, self.labels, self.options, *how)

    def _score(self, outputs: Any, labels: Any) -> dict[str, Any]:
        if self.on_host:
            return {name: on_numpy(metric, outputs, labels) for name, metric in self._metrics.items()}
        return {name: metric(outputs, labels) for name, metric in self._metrics.items()}

    def targets(self, hardware: Any) -> list[Hardware]:
        """Return the hardware of the rules, or of the model's layers if ``hardware`` is None."""
        if hardware is None:
            return _own_hardware(self._work(*self._placed(None, {})).bound)
        return [target for _, target in checked_rules(hardware, None) if target is not None]

    def _placed(self, hardware: Any, change: Mapping[str, Any]) -> tuple[Any, Any]:
        """Return the model on the hardware of one structure and its variables, calibrated if requested."""
        model, variables = self.model, self.variables
        if hardware is not None:
            rules = [
                (selector, target and changed(target, change)) for selector, target in checked_rules(hardware, None)
            ]
            model = convert(model, rules)
        if self.calibrate is not None:
            model, variables = bind(model, variables).unbind()  # a copy: an NNX model stores its ranges in itself
            with override_hardware(lambda path, own: changed(own, change)):
                variables = calibrated(model, variables, self.calibrate, **self._call_options)
        return model, variables

    def _check_metrics(self, work: EvaluationJob) -> None:
        outputs = work.output_shapes()
        for metric in self._metrics.values():
            check_metric(metric, outputs, work.labels, self.on_host)

    def prepare(self, hardware: Hardware, change: Mapping[str, Any], key: jax.Array) -> Prepared:
        """Convert, calibrate and bind the model, and program one chip, so that errors are raised early."""
        work = self._work(*self._placed(hardware, change))
        own_time = np.asarray([seconds(self.time, "time")], np.float32)
        with override_hardware(lambda path, own: changed(own, change)):
            first = first_chip(work.bound, key)
        if not programmed_leaves(first):
            raise InputError("the model has no analog layer: pass hardware= so that sweep can convert the model")
        check_finite(first)
        self._check_metrics(work)
        if self.on_host:
            return self._prepared_on_host(work, change, own_time)

        def measure(operands: Any, values: Any, key: jax.Array, chip: Any, times_s: Any) -> dict[str, Any]:
            bound, x, labels = operands
            times = own_time if times_s is None else times_s
            with override_hardware(lambda path, own: changed(own, {**change, **values})):
                scores = score_chip(bound, key, chip, times, x, labels, (None,), self._score, work.size)
            return jax.tree.map(lambda score: score[0, 0] if times_s is None else score[:, 0], scores)

        return Prepared((work.bound, work.x, work.labels), measure)

    def _prepared_on_host(self, work: EvaluationJob, change: Mapping[str, Any], own_time: np.ndarray) -> Prepared:
        """Compute outputs with two compiled programs per structure, and score them in Python."""

        @jax.jit
        def cells_of(bound: BoundModel, values: Any, key: jax.Array, chip: Any) -> Any:
            with override_hardware(lambda path, own: changed(own, {**change, **values})):
                return bound.program(chip_key(key, chip))

        @jax.jit
        def outputs_of(
            bound: BoundModel, cells: PyTree, values: Any, key: jax.Array, chip: Any, time_s: Numeric, x: Any
        ) -> Any:
            with override_hardware(lambda path, own: changed(own, {**change, **values})):
                return chip_outputs(bound, cells, key, chip, time_s, x, None, work.size)

        def measure(operands: Any, values: Any, key: jax.Array, chip: Any, times_s: Any) -> dict[str, Any]:
            bound, x, labels = operands
            # A plain number would be weakly typed in jit; these are the types of SweepPlan.columns.
            numbers = {n: jnp.asarray(v, jnp.int32 if isinstance(v, int) else jnp.float32) for n, v in values.items()}
            cells = cells_of(bound, numbers, key, chip)
            found = [
                self._score(outputs_of(bound, cells, numbers, key, chip, time_s, x), labels)
                for time_s in np.asarray(own_time if times_s is None else times_s, np.float32)
            ]
            of_times = {name: np.array([scores[name] for scores in found]) for name in found[0]}
            return {name: scores[0] if times_s is None else scores for name, scores in of_times.items()}

        return Prepared((work.bound, work.x, work.labels), measure, compiled=False)

    def by_point(
        self, hardware: Hardware, change: Mapping[str, Any], columns: Mapping[str, np.ndarray]
    ) -> dict[str, ByPoint]:
        """Return ``energy_j`` if ``energy`` is set."""
        if not self.energy:
            return {}
        from analogsim.energy import inference_j

        model, variables = self._placed(hardware, change)
        x, options = map_examples(lambda a: a[:_PRICED_EXAMPLES], self._inputs()), self._call_options

        def joules(values: Any) -> Any:
            with override_hardware(lambda path, own: changed(own, {**change, **values})):
                return inference_j(model, variables, x, **options)

        points = {name: jnp.asarray(column) for name, column in columns.items()}
        found = jax.jit(lambda p: lax.map(joules, p))(points) if points else jax.jit(joules)({})[None]
        return {"energy_j": ByPoint(np.asarray(found), "J", "energy of one inference, typical")}

    def about(self) -> str:
        """Name the metrics, the model and the number of examples."""
        metrics = " and ".join(map(self.words, self._metrics))
        return f"{metrics} of {type(self.model).__name__} on {count_examples(self._inputs())} examples"

    def words(self, metric: str) -> str:
        """Return the metric's name; the default score is called accuracy."""
        return "accuracy" if self._metrics.get(metric) is accuracy else metric

    def digital_scores(self) -> dict[str, float]:
        """Return the digital model's scores by metric."""
        work = self._work(self.model, self.variables)
        self._check_metrics(work)
        return {name: score_digital(work, metric) for name, metric in self._metrics.items()}


def _own_hardware(bound: BoundModel) -> list[Hardware]:
    """Return the distinct hardware of a model's layers."""
    return list({repr(hardware): hardware for hardware in bound.hardware().values()}.values())


@dataclasses.dataclass(frozen=True)
class FunctionEvaluation:
    """A user's function ``evaluate(hardware, key[, time_s])`` that returns a number or numbers by name.

    Attributes:
      function: the function.
      compiled: False calls it with plain numbers, one chip at a time, for code that JAX cannot trace.
      takes_time: whether it has a third argument.
    """

    function: Callable[..., Any]
    compiled: bool
    takes_time: bool

    def targets(self, hardware: Any) -> list[Hardware]:
        """Return the hardware that the function is called with."""
        if not isinstance(hardware, Hardware):
            raise InputError(f"hardware = {brief(hardware)}: must be a Hardware, the first argument of evaluate")
        return [hardware]

    def prepare(self, hardware: Hardware, change: Mapping[str, Any], key: jax.Array) -> Prepared:
        """Apply the structural changes to the hardware."""
        del key
        structure = changed(hardware, change)

        def measure(operands: Any, values: Any, key: jax.Array, chip: Any, times_s: Any) -> dict[str, Any]:
            del operands
            point = changed(structure, values)
            own = chip_key(key, chip)
            if times_s is None:
                return self._numbers(self.function(point, own))
            if self.compiled:
                return lax.map(lambda time_s: self._numbers(self.function(point, own, time_s)), times_s)
            found = [self._numbers(self.function(point, own, float(time_s))) for time_s in times_s]
            return {name: np.array([scores[name] for scores in found]) for name in found[0]}

        return Prepared((), measure, self.compiled)

    def _numbers(self, found: Any) -> dict[str, Any]:
        scores = dict(found) if isinstance(found, Mapping) else {"score": found}
        if not scores:
            raise InputError("evaluate: returned no number")
        for name, score in scores.items():
            if not isinstance(name, str) or "/" in name:
                raise InputError(f"evaluate: returned a number by the name {name!r}: must be a string without '/'")
            if score is None or isinstance(score, str):
                raise InputError(f"evaluate: {name}: returned {brief(score)}: must be a number")
            if np.shape(score) != ():
                raise InputError(
                    f"evaluate: {name}: has shape {np.shape(score)}: must be one number, for example the mean "
                    f"over examples"
                )
            if jnp.result_type(score).kind not in "biuf" and not jnp.issubdtype(jnp.result_type(score), jnp.floating):
                raise InputError(f"evaluate: {name}: is of type {jnp.result_type(score)}: must be a real number")
        return {name: jnp.asarray(score) if self.compiled else score for name, score in scores.items()}

    def by_point(
        self, hardware: Hardware, change: Mapping[str, Any], columns: Mapping[str, np.ndarray]
    ) -> dict[str, ByPoint]:
        """Return nothing."""
        del hardware, change, columns
        return {}

    def about(self) -> str:
        """Return the function's name and the first line of its docstring."""
        name = getattr(self.function, "__qualname__", type(self.function).__name__)
        text = (inspect.getdoc(self.function) or "").partition("\n")[0]
        return f"{name}: {text}" if text else name

    def words(self, metric: str) -> str:
        """Return the metric's name."""
        return metric

    def digital_scores(self) -> dict[str, float]:
        """Return nothing: a function has no digital model."""
        return {}


def evaluation_of(evaluate: Any, compiled: bool) -> Evaluation:
    """Return the user's ``evaluate`` as an ``Evaluation``.

    Raises:
      InputError: if it is neither ``ChipScores`` nor a function of two or three arguments.
    """
    if all(hasattr(evaluate, name) for name in ("targets", "prepare", "digital_scores")):
        if not compiled:
            raise InputError(
                "compiled = False: applies only to a function evaluate(hardware, key); ChipScores is always compiled"
            )
        return evaluate
    if not callable(evaluate):
        raise InputError(
            f"evaluate = {brief(evaluate)}: must be ChipScores(model, variables, x, labels), or a function "
            f"evaluate(hardware, key) that returns numbers"
        )
    takes = _arguments(evaluate)
    if takes not in (2, 3):
        raise InputError(
            "evaluate: must be a function of (hardware, key), or of (hardware, key, time_s) if ages are swept"
        )
    return FunctionEvaluation(evaluate, compiled, takes == 3)


def _arguments(function: Callable) -> int | None:
    """Return the number of positional arguments without defaults; None if unknown."""
    try:
        parameters: Sequence[inspect.Parameter] = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p for p in parameters if p.kind in positional and p.default is inspect.Parameter.empty]
    return len(needed)
