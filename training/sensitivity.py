"""Which flaw of the hardware hurts most: the slope of the loss in every physical number, over sampled chips.

For chips c = 1..n, fabricated and programmed from keys of their own and read at one time, the mean loss L_c over the
examples is differentiated with respect to every number p of every layer's hardware, through fabrication, writing,
ageing and reading: the random numbers stay, their sizes change. Reported is what 10 % more of a number does,

    effect_c = 0.1 sum over layers of p dL_c/dp          mean over c, with the standard error std/sqrt(n)

Numbers of bits, and the ranges of converters, act through a staircase that has no useful slope. They are varied by one
bit, or by 10 %, up and down, on the same chips with the same noise, and half the difference is reported.
"""

import dataclasses
import fnmatch
import functools
import numbers
import typing
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.altering import altered
from analogsim.chip import check_compensation, check_time, read
from analogsim.devices.description import Description
from analogsim.devices.errors import InputError, nearest
from analogsim.devices.random import check_one_key, stream
from analogsim.devices.units import show_time
from analogsim.evaluation import run_examples
from analogsim.models import bind, program_jit
from analogsim.training.fitting import hardware_of
from analogsim.training.losses import Loss, cross_entropy

if typing.TYPE_CHECKING:
    import xarray

#: Fields of ``Hardware`` that no chip's output depends on.
_ELSEWHERE = ("prices", "training", "training_strength", "input_range", "output_range")
_RANGES = ("ranges.input", "ranges.output")
_SHOWN = 12


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """What ``sensitivity`` found; prints as a table, the largest effects first.

    Attributes:
      data: ``slope`` of the loss over (chip, layer, parameter), in 1/unit, NaN where a difference was taken or a layer
        has no such number; ``effect`` over (chip, parameter); ``value`` over (layer, parameter); ``loss`` over chip;
        ``method`` and ``change`` of every parameter.
    """

    data: "xarray.Dataset"

    @property
    def ranking(self) -> list[tuple[str, str, float, float]]:
        """Parameter, change, mean effect on the loss and its standard error, the largest first."""
        effects = self.data.effect
        n = effects.sizes["chip"]
        mean = effects.mean("chip").values
        error = effects.std("chip", ddof=1).values / np.sqrt(n) if n > 1 else np.full(mean.shape, np.nan)
        order = np.argsort(-np.abs(mean), kind="stable")
        names, changes = self.data.parameter.values, self.data.change.values
        return [(str(names[i]), str(changes[i]), float(mean[i]), float(error[i])) for i in order]

    def table(self, rows: int = _SHOWN) -> Any:
        """The largest effects as a rich table."""
        from analogsim.tables import simple_table

        n, loss = self.data.sizes["chip"], float(self.data.loss.mean())
        when = f"{n} chips, {self.data.attrs['time']} after programming"
        found = simple_table(f"What changes a loss of {loss:.4f}, mean of {when}")
        found.add_column("parameter")
        found.add_column("change")
        found.add_column("value", justify="right")
        found.add_column("loss", justify="right")
        found.add_column("standard error", justify="right")
        felt = [row for row in self.ranking if row[2]]
        for name, change, mean, error in felt[:rows]:
            found.add_row(name, change, self._value(name), f"{mean:+.5f}", f"{error:.5f}")
        left, idle = felt[rows:], len(self.ranking) - len(felt)
        said = [f"{len(left)} more, each of less than {abs(left[0][2]):.2g}"] if left else []
        said += [f"{idle} without any effect (0 to begin with, or nothing depends on it)"] if idle else []
        found.caption = "; ".join(said) or None
        return found

    def _value(self, name: str) -> str:
        """The number in all layers that have it, as a range where they differ."""
        values = self.data.value.sel(parameter=name).values
        known = values[np.isfinite(values)]
        if not known.size:
            return "calibrated"
        low, high = float(known.min()), float(known.max())
        return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"

    def __str__(self) -> str:
        from analogsim.tables import as_text

        return as_text(self.table())


def sensitivity(
    model: Any,
    variables: Any,
    x: Any,
    labels: Any,
    *,
    key: jax.Array,
    chips: int = 32,
    time: Any = "1 day",
    compensation: str | None = None,
    loss: Loss = cross_entropy,
    parameters: typing.Sequence[str] | None = None,
    batch_size: int = 512,
    **options: Any,
) -> Sensitivity:
    """The slope of the loss with respect to every number of the hardware, on programmed chips.

    Args:
      model, variables: a Linen model with analog layers and its variables, or an NNX model and None.
      x, labels: examples and what ``loss`` compares the outputs with, ``[n, ...]``; a few hundred are enough.
      key: everything random follows from it; chip i is the same whatever ``chips`` is.
      chips: how many to sample.
      time: when they are read after programming.
      compensation: drift compensation; None for the hardware's own.
      loss: ``loss(outputs, labels) -> number``.
      parameters: names or patterns, ``("store.cell.*", "adc.noise")``; None for all but the single coefficients of
        fits (``store.cell.drift_mean[0]``), ``("*",)`` for those, too.
      batch_size: examples computed together.
      **options: keyword arguments of the Linen model's call, for example ``train=False``.

    Raises:
      InputError: for a name that no layer has, or that is None there; for a loss that is no number.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from analogsim import preset
      >>> from analogsim.linen import AnalogDense
      >>> layer, x = AnalogDense(3, hardware=preset("pcm")), jax.random.normal(jax.random.key(0), (20, 4))
      >>> variables = layer.init(jax.random.key(1), x)
      >>> found = sensitivity(layer, variables, x, jnp.zeros(20, int), key=jax.random.key(2), chips=3)
      >>> found.data.slope.dims
      ('chip', 'layer', 'parameter')
    """
    check_one_key(key)
    check_compensation(compensation)
    if isinstance(chips, bool) or not isinstance(chips, (int, np.integer)) or chips < 1:
        raise InputError(f"chips = {chips!r}: must be a whole number and at least 1")
    x, labels = jax.tree.map(jnp.asarray, x), jnp.asarray(labels)
    hardware = hardware_of(model, variables, jax.tree.map(lambda a: a[:1], x), options)
    bound = bind(model, variables, x, options)
    first = program_jit(bound, _chip_key(key, 0))
    time_s = jnp.asarray(check_time(time, first), jnp.float32)
    chosen = _chosen(hardware, parameters, _has_ranges(bound))

    setting = _Setting(compensation, loss, batch_size, tuple(chosen.smooth), tuple(chosen.stepped))
    indices = jnp.arange(chips)
    losses, slopes = _slopes(bound, key, indices, time_s, x, labels, setting)
    if not bool(jnp.all(jnp.isfinite(losses))):
        raise InputError("loss: is not a finite number on the sampled chips; look at the data, weights and ranges")
    differences = _differences(bound, key, indices, time_s, x, labels, setting, chosen.moves)
    return Sensitivity(_dataset(chosen, losses, slopes, differences, float(time_s)))


class _Setting(NamedTuple):
    """What is static."""

    compensation: str | None
    loss: Loss
    batch_size: int
    smooth: tuple[tuple[str, tuple[str, ...]], ...]
    stepped: tuple[tuple[str, tuple[str, ...]], ...]


class _Chosen(NamedTuple):
    """Numbers of every layer, by path: those with slopes and those that are varied; their values; the variations."""

    smooth: list[tuple[str, tuple[str, ...]]]
    stepped: list[tuple[str, tuple[str, ...]]]
    values: dict[str, dict[str, float]]
    moves: list[str]


def _chip_key(key: jax.Array, index: Any) -> jax.Array:
    return jax.random.fold_in(stream(key, "chips"), index)


def _loss_of(bound: Any, key: Any, index: Any, time_s: Any, x: Any, labels: Any, setting: _Setting, shifts: Any):
    """The mean loss of one chip whose layers' numbers are shifted by ``shifts[path][name]``."""

    def change(path: str, hardware: Any) -> Any:
        return shifted(hardware, shifts.get(path, {}))

    with altered(change):
        cells = bound.program(_chip_key(key, index))
        readings = read(cells, time_s, setting.compensation, True)
        noise = jax.random.fold_in(stream(key, "reads"), index)
        outputs = run_examples(lambda a, k: bound.run(readings, a, k), x, noise, setting.batch_size)
    return setting.loss(outputs, labels)


@functools.partial(jax.jit, static_argnames="setting")
def _slopes(bound, key, indices, time_s, x, labels, setting):
    """Losses ``[chip]`` and their slopes ``{path: {name: [chip]}}``."""
    zeros = {path: {name: jnp.zeros(()) for name in names} for path, names in setting.smooth}

    def one(index):
        loss = functools.partial(_loss_of, bound, key, index, time_s, x, labels, setting)
        return jax.value_and_grad(loss)(zeros)

    return jax.lax.map(one, indices)


def _differences(bound, key, indices, time_s, x, labels, setting, moves) -> dict[str, np.ndarray]:
    """Half the difference of the loss between one step up and one down ``[chip]``, for every stepped number."""
    if not moves:
        return {}
    steps = jnp.asarray([(i, sign) for i in range(len(moves)) for sign in (1, -1)], jnp.int32)
    found = _varied(bound, key, indices, time_s, x, labels, setting, tuple(moves), steps)
    return {name: np.asarray(found[:, 2 * i] - found[:, 2 * i + 1]) / 2 for i, name in enumerate(moves)}


@functools.partial(jax.jit, static_argnames=("setting", "moves"))
def _varied(bound, key, indices, time_s, x, labels, setting, moves, steps):
    """Losses ``[chip, step]``."""

    def one(index):
        def at(step):
            number, sign = step[0], step[1]
            amount = {name: jnp.where(number == i, sign, 0) for i, name in enumerate(moves)}
            shifts = {path: {name: amount[name] for name in names} for path, names in setting.stepped}
            factors = {name: 1 + 0.1 * amount[name] for name in _RANGES if name in moves}
            ranged = _with_ranges(bound, factors) if factors else bound
            return _loss_of(ranged, key, index, time_s, x, labels, setting, shifts)

        return jax.lax.map(at, steps)

    return jax.lax.map(one, indices)


def _has_ranges(bound: Any) -> bool:
    held = bound.variables.get("ranges", {}) if hasattr(bound, "variables") else _nnx_ranges(bound)
    return bool(jax.tree.leaves(held))


def _nnx_ranges(bound: Any) -> Any:
    from flax import nnx

    from analogsim.nnx import Range

    return nnx.filter_state(bound.state, Range)


def _with_ranges(bound: Any, factors: dict[str, Any]) -> Any:
    """The bound model with its calibrated ranges multiplied."""

    def scaled(path: tuple, leaf: Any) -> Any:
        names = {str(getattr(p, "key", getattr(p, "name", p))) for p in path}
        for which in ("input", "output"):
            inside = {which, f"{which}_range"} & names
            if inside and f"ranges.{which}" in factors and not hasattr(leaf, "shapes"):
                return leaf * factors[f"ranges.{which}"]
        return leaf

    if hasattr(bound, "variables"):
        ranges = jax.tree_util.tree_map_with_path(scaled, bound.variables["ranges"])
        return dataclasses.replace(bound, variables={**bound.variables, "ranges": ranges})
    return dataclasses.replace(bound, state=jax.tree_util.tree_map_with_path(scaled, bound.state))


def leaves(item: Description, above: str = "") -> dict[str, tuple[Any, bool]]:
    """The numbers of a description by dotted name, tuples by index; whether each is a whole number; None as it is.

    Example:
      >>> from analogsim.devices import ReRAM
      >>> sorted(leaves(ReRAM()))[:3]
      ['g_max', 'g_min', 'programming_noise']
    """
    found: dict[str, tuple[Any, bool]] = {}
    for f in dataclasses.fields(item):  # type: ignore[arg-type]
        value, name = getattr(item, f.name), f"{above}{f.name}"
        if isinstance(value, Description):
            found |= leaves(value, f"{name}.")
        elif f.metadata.get("is_static"):
            continue
        elif isinstance(value, tuple):
            found |= {f"{name}[{i}]": (v, False) for i, v in enumerate(value) if _is_number(v)}
        elif value is None or _is_number(value):
            found[name] = (value, bool(f.metadata.get("integer")))
    return found


def shifted(hardware: Any, shifts: dict[str, Any]) -> Any:
    """Hardware whose numbers are changed by these amounts, by dotted name."""
    changes: dict[str, Any] = {}
    for name, amount in shifts.items():
        base, _, index = name.partition("[")
        value = changes.get(base, functools.reduce(getattr, base.split("."), hardware))
        if index:
            i = int(index[:-1])
            changes[base] = (*value[:i], value[i] + amount, *value[i + 1 :])
        else:
            changes[base] = value + amount
    return hardware.replace(**changes)


def _is_number(value: Any) -> bool:
    if isinstance(value, jax.Array):
        return value.ndim == 0
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _chosen(hardware: dict[str, Any], parameters: Any, has_ranges: bool) -> _Chosen:
    numbers_of = {path: {n: v for n, v in leaves(h).items() if n.split(".")[0] not in _ELSEWHERE}
                  for path, h in hardware.items()}  # fmt: skip
    every = {name for found in numbers_of.values() for name in found} | (set(_RANGES) if has_ranges else set())
    absent = {n for n in every - set(_RANGES) if all(f.get(n, (None,))[0] is None for f in numbers_of.values())}
    wanted = _wanted(parameters, every, absent)
    smooth, stepped, values, moves = [], [], {}, []
    for path, found in numbers_of.items():
        own = {n: (float(v), whole) for n, (v, whole) in found.items() if n in wanted and v is not None}
        # A calibrated range stands in for the ADC's own.
        ranged = {"adc.range"} & own.keys()
        smooth.append((path, tuple(n for n, (_, whole) in own.items() if not whole and n not in ranged)))
        stepped.append((path, tuple(n for n, (_, whole) in own.items() if whole)))
        values[path] = {n: v for n, (v, _) in own.items() if n not in ranged}
        moves += [n for n in stepped[-1][1] if n not in moves]
    moves += [name for name in _RANGES if name in wanted]
    return _Chosen(smooth, stepped, values, moves)


def _wanted(parameters: Any, every: set[str], absent: set[str]) -> set[str]:
    if parameters is None:
        return {name for name in every - absent if "[" not in name}
    if isinstance(parameters, str) or not all(isinstance(p, str) for p in parameters):
        raise InputError(f"parameters = {parameters!r}: must be names or patterns, for example ('adc.noise',)")
    wanted: set[str] = set()
    for pattern in parameters:
        found = {name for name in every if fnmatch.fnmatchcase(name.replace("[", "("), pattern.replace("[", "("))}
        if not found:
            raise InputError(f"parameters: {pattern!r} is no number of the hardware; {nearest(pattern, sorted(every))}")
        if found <= absent:
            raise InputError(f"parameters: {pattern!r} is None in every layer, the effect is absent; give it a value")
        wanted |= found - absent
    return wanted


def _dataset(chosen: _Chosen, losses: Any, slopes: Any, differences: dict[str, np.ndarray], time_s: float):
    import xarray

    layers = list(chosen.values)
    smooth = list(dict.fromkeys(name for _, names in chosen.smooth for name in names))
    names = [*smooth, *chosen.moves]
    n = len(losses)
    slope = np.full((n, len(layers), len(names)), np.nan)
    value = np.full((len(layers), len(names)), np.nan)
    effect = np.zeros((n, len(names)))
    for i, layer in enumerate(layers):
        for name, v in chosen.values[layer].items():
            value[i, names.index(name)] = v
        for name, found in slopes[layer].items():
            j = names.index(name)
            slope[:, i, j] = found
            effect[:, j] += 0.1 * chosen.values[layer][name] * np.asarray(found, np.float64)
    for name, found in differences.items():
        effect[:, names.index(name)] = found
    whole = set(chosen.moves) - set(_RANGES)
    return xarray.Dataset(
        {
            "slope": (("chip", "layer", "parameter"), slope),
            "effect": (("chip", "parameter"), effect),
            "value": (("layer", "parameter"), value),
            "loss": ("chip", np.asarray(losses, np.float64)),
        },
        coords={
            "chip": np.arange(n),
            "layer": layers,
            "parameter": names,
            "method": ("parameter", ["difference" if name in chosen.moves else "slope" for name in names]),
            "change": ("parameter", ["one bit more" if name in whole else "10 % more" for name in names]),
        },
        attrs={"time": show_time(time_s), "time_s": time_s},
    )
