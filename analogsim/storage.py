"""What each store is good for as a memory of weights: how many bits a weight gives back, for how long, at what cost.

Weights w, uniform in [-1, 1], are programmed onto a chip and read back one row at a time through the project's own
signal path, converters left out. A read is a w plus an error that stays (writing, drift, the bias of a decaying state)
and one that is new every time (noise, shots); a, which a digital scale undoes, is that of the best linear estimate, and
no read is better than it is worth: a store that holds nothing has a = 0. With R reads averaged

    bits = log2(1 + SNR) / 2,     SNR = a^2 var(w) / (stays + new / R)

which for plain rounding to b bits is b. ``reads`` is the least R that gives the wanted bits, infinite where what stays
forbids it; ``lifetime_s`` is when a read first gives one bit fewer than is wanted or than it gave right after
programming, whichever is less, or half where that is less than two. A quantum register
gives every copy away when it is read: a read of it takes as many copies as it has shots, and no fewer than Holevo's
bound n bits a copy of n qubits would ever do (A. S. Holevo, Probl. Inf. Transm. 9, 177, 1973).
"""

import dataclasses
import functools
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
from analogsim.energy.chip.tile_work import PRICED
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.presets import preset, presets
from analogsim.linen import AnalogDense
from analogsim.models.bound import bind

if TYPE_CHECKING:
    import rich.table

_SIDE = 64  # of the matrix that is read back: 4,096 weights tell a deviation to about 1 %
_READS = 32
_MOST_BITS = 24.0  # of float32
_NOTHING = 0.05  # bits that chance alone may show
_LONGEST_S = 315_576_000.0  # ten years

#: What is left to use a store for, by the name of its class.
_USES = {
    "DigitalMemory": "any weights; moves them to the arithmetic",
    "Crossbar": "products in place, weights that seldom change",
    "MZIMesh": "fast products of few weights, held by power",
    "RingBank": "fast products of few weights, held by power",
    "PhotonicTensorCore": "fast products, weights that seldom change",
    "FadingLight": "weights that are used at once and sent again",
    "AmplitudeStore": "overlaps on a quantum processor; no memory of weights",
}


class StorageRow(NamedTuple):
    """One store.

    Attributes:
      name: of the hardware.
      cells: physical cells (or qubits) for all weights.
      bits: that one read of a weight gives at the time asked for; None where the model has no data so late.
      bits_at_first: right after programming.
      max_bits: with any number of reads, at that time.
      reads: reads to average for the wanted bits; infinite where they are never reached.
      copies: states (pulses, registers) that reading destroys, prepared anew for these reads of all weights; 0 where
        reading leaves what is stored.
      min_copies: Holevo's bound on them, for registers; 0 for others.
      lifetime_s: until a read gives one bit fewer than is wanted, or than at first where that was less; 0 where it
        never told anything; ``lasts`` says that it is longer than the model has data for, or than ten years.
      outlasts_data: see there.
      hold_w: power that holds all weights.
      write_j: energy of writing all of them once, for a state that reading destroys of preparing one copy; None where
        nobody says, or where holding them is what writes them.
      product_j: energy of one product with all of them, without converters.
      destructive_read: whether reading ends what is stored.
      use: what it is good for.
      extrapolated: whether ``bits``, ``max_bits``, ``reads``, ``copies`` are of a time beyond the last measured one.
      lifetime_extrapolated: whether ``lifetime_s`` is such a time.
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
    """Stores beside each other.

    Attributes:
      rows: one a store.
      weights: how many are held.
      required_bits: that ``reads`` is for.
      time_s: seconds after programming at which weights are read.
    """

    rows: tuple[StorageRow, ...]
    weights: int
    required_bits: float
    time_s: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON: what is infinite or not known is None."""
        rows = [{name: _finite(value) for name, value in row._asdict().items()} for row in self.rows]
        return {"weights": self.weights, "required_bits": self.required_bits, "time_s": self.time_s, "stores": rows}

    def table(self) -> "rich.table.Table":
        """A row a store."""
        from analogsim.base.tables import many, simple_table

        when = show_time(self.time_s) if self.time_s else "no time"
        made = simple_table(f"{many(self.weights)} weights, read {when} after programming")
        made.add_column("store", no_wrap=True)
        reads = f"reads for\n{self.required_bits:g} bits"
        for column in (
            "cells", "bits a\nread", reads, "a read\nends it", "a bit\nshort\nafter", "hold", "write", "a\nproduct"
        ):  # fmt: skip
            made.add_column(column, justify="right")
        made.add_column("good for", min_width=17)
        for row in self.rows:
            made.add_row(row.name, *_words(row), row.use)
        made.caption = _caption(self)
        return made

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
    """Compare stores as memories of so many weights.

    Args:
      weights: how many.
      time: after programming, when they are read: seconds or text.
      bits: a weight is wanted with, for ``reads``.
      stores: names of presets or ``Hardware``; all presets but ``ideal`` by default.
      key: a number from which the chips that are measured follow.
      progress: called with (done, total) stores, at the beginning and after each.

    Raises:
      InputError: for an unknown store, no weight, a negative time, or bits out of range.

    Example:
      >>> found = storage(stores=["int8", "pcm"], time="1 month")
      >>> int8, pcm = found.rows
      >>> round(int8.bits, 1), int8.reads, pcm.outlasts_data
      (8.0, 1.0, False)
    """
    weights = Number(integer=True, ge=1).check(weights, "weights")  # 1e6 is one, too
    check_integer(key, "key", ge=0, le=2**31 - 1)
    check_number(bits, "bits", gt=0, le=_MOST_BITS)
    time_s = float(seconds(time, "time"))  # type: ignore[arg-type]
    chosen = [name for name in presets() if name != "ideal"] if stores is None else stores
    if isinstance(chosen, str) or not chosen:
        raise InputError(f"stores = {stores!r}: must be a sequence of names of presets, or of Hardware")
    found = [_hardware(store) for store in chosen]
    rows = _rows(found, progress or (lambda done, total: None), weights, time_s, float(bits), jax.random.key(key))
    return StorageComparison(rows, weights, float(bits), time_s)


def _rows(found: list[Hardware], progress: Callable[[int, int], Any], *how: Any) -> tuple[StorageRow, ...]:
    """A row a store, as many at a time as there are processors: most of the time goes into compiling.

    More at a time would each take as much longer, until XLA complains of every one of them ("Very slow compile?").
    """
    pool = ThreadPoolExecutor(usable_cpus())
    try:
        rows = [pool.submit(_row, hardware, *how) for hardware in found]
        progress(0, len(rows))
        for done, row in enumerate(as_completed(rows), 1):
            row.result()  # a mistake is raised at once
            progress(done, len(rows))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # an interrupt does not wait for XLA
    return tuple(row.result() for row in rows)


def usable_cpus() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _hardware(store: Any) -> Hardware:
    found = preset(store) if isinstance(store, str) else store
    if not isinstance(found, Hardware):
        raise InputError(f"stores: {brief(store)}: must be the name of a preset, or a Hardware")
    return found


def _row(hardware: Hardware, weights: int, time_s: float, required_bits: float, key: jax.Array) -> StorageRow:
    store, limit_s = hardware.store, hardware.store.time_limit_s
    times = _times(time_s, limit_s)
    errors = _errors(*_bound(hardware), jnp.asarray(times, jnp.float32), key)
    power, stays, new = (np.asarray(a, np.float64) for a in errors)
    bits_of_one_read = _bits(power, stays + new)
    has_data = limit_s is None or time_s <= float(limit_s)
    at = int(np.searchsorted(times, time_s)) if has_data else 0
    missing = power[at] / (4**required_bits - 1) - stays[at]
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
        max_bits=float(_bits(power[at], stays[at])) if has_data else None,
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
    """Right after programming, then from a nanosecond on three times a decade, and the time asked for."""
    last = _LONGEST_S if limit_s is None else min(_LONGEST_S, float(limit_s))
    grid = 10.0 ** np.arange(-9, np.log10(last), 1 / 3)
    asked = [time_s] if limit_s is None or time_s <= float(limit_s) else []
    return np.unique([0.0, *grid, last, *asked])


def _bound(hardware: Hardware) -> tuple[Any, jax.Array]:
    """A layer on this hardware, without converters, and its weights ``[n, n]``."""
    w = jax.random.uniform(jax.random.key(1), (_SIDE, _SIDE), minval=-1.0, maxval=1.0)
    w = w.at[0].set(1.0)  # every column's largest: none is scaled
    bare = hardware.replace(dac=None, adc=None, input_range=None, output_range=None, bound_management="none")
    layer = AnalogDense(_SIDE, hardware=bare, use_bias=False)
    return bind(layer, {"params": {"kernel": w}}, jnp.eye(_SIDE)[:1]), w


@functools.partial(jax.jit)
def _errors(bound: Any, w: jax.Array, times_s: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Power of the weights in a read, variance of what stays beside them, and of what is new, at every time."""
    cells = bound.program(stream(key, "chip"))
    keys = jax.random.split(stream(key, "reads"), _READS)
    centred = w[1:] - jnp.mean(w[1:])

    def at(time_s: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        readings = read(cells, time_s, None, True)
        found = jax.lax.map(lambda k: bound.run(readings, jnp.eye(_SIDE), k)[1:], keys)
        new = jnp.mean(jnp.var(found, axis=0, ddof=1))
        mean = jnp.mean(found, axis=0)
        gain = jnp.mean(mean * centred) / jnp.mean(centred**2)
        rest = jnp.var(mean - jnp.mean(mean) - gain * centred)
        # The mean of finite reads has a rest of what is new, and so has the slope, by chance.
        chance = new / (_READS * centred.size)
        power = jnp.maximum(gain**2 * jnp.mean(centred**2) - chance, 0.0)
        return power, jnp.maximum(rest - new / _READS, 0.0), new

    return jax.lax.map(at, times_s)


def _bits(power: Any, error: Any) -> Any:
    """Of a signal of this power with such an error."""
    return np.minimum(0.5 * np.log2(1 + power / np.maximum(error, 1e-30)), _MOST_BITS)


def _lifetime(times: np.ndarray, bits: np.ndarray, first: float) -> tuple[float, bool]:
    """When bits fall short, between two times on a logarithmic scale; else the last time, and that it lasts longer."""
    if first < _NOTHING:
        return 0.0, False
    wanted = max(first - 1, first / 2)
    below = np.flatnonzero(bits < wanted)
    if not below.size:
        return float(times[-1]), True
    i = int(below[0])
    if times[i - 1] == 0:
        return float(times[i]), False
    part = (bits[i - 1] - wanted) / (bits[i - 1] - bits[i])
    return float(times[i - 1] * (times[i] / times[i - 1]) ** part), False


def _copies(
    store: Any, hardware: Hardware, weights: int, wanted: float, reads: float, cells: int
) -> tuple[float, float]:
    """States prepared for so many reads of all weights, and Holevo's bound on them."""
    qubits = getattr(store, "qubits", None)
    if qubits is None:  # pulses, each of which is a cell
        return reads * cells, 0.0
    registers = math.ceil(weights / hardware.rows)
    return reads * float(store.shots) * registers, weights * wanted / qubits(min(hardware.rows, weights))


def _costs(hardware: Hardware, weights: int) -> tuple[int, float, float, float | None]:
    """Cells, power that holds, joules of one product and of writing, for all weights on tiles as full as can be."""
    store, energy_table = hardware.store, hardware.energy_table
    rows = min(hardware.rows, 512, weights)
    columns = min(hardware.columns, 512, math.ceil(weights / rows))
    tile = jax.random.uniform(jax.random.key(2), (rows, columns), minval=-1.0, maxval=1.0)
    share = weights / (rows * columns)
    cells = math.ceil(store.n_cells(rows, columns) * share)
    spent = {}
    for action in store.cost(tile, 1 / 3):
        spent[action.name] = float(action.quantity) * float(PRICED[action.name].price_j(energy_table)) * share
    hold_w = sum(each for name, each in spent.items() if PRICED[name].held)
    product_j = sum(each for name, each in spent.items() if not PRICED[name].held)
    return cells, hold_w, product_j, _write_j(hardware, weights, cells, spent)


def _write_j(hardware: Hardware, weights: int, cells: int, spent: dict[str, float]) -> float | None:
    """Joules of writing once: of cells at their price, of memory as of fetching, of states that are prepared."""
    store, energy_table = hardware.store, hardware.energy_table
    if hardware.cell_write_j is not None:
        return float(hardware.cell_write_j) * cells
    if isinstance(store, DigitalMemory):
        return float(energy_table.weight_fetch_j_per_byte) * weights * float(store.bits or 32) / 8
    if "qubit gate" in spent:  # of as many copies as a read takes
        return spent["qubit gate"] / float(store.shots)
    if store.destructive_read:  # the light that a product uses up
        return spent.get("laser", 0.0) + spent.get("modulator", 0.0)
    return None


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _words(row: StorageRow) -> list[str]:
    from analogsim.base.tables import many

    lifetime = f"> {show_time(row.lifetime_s)}" if row.outlasts_data else show_time(row.lifetime_s)
    reads = "never" if math.isinf(row.reads) else many(row.reads)
    late = f" {MARK}" * row.extrapolated
    lifetime += f" {MARK}" * row.lifetime_extrapolated
    return [
        many(row.cells),
        "no data" if row.bits is None else f"{row.bits:.1f}{late}",
        "no data" if row.bits is None else f"{reads}{late}",
        "yes" if row.destructive_read else "no",
        lifetime,
        show(row.hold_w, "W", 2) if row.hold_w else "none",
        "–" if row.write_j is None else show(row.write_j, "J", 2),
        show(row.product_j, "J", 2),
    ]


def _caption(found: StorageComparison) -> str:
    lines = [
        "bits a read: log2(1 + SNR)/2 of weights uniform in [-1, 1], what all have in common scaled away.",
        "never: what writing, drift or decay left is too large, however often it is read.   –: nobody says.",
        f"a bit short: of the {found.required_bits:g} wanted, or of what a read gave at first where that was less.",
        "hold: heaters, light, refrigerators, not the leakage of circuits.   a product: one with all weights, without",
        "converters and without what holds the weights meanwhile.",
    ]
    if any(row.extrapolated or row.lifetime_extrapolated for row in found.rows):
        lines.append(f"{MEANING}, along the trend of the last decade.")
    for row in found.rows:
        if row.destructive_read:
            copies = (
                "" if math.isinf(row.reads) or not row.copies else f": {row.copies:.2g} states sent for these reads"
            )
            least = (
                f"{'; by' if copies else ': by'} Holevo's bound never fewer than {row.min_copies:.2g}"
                if row.min_copies
                else ""
            )
            if copies or least:
                lines.append(f"{row.name}{copies}{least}.")
    return "\n".join(lines)
