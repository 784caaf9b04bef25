"""What a sweep measures: a model on sampled chips, or any function of the hardware.

    ChipScores(model, variables, x, labels)        a model's score on programmed chips, as ``evaluate`` measures it
    def evaluate(hardware, key): ...               anything else; with a third argument time_s where ages are swept

Both answer ``prepare``: once for every structure, outside of the compiled program, they give a function of the numbers
that are swept, of one chip's key and of the times.
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
from analogsim.base.units import seconds
from analogsim.chips.calibration import calibrate as calibrated
from analogsim.chips.chip import check_finite
from analogsim.chips.evaluation import EvaluationJob, checked_work, chip_outputs, score_chip, score_digital
from analogsim.chips.metrics import accuracy, check_metric, on_numpy
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.override import override_hardware
from analogsim.hardware.rules import checked_rules
from analogsim.models.bound import bind, program_jit, programmed_leaves
from analogsim.models.convert import convert
from analogsim.sweeps.axes import changed

_PRICED_EXAMPLES = 64


class Prepared(NamedTuple):
    """One structure, ready to be measured.

    Attributes:
      operands: arrays (a tree) that the function is handed, so that they are not compiled into it.
      measure: ``measure(operands, values, key, chip, times_s) -> {metric: [times]}``, or numbers where ``times_s`` is
        None; ``values`` are those of the leaf axes by field, ``key`` the sweep's, ``chip`` a number.
      compiled: whether ``measure`` can be traced.
    """

    operands: Any
    measure: Callable[..., dict[str, Any]]
    compiled: bool = True


class ByPoint(NamedTuple):
    """A number of the hardware alone.

    Attributes:
      values: ``[points]``.
      unit, about: for labels.
    """

    values: np.ndarray
    unit: str
    about: str


class Evaluation(Protocol):
    """What a sweep can measure."""

    def targets(self, hardware: Any) -> list[Hardware]:
        """Every hardware that a sweep over ``hardware`` changes."""
        ...

    def prepare(self, hardware: Any, change: Mapping[str, Any], key: jax.Array) -> Prepared:
        """Get one structure ready: the hardware with ``change`` made."""
        ...

    def exact(self) -> dict[str, float]:
        """Scores of the exact model by metric; empty where there is none."""
        ...

    def words(self, metric: str) -> str:
        """What a metric is, for labels."""
        ...

    def about(self) -> str:
        """What is measured, in a line."""
        ...

    def by_point(
        self, hardware: Any, change: Mapping[str, Any], columns: Mapping[str, np.ndarray]
    ) -> dict[str, ByPoint]:
        """What no chip decides, at every point of a structure; ``columns`` are the leaf axes by field."""
        ...


@dataclasses.dataclass(frozen=True)
class ChipScores:
    """A model's scores on programmed chips, for ``sweep``; measured as ``evaluate`` measures them.

    Attributes:
      model: a Linen or NNX model, plain (it is converted to the swept hardware) or with analog layers (give ``sweep``
        the hardware None: every layer keeps its own, with the swept fields changed).
      variables: a Linen model's; None for NNX.
      x, labels: what is measured on, ``[n, ...]``, as of ``evaluate``.
      metric: ``metric(outputs, labels)``, or several by name, ``{"accuracy": accuracy, "loss": loss}``.
      calibrate: inputs from which converter ranges are taken anew at every structure, those by keyword as
        ``Inputs(x, mask=mask)``; needed where a structural axis changes the tiles and the variables carry ranges.
        None keeps the variables' ranges, if any.
      time: when chips are read, where ages are not swept: seconds after programming or text.
      batch_size, batched: as of ``evaluate``: examples computed together, or all of them in one call.
      on_host: as of ``evaluate``: the metrics are called in Python with NumPy arrays, chip by chip.
      energy: also give ``energy_j``, the typical joules of one inference at every point (``energy.inference_j``, on the
        first 64 examples).
      options: keyword arguments of the model's call, ``{"train": False}``, and ``rngs``; those that hold arrays are
        inputs.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import flax.linen as nn
      >>> from analogsim import preset, sweep
      >>> model, x = nn.Dense(3), jax.random.normal(jax.random.key(0), (8, 4))
      >>> variables, labels = model.init(jax.random.key(1), x), jnp.zeros(8, int)
      >>> found = sweep(ChipScores(model, variables, x, labels), preset("pcm"),
      ...               over={"adc.bits": [4, 8], "time": ["1 s", "1 year"]}, chips=2, key=jax.random.key(2))
      >>> dict(found.score.sizes)
      {'adc.bits': 2, 'time': 2, 'chip': 2}
    """

    model: Any
    variables: Any
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
        """Keywords of the call that hold no array."""
        return inputs_of(self.x, self.options)[1]

    def _inputs(self) -> Inputs:
        return inputs_of(self.x, self.options)[0]

    def _work(self, model: Any, variables: Any) -> EvaluationJob:
        """The model of one structure, bound to its variables, with the data."""
        how = (self.batch_size, self.batched, self.on_host)
        return checked_work(model, variables, self.x, self.labels, self.options, *how)

    def _score(self, outputs: Any, labels: Any) -> dict[str, Any]:
        if self.on_host:
            return {name: on_numpy(metric, outputs, labels) for name, metric in self._metrics.items()}
        return {name: metric(outputs, labels) for name, metric in self._metrics.items()}

    def targets(self, hardware: Any) -> list[Hardware]:
        """The rules' hardware, or that of the model's own layers."""
        if hardware is None:
            return _own_hardware(self._work(*self._placed(None, {})).bound)
        return [target for _, target in checked_rules(hardware, None) if target is not None]

    def _placed(self, hardware: Any, change: Mapping[str, Any]) -> tuple[Any, Any]:
        """The model on the hardware of one structure and its variables, calibrated where asked for."""
        model, variables = self.model, self.variables
        if hardware is not None:
            rules = [
                (selector, target and changed(target, change)) for selector, target in checked_rules(hardware, None)
            ]
            model = convert(model, rules)
        if self.calibrate is not None:
            model, variables = bind(model, variables).unbind()  # a copy, where ranges are set in the model
            with override_hardware(lambda path, own: changed(own, change)):
                variables = calibrated(model, variables, self.calibrate, **self._call_options)
        return model, variables

    def _check_metrics(self, work: EvaluationJob) -> None:
        outputs = work.output_shapes()
        for metric in self._metrics.values():
            check_metric(metric, outputs, work.labels, self.on_host)

    def prepare(self, hardware: Any, change: Mapping[str, Any], key: jax.Array) -> Prepared:
        """Convert, calibrate and bind the model; program one chip to see that it can be."""
        work = self._work(*self._placed(hardware, change))
        own_time = jnp.asarray([seconds(self.time, "time")], jnp.float32)
        with override_hardware(lambda path, own: changed(own, change)):
            first = program_jit(work.bound, chip_key(key, 0))
        if not programmed_leaves(first):
            raise InputError("the model has no analog layer: pass hardware= so that sweep can convert the model")
        check_finite(first)
        self._check_metrics(work)
        if self.on_host:
            return self._prepared_on_host(work, change, own_time)

        def measure(operands: Any, values: Any, key: Any, chip: Any, times_s: Any) -> dict[str, Any]:
            bound, x, labels = operands
            times = own_time if times_s is None else times_s
            with override_hardware(lambda path, own: changed(own, {**change, **values})):
                scores = score_chip(bound, key, chip, times, x, labels, (None,), self._score, work.size)
            return jax.tree.map(lambda score: score[0, 0] if times_s is None else score[:, 0], scores)

        return Prepared((work.bound, work.x, work.labels), measure)

    def _prepared_on_host(self, work: EvaluationJob, change: Mapping[str, Any], own_time: jax.Array) -> Prepared:
        """Outputs are computed by two programs a structure, and scored in Python."""

        @jax.jit
        def cells_of(bound: Any, values: Any, key: Any, chip: Any) -> Any:
            with override_hardware(lambda path, own: changed(own, {**change, **values})):
                return bound.program(chip_key(key, chip))

        @jax.jit
        def outputs_of(bound: Any, cells: Any, values: Any, key: Any, chip: Any, time_s: Any, x: Any) -> Any:
            with override_hardware(lambda path, own: changed(own, {**change, **values})):
                return chip_outputs(bound, cells, key, chip, time_s, x, None, work.size)

        def measure(operands: Any, values: Any, key: Any, chip: Any, times_s: Any) -> dict[str, Any]:
            bound, x, labels = operands
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
        self, hardware: Any, change: Mapping[str, Any], columns: Mapping[str, np.ndarray]
    ) -> dict[str, ByPoint]:
        """Joules, if they are asked for."""
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
        """The model, its metrics and how many examples."""
        metrics = " and ".join(map(self.words, self._metrics))
        return f"{metrics} of {type(self.model).__name__} on {count_examples(self._inputs())} examples"

    def words(self, metric: str) -> str:
        """The metric's name, and what it is where that is known."""
        return "accuracy" if self._metrics.get(metric) is accuracy else metric

    def exact(self) -> dict[str, float]:
        """Of the exact model."""
        work = self._work(self.model, self.variables)
        self._check_metrics(work)
        return {name: score_digital(work, metric) for name, metric in self._metrics.items()}


def _own_hardware(bound: Any) -> list[Hardware]:
    """What the model's own layers run on, each once."""
    return list({repr(hardware): hardware for hardware in bound.hardware().values()}.values())


@dataclasses.dataclass(frozen=True)
class FunctionEvaluation:
    """A user's function ``evaluate(hardware, key)`` or ``evaluate(hardware, key, time_s)``: numbers by name, or one.

    Attributes:
      function: what is called.
      compiled: False calls it chip by chip with plain numbers, for what JAX cannot trace.
      takes_time: whether it has a third argument.
    """

    function: Callable[..., Any]
    compiled: bool
    takes_time: bool

    def targets(self, hardware: Any) -> list[Hardware]:
        """The hardware that it is called with."""
        if not isinstance(hardware, Hardware):
            raise InputError(f"hardware = {brief(hardware)}: must be a Hardware, with which evaluate is called")
        return [hardware]

    def prepare(self, hardware: Any, change: Mapping[str, Any], key: jax.Array) -> Prepared:
        """Nothing to get ready but the hardware."""
        del key
        structure = changed(hardware, change)

        def measure(operands: Any, values: Any, key: Any, chip: Any, times_s: Any) -> dict[str, Any]:
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
        self, hardware: Any, change: Mapping[str, Any], columns: Mapping[str, np.ndarray]
    ) -> dict[str, ByPoint]:
        """Nothing."""
        del hardware, change, columns
        return {}

    def about(self) -> str:
        """The function's name and the first line of its docstring."""
        name = getattr(self.function, "__qualname__", type(self.function).__name__)
        text = (inspect.getdoc(self.function) or "").partition("\n")[0]
        return f"{name}: {text}" if text else name

    def words(self, metric: str) -> str:
        """Its name."""
        return metric

    def exact(self) -> dict[str, float]:
        """None is known."""
        return {}


def evaluation_of(evaluate: Any, compiled: bool) -> Evaluation:
    """What the user gave, as an evaluation."""
    if all(hasattr(evaluate, name) for name in ("targets", "prepare", "exact")):
        if not compiled:
            raise InputError("compiled = False: goes with a function evaluate(hardware, key); ChipScores is compiled")
        return evaluate
    if not callable(evaluate):
        raise InputError(
            f"evaluate = {brief(evaluate)}: must be ChipScores(model, variables, x, labels), or a function "
            f"evaluate(hardware, key) that returns numbers"
        )
    takes = _arguments(evaluate)
    if takes not in (2, 3):
        raise InputError(
            "evaluate: must be a function of (hardware, key), or of (hardware, key, time_s) where ages are swept"
        )
    return FunctionEvaluation(evaluate, compiled, takes == 3)


def _arguments(function: Callable) -> int | None:
    """How many positional arguments the function needs."""
    try:
        parameters: Sequence[inspect.Parameter] = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p for p in parameters if p.kind in positional and p.default is inspect.Parameter.empty]
    return len(needed)
