"""Compare weight stores as memories: bits per read, retention, and energy.

Weights w, uniform in [-1, 1], are programmed onto a chip and read back one row at a time through the signal path of the
layers, without converters. A read equals a w plus a fixed error (programming, drift, bias of a decaying state) and an
error that is drawn anew at every read (noise, shots). The gain a of the best linear estimate is undone by a digital
scale; a store that holds nothing has a = 0. The average of R reads has

    bits = log2(1 + SNR) / 2,     SNR = a^2 var(w) / (fixed + new / R)

with the variances of both errors; rounding to b bits gives b. ``reads`` is the smallest R that reaches the required
bits, infinite if the fixed error is too large. ``lifetime_s`` is the time at which one read first gives one bit fewer
than required, or than right after programming if that is less; half the bits if that is less than two. Reading a
quantum register destroys the copy: a read takes one copy per shot, and never fewer than by Holevo's bound of n bits per
copy of n qubits (A. S. Holevo, Probl. Inf. Transm. 9, 177, 1973).
"""

import dataclasses
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.checks import check_integer, check_number
from analogsim.base.errors import InputError, brief
from analogsim.base.extrapolation import MARK, MEANING, extrapolates
from analogsim.base.field_rules import Number
from analogsim.base.random import stream
from analogsim.base.units import seconds, show, show_time
from analogsim.chips.chip import read
from analogsim.devices.digital import DigitalMemory
from analogsim.energy.chip.tile_work import ACTIONS
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.presets import preset, presets
from analogsim.linen import AnalogDense
from analogsim.models.bound import bind

if TYPE_CHECKING:
    import rich.table

_SIDE = 64  # of the matrix that is read back: 4,096 weights estimate a standard deviation to about 1 %
_READS = 32
_MOST_BITS = 24.0  # significand of float32
_NOTHING = 0.05  # bits that the finite sample may show by chance
_LONGEST_S = 315_576_000.0  # ten years

#: Suitable uses of a store, by class name.
_USES = {
    "DigitalMemory": "any weights; moves them to the arithmetic",
    "Crossbar": "products in place, weights that seldom change",
    "MZIMesh": "fast products of few weights, held by power",
    "RingBank": "fast products of few weights, held by power",
    "PhotonicTensorCore": "fast products, weights that seldom change",
    "FadingLight": "weights that are used at once and sent again",
    "AmplitudeStore": "overlaps on a quantum processor; not a memory of weights",
}


class StorageRow(NamedTuple):
    """The results of one store, a row of ``StorageComparison``. Returned by ``storage``, which has an example.

    Attributes:
      name: of the hardware.
      cells: number of physical cells (or qubits) for all weights.
      bits: bits per read of a weight at the given time; None if that is beyond the store's data.
      bits_at_first: bits per read right after programming.
      max_bits: limit for infinitely many reads, at the given time.
      reads: reads to average for the required bits; infinite if they are never reached.
      copies: states (pulses, registers) to prepare for these reads of all weights; 0 if reads are not destructive.
      min_copies: Holevo's lower bound on ``copies``, for registers; 0 for other stores.
      lifetime_s: time until a read gives one bit fewer than required (see the module), s; 0 if it never gave anything.
      outlasts_data: True if the lifetime exceeds ``lifetime_s``, the end of the data or ten years.
      hold_w: static power to hold all weights, W.
      write_j: energy to program all weights once, or to prepare one copy if reads are destructive, J; None if no
        figure is published, or if the static power does the programming.
      product_j: energy of one product with all weights, without converters, J.
      destructive_read: whether a read destroys the stored weights.
      use: suitable use.
      extrapolated: whether ``bits``, ``max_bits``, ``reads`` and ``copies`` are extrapolated in time.
      lifetime_extrapolated: whether ``lifetime_s`` is extrapolated.
    """

    name: str
    cells: int
    bits: float | None
    bits_at_first: float
    max_bits: float | None
    reads: float
    copies: float
    min_copies: float
    lifetime_s: float
    outlasts_data: bool
    hold_w: float
    write_j: float | None
    product_j: float
    destructive_read: bool
    use: str
    extrapolated: bool = False
    lifetime_extrapolated: bool = False


@dataclasses.dataclass(frozen=True)
class StorageComparison:
    """A comparison of weight stores; prints as a table. Returned by ``storage``, which has an example.

    Attributes:
      rows: one per store.
      weights: number of weights stored.
      required_bits: bits per weight that ``reads`` refers to.
      time_s: time between programming and reading, s.

    Example:
      >>> (row,) = storage(1000, stores=["int8"]).rows
      >>> f"{row.write_j:.3g}"     # 1,000 bytes at 1.75 pJ
      '1.75e-09'
    """

    rows: tuple[StorageRow, ...]
    weights: int
    required_bits: float
    time_s: float

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary for JSON; infinite and unknown values are None."""
        rows = [{name: _finite(value) for name, value in row._asdict().items()} for row in self.rows]
        return {"weights": self.weights, "required_bits": self.required_bits, "time_s": self.time_s, "stores": rows}

    def table(self) -> "rich.table.Table":
        """Tabulate the comparison, one row per store."""
        from analogsim.base.tables import as_count, simple_table

        when = show_time(self.time_s) if self.time_s else "no time"
        result = simple_table(f"{as_count(self.weights)} weights, read {when} after programming")
        result.add_column("store", no_wrap=True)
        reads = f"reads for\n{self.required_bits:g} bits"
        for column in (
            "cells", "bits/\nread", reads, "reads\ndestroy", "loses\n1 bit\nafter", "static\npower", "write",
            "per\nproduct",
        ):  # fmt: skip
            result.add_column(column, justify="right")
        result.add_column("good for", min_width=17)
        for row in self.rows:
            result.add_row(row.name, *_words(row), row.use)
        result.caption = _caption(self)
        return result

    def __str__(self) -> str:
        from analogsim.base.tables import as_text

        return as_text(self.table())


def storage(
    weights: int = 1_000_000,
    *,
    time: Any = "1 day",
    bits: float = 4.0,
    stores: Sequence[Any] | None = None,
    key: int = 0,
    progress: Callable[[int, int], Any] | None = None,
) -> StorageComparison:
    """Compare weight stores as memories of a given number of weights.

    Args:
      weights: number of weights.
      time: time between programming and reading, in seconds or as a string such as ``"1 day"``.
      bits: required bits per weight, for ``reads``.
      stores: names of presets, or ``Hardware``; by default all presets except ``ideal``.
      key: random seed of the measured chips.
      progress: called with (done, total) numbers of stores, at the beginning and after each.

    Returns:
      a ``StorageComparison`` with one row per store.

    Raises:
      InputError: for an unknown store, ``weights`` below 1, a negative time, or bits out of range.

    Example:
      >>> int8, pcm = storage(stores=["int8", "pcm"], time="1 month").rows
      >>> round(int8.bits, 1), int8.reads, pcm.outlasts_data
      (8.0, 1.0, False)
    """
    weights = Number(integer=True, ge=1).check(weights, "weights")  # accepts 1e6
    check_integer(key, "key", ge=0, le=2**31 - 1)
    check_number(bits, "bits", gt=0, le=_MOST_BITS)
    time_s = float(seconds(time, "time"))  # type: ignore[arg-type]
    chosen = [name for name in presets() if name != "ideal"] if stores is None else stores
    if isinstance(chosen, str) or not chosen:
        raise InputError(f"stores = {stores!r}: must be a sequence of preset names or Hardware")
    hardware = [_hardware(store) for store in chosen]
    rows = _rows(hardware, progress or (lambda done, total: None), weights, time_s, float(bits), jax.random.key(key))
    return StorageComparison(rows, weights, float(bits), time_s)


def _rows(stores: list[Hardware], progress: Callable[[int, int], Any], *how: Any) -> tuple[StorageRow, ...]:
    """Measure the stores in one thread per processor: most of the time is compilation, which releases the GIL."""
    # With more threads every compilation takes longer, until XLA warns of each ("Very slow compile?").
    pool = ThreadPoolExecutor(usable_cpus())
    try:
        rows = [pool.submit(_row, hardware, *how) for hardware in stores]
        progress(0, len(rows))
        for done, row in enumerate(as_completed(rows), 1):
            row.result()  # raises an error at once
            progress(done, len(rows))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C does not wait for XLA
    return tuple(row.result() for row in rows)


def usable_cpus() -> int:
    """Return the number of processors that this process may use.

    Example:
      >>> usable_cpus() >= 1
      True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _hardware(store: Any) -> Hardware:
    hardware = preset(store) if isinstance(store, str) else store
    if not isinstance(hardware, Hardware):
        raise InputError(f"stores: {brief(store)}: must be the name of a preset or a Hardware")
    return hardware


def _row(hardware: Hardware, weights: int, time_s: float, required_bits: float, key: jax.Array) -> StorageRow:
    store, limit_s = hardware.store, hardware.store.time_limit_s
    times = _times(time_s, limit_s)
    errors = _errors(*_bound(hardware), jnp.asarray(times, jnp.float32), key)
    power, fixed, new = (np.asarray(a, np.float64) for a in errors)
    bits_of_one_read = _bits(power, fixed + new)
    has_data = limit_s is None or time_s <= float(limit_s)
    # `_times` includes this time itself, so the search finds it exactly.
    at = int(np.searchsorted(times, time_s)) if has_data else 0
    missing = power[at] / (4**required_bits - 1) - fixed[at]
    # A ratio that exceeds an integer only by rounding must not need one more read.
    reads = float(max(1, math.ceil(new[at] / missing - 1e-9))) if missing > 0 and has_data else math.inf
    lifetime_s, lasts = _lifetime(times, bits_of_one_read, min(float(bits_of_one_read[0]), required_bits))
    destructive = store.destructive_read
    cells, hold_w, product_j, write_j = _costs(hardware, weights)
    copies, min_copies = _copies(store, hardware, weights, required_bits, reads, cells) if destructive else (0.0, 0.0)
    return StorageRow(
        name=hardware.name,
        cells=cells,
        bits=float(bits_of_one_read[at]) if has_data else None,
        bits_at_first=float(bits_of_one_read[0]),
        max_bits=float(_bits(power[at], fixed[at])) if has_data else None,
        reads=reads,
        copies=copies,
        min_copies=min_copies,
        lifetime_s=lifetime_s,
        outlasts_data=lasts,
        hold_w=hold_w,
        write_j=write_j,
        product_j=product_j,
        destructive_read=destructive,
        use=_USES.get(type(store).__name__, ""),
        extrapolated=extrapolates(hardware, time_s),
        lifetime_extrapolated=extrapolates(hardware, lifetime_s),
    )


def _times(time_s: float, limit_s: Any) -> np.ndarray:
    """Return 0, three times per decade from 1 ns to the end of the data, and the requested time, s."""
    last = _LONGEST_S if limit_s is None else min(_LONGEST_S, float(limit_s))
    grid = 10.0 ** np.arange(-9, np.log10(last), 1 / 3)
    asked = [time_s] if limit_s is None or time_s <= float(limit_s) else []
    return np.unique([0.0, *grid, last, *asked])


def _bound(hardware: Hardware) -> tuple[Any, jax.Array]:
    """Return a layer on this hardware without converters, and its weights ``[n, n]``."""
    w = jax.random.uniform(jax.random.key(1), (_SIDE, _SIDE), minval=-1.0, maxval=1.0)
    w = w.at[0].set(1.0)  # the maximum of every column: no column is rescaled
    bare = hardware.replace(dac=None, adc=None, input_range=None, output_range=None, bound_management="none")
    layer = AnalogDense(_SIDE, hardware=bare, use_bias=False)
    return bind(layer, {"params": {"kernel": w}}, jnp.eye(_SIDE)[:1]), w


@jax.jit
def _errors(bound: Any, w: jax.Array, times_s: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return the signal power of a read, the variance of the fixed error and of the new error, each ``[times]``."""
    cells = bound.program(stream(key, "chip"))
    keys = jax.random.split(stream(key, "reads"), _READS)
    centred = w[1:] - jnp.mean(w[1:])

    def at(time_s: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        readings = read(cells, time_s, None, True)
        outputs = jax.lax.map(lambda k: bound.run(readings, jnp.eye(_SIDE), k)[1:], keys)
        new = jnp.mean(jnp.var(outputs, axis=0, ddof=1))
        mean = jnp.mean(outputs, axis=0)
        gain = jnp.mean(mean * centred) / jnp.mean(centred**2)
        fixed = jnp.var(mean - jnp.mean(mean) - gain * centred)
        # The mean of a finite number of reads keeps some new error, and so does the fitted gain: subtract both.
        chance = new / (_READS * centred.size)
        power = jnp.maximum(gain**2 * jnp.mean(centred**2) - chance, 0.0)
        return power, jnp.maximum(fixed - new / _READS, 0.0), new

    return jax.lax.map(at, times_s)


def _bits(power: Any, error: Any) -> Any:
    """Return the bits of a signal of this power with an error of this variance."""
    # Digital stores read without error: the floor keeps the ratio finite, the cap gives their bits.
    return np.minimum(0.5 * np.log2(1 + power / np.maximum(error, 1e-30)), _MOST_BITS)


def _lifetime(times: np.ndarray, bits: np.ndarray, first: float) -> tuple[float, bool]:
    """Return when the bits fall short, interpolated in log time; or the last time, and True, if they never do."""
    if first < _NOTHING:
        return 0.0, False
    threshold = max(first - 1, first / 2)
    below = np.flatnonzero(bits < threshold)
    if not below.size:
        return float(times[-1]), True
    i = int(below[0])
    if times[i - 1] == 0:
        return float(times[i]), False
    part = (bits[i - 1] - threshold) / (bits[i - 1] - bits[i])
    return float(times[i - 1] * (times[i] / times[i - 1]) ** part), False


def _copies(
    store: Any, hardware: Hardware, weights: int, required_bits: float, reads: float, cells: int
) -> tuple[float, float]:
    """Return the number of states to prepare for these reads of all weights, and Holevo's lower bound on it."""
    qubits = getattr(store, "qubits", None)
    if qubits is None:  # pulses: one per cell
        return reads * cells, 0.0
    registers = math.ceil(weights / hardware.rows)
    return reads * float(store.shots) * registers, weights * required_bits / qubits(min(hardware.rows, weights))


def _costs(hardware: Hardware, weights: int) -> tuple[int, float, float, float | None]:
    """Return cells, static power, energy per product and programming energy, with tiles filled as far as possible."""
    store, energy_table = hardware.store, hardware.energy_table
    rows = min(hardware.rows, 512, weights)
    columns = min(hardware.columns, 512, math.ceil(weights / rows))
    tile = jax.random.uniform(jax.random.key(2), (rows, columns), minval=-1.0, maxval=1.0)
    fraction = weights / (rows * columns)
    cells = math.ceil(store.n_cells(rows, columns) * fraction)
    spent = {}
    for action in store.cost(tile, 1 / 3):
        spent[action.name] = float(action.quantity) * float(ACTIONS[action.name].unit_energy_j(energy_table)) * fraction
    hold_w = sum(joules for name, joules in spent.items() if ACTIONS[name].is_power)
    product_j = sum(joules for name, joules in spent.items() if not ACTIONS[name].is_power)
    return cells, hold_w, product_j, _write_j(hardware, weights, cells, spent)


def _write_j(hardware: Hardware, weights: int, cells: int, spent: dict[str, float]) -> float | None:
    """Return the energy of programming once: per cell; of digital memory as of fetching; or of preparing states."""
    store, energy_table = hardware.store, hardware.energy_table
    if hardware.cell_write_j is not None:
        return float(hardware.cell_write_j) * cells
    if isinstance(store, DigitalMemory):
        return float(energy_table.weight_fetch_j_per_byte) * weights * float(store.bits or 32) / 8
    if "qubit gate" in spent:  # counted for all shots of a read
        return spent["qubit gate"] / float(store.shots)
    if store.destructive_read:  # the light that one product consumes
        return spent.get("laser", 0.0) + spent.get("modulator", 0.0)
    return None


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _words(row: StorageRow) -> list[str]:
    from analogsim.base.tables import as_count

    lifetime = f"> {show_time(row.lifetime_s)}" if row.outlasts_data else show_time(row.lifetime_s)
    reads = "never" if math.isinf(row.reads) else as_count(row.reads)
    late = f" {MARK}" * row.extrapolated
    lifetime += f" {MARK}" * row.lifetime_extrapolated
    return [
        as_count(row.cells),
        "no data" if row.bits is None else f"{row.bits:.1f}{late}",
        "no data" if row.bits is None else f"{reads}{late}",
        "yes" if row.destructive_read else "no",
        lifetime,
        show(row.hold_w, "W", 2) if row.hold_w else "none",
        "–" if row.write_j is None else show(row.write_j, "J", 2),
        show(row.product_j, "J", 2),
    ]


def _caption(comparison: StorageComparison) -> str:
    lines = [
        "bits/read: log2(1 + SNR)/2 of weights uniform in [-1, 1], after removing a common gain.",
        "never: the fixed error (programming, drift, decay) is too large for any number of reads.   –: not published.",
        f"loses 1 bit: of the {comparison.required_bits:g} required, or of the first read's bits if those are fewer.",
        "reads destroy: whether a read erases the weights.   static power: heaters, light, refrigerators, not the",
        "leakage of circuits.   per product: one with all weights, without converters and static power.",
    ]
    if any(row.extrapolated or row.lifetime_extrapolated for row in comparison.rows):
        lines.append(f"{MEANING}, along the trend of the last decade.")
    for row in comparison.rows:
        if row.destructive_read:
            copies = (
                "" if math.isinf(row.reads) or not row.copies else f": {row.copies:.2g} states prepared for these reads"
            )
            least = (
                f"{'; by' if copies else ': by'} Holevo's bound at least {row.min_copies:.2g}" if row.min_copies else ""
            )
            if copies or least:
                lines.append(f"{row.name}{copies}{least}.")
    return "\n".join(lines)
