"""What is measured of a program: its first call, its size, its time beside others, and how a ratio follows from times.

Programs that are compared take turns in one process, so that a busy machine slows all of them; a ratio is the quotient
of two medians.
"""

import contextlib
import dataclasses
import math
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax

_COMPILED = "/jax/core/compile/backend_compile_duration"
_OPERATION = re.compile(r"^\s+(ROOT )?%?[\w.\-]+ = ", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Row:
    """A quantity that was measured, and what it is compared with.

    Attributes:
      item: name of the benchmark, such as ``"w2"``.
      name: what was measured.
      unit: ``"ms"``, ``"s"``, ``"MiB"``, ``"operations"`` or ``"compilations"``.
      raw: every value, in that unit.
      beside: name of what it is compared with; empty without a comparison.
      beside_raw: every value of that, in the same unit; empty without a comparison.
      at_most, at_least: limits of the ratio, or of the value where nothing stands beside it; None without a target.
    """

    item: str
    name: str
    unit: str
    raw: tuple[float, ...]
    beside: str = ""
    beside_raw: tuple[float, ...] = ()
    at_most: float | None = None
    at_least: float | None = None

    @property
    def value(self) -> float:
        """Median of the values."""
        return statistics.median(self.raw)

    @property
    def ratio(self) -> float | None:
        """Median of the values over the median of what stands beside them; None without a comparison."""
        if not self.beside_raw:
            return None
        base = statistics.median(self.beside_raw)
        return self.value / base if base else math.nan

    @property
    def reached(self) -> bool | None:
        """Whether the ratio, or the value without one, is within the target; None without a target."""
        if self.at_most is None and self.at_least is None:
            return None
        judged = self.value if self.ratio is None else self.ratio
        return (self.at_most is None or judged <= self.at_most) and (self.at_least is None or judged >= self.at_least)


class Times(dict[str, list[float]]):
    """Values of several programs by name, in the order in which they were added."""

    def rows(
        self,
        item: str,
        unit: str,
        beside: str,
        at_most: Mapping[str, float] | None = None,
        title: str = "{}",
    ) -> list[Row]:
        """One row for each program, compared with ``beside``.

        Args:
          item: name of the benchmark.
          unit: unit of the values.
          beside: name of the program that the others are compared with.
          at_most: limits of ratios, by the name of the program.
          title: format of a row's name, in which ``{}`` is the name of the program.
        """
        limits = at_most or {}
        return [
            Row(item, title.format(name), unit, tuple(values))
            if name == beside
            else Row(item, title.format(name), unit, tuple(values), beside, tuple(self[beside]), limits.get(name))
            for name, values in self.items()
        ]


def interleaved(
    functions: Mapping[str, Callable[[], Any]],
    repeats: int,
    between: Callable[[], None] = lambda: None,
    warm: bool = True,
) -> Times:
    """Milliseconds of every call of functions that take turns.

    Args:
      functions: functions without arguments by name; what they return is waited for.
      repeats: number of calls of each, in two halves.
      between: called once, between the two halves: what runs outside of this process has its turn there.
      warm: whether to call each once before, which compiles it.

    Returns:
      lists of ``repeats`` values by name.
    """
    for function in functions.values() if warm else ():
        jax.block_until_ready(function())
    times = Times({name: [] for name in functions})
    for number in range(repeats):
        if number == (repeats + 1) // 2:
            between()
        for name, function in functions.items():
            times[name].append(1e3 * seconds(function))
    if repeats == 1:
        between()
    return times


def seconds(function: Callable[[], Any]) -> float:
    """Seconds of one call, until its result is ready."""
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


@dataclasses.dataclass
class Count:
    """Number of programs that XLA compiled."""

    compilations: int = 0


_open: list[Count] = []
_listening: list[bool] = []


@contextlib.contextmanager
def counted() -> Iterator[Count]:
    """Count what is compiled meanwhile, operations that run one by one included."""
    if not _listening:  # listeners cannot be removed again one at a time: one serves all
        jax.monitoring.register_event_duration_secs_listener(_count)
        _listening.append(True)
    count = Count()
    _open.append(count)
    try:
        yield count
    finally:
        _open.remove(count)


def _count(event: str, *_: Any, **__: Any) -> None:
    if event == _COMPILED:
        for count in _open:
            count.compilations += 1


@dataclasses.dataclass(frozen=True)
class FirstCall:
    """What it takes until a compiled function runs: seconds of the three parts, and the size of the program.

    Attributes:
      trace_s, lower_s, compile_s: seconds of Python's trace, of lowering it to StableHLO, and of XLA.
      operations: operations of the optimised HLO, those of called computations included.
      compilations: number of programs compiled.
      bytes: temporaries and outputs of the program.
    """

    trace_s: float
    lower_s: float
    compile_s: float
    operations: int
    compilations: int
    bytes: int

    @property
    def total_s(self) -> float:
        """Seconds of all three parts."""
        return self.trace_s + self.lower_s + self.compile_s


def first_call(function: Callable[..., Any], *args: Any) -> FirstCall:
    """Trace, lower and compile a function anew, whatever was compiled before.

    Args:
      function: a function for ``jax.jit``, compiled or not.
      *args: its arguments, arrays or ``jax.ShapeDtypeStruct``.
    """
    jax.clear_caches()
    start = time.perf_counter()
    with counted() as count:
        traced = _compilable(function).trace(*args)
        after_trace = time.perf_counter()
        lowered = traced.lower()
        after_lowering = time.perf_counter()
        compiled = lowered.compile()
        end = time.perf_counter()
    return FirstCall(
        after_trace - start,
        after_lowering - after_trace,
        end - after_lowering,
        len(_OPERATION.findall(compiled.as_text())),
        count.compilations,
        peak_bytes(compiled),
    )


def trace_s(function: Callable[..., Any], *args: Any) -> float:
    """Seconds of tracing a function anew."""
    jax.clear_caches()
    start = time.perf_counter()
    _compilable(function).trace(*args)
    return time.perf_counter() - start


def _compilable(function: Callable[..., Any]) -> Any:
    """The function for ``jax.jit``, once: a compiled function inside another is traced twice."""
    return function if hasattr(function, "trace") else jax.jit(function)


def peak_bytes(compiled: Any) -> int:
    """Bytes of temporaries and outputs of a compiled program, as XLA states them."""
    memory = compiled.memory_analysis()
    return memory.temp_size_in_bytes + memory.output_size_in_bytes


def first_rows(item: str, found: Mapping[str, Sequence[FirstCall]], limits: Mapping[str, Mapping[str, float]]) -> list:
    """Rows of seconds (in all and by part), operations and compilations of first calls, beside the first of them.

    Args:
      item: name of the benchmark.
      found: first calls of several programs by name, repeated.
      limits: ``{quantity: {name: limit of the ratio}}`` for the quantities ``"total_s"`` and ``"operations"``.
    """
    beside, rows = next(iter(found)), []
    parts = {
        "total_s": ("{}, first call", "s"),
        "trace_s": ("{}, trace", "s"),
        "lower_s": ("{}, lower", "s"),
        "compile_s": ("{}, compile", "s"),
        "operations": ("{}, HLO", "operations"),
        "compilations": ("{}, compilations", "compilations"),
    }
    for quantity, (title, unit) in parts.items():
        values = Times({name: [float(getattr(call, quantity)) for call in calls] for name, calls in found.items()})
        rows += values.rows(item, unit, beside, limits.get(quantity), title)
    return rows


def report(title: str, functions: Mapping[str, Callable[[], Any]], beside: str, repeats: int = 30) -> None:
    """Print the median time of functions that take turns, and its ratio to one of them.

    Args:
      title: what they do.
      functions: functions without arguments by name.
      beside: name of the function that the others are compared with.
      repeats: number of calls of each.
    """
    print(f"\n{title}")
    for row in interleaved(functions, repeats).rows("", "ms", beside):
        ratio = 1.0 if row.ratio is None else row.ratio
        print(f"  {row.name:34} {row.value:8.2f} ms   {ratio:5.2f} x {beside}")
