"""``sweep``: a grid of hardware, chips and ages, measured in one call."""

import contextlib
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from analogsim.base.checks import check_integer
from analogsim.base.errors import InputError, brief
from analogsim.base.random import check_one_key
from analogsim.hardware.hardware import Hardware
from analogsim.sweeps import results
from analogsim.sweeps.axes import CHIP, HARDWARE, TIME, axes_of, changed, check_points
from analogsim.sweeps.block import Job
from analogsim.sweeps.evaluations import FunctionEvaluation, evaluation_of
from analogsim.sweeps.identity import identity
from analogsim.sweeps.plan import SweepPlan
from analogsim.sweeps.workers import BlockScheduler, check_workers, workers_for

if TYPE_CHECKING:
    import xarray

#: A block lasts about as long as this share of all so far, at most so long, and at least so many times as long as
#: writing the file takes.
_SHARE, _BLOCK_S, _WRITES = 0.25, 1.0, 5


def sweep(
    evaluate: Any,
    hardware: Any = None,
    *,
    over: Mapping[Any, Any],
    key: jax.Array,
    chips: int = 100,
    path: Any = None,
    resume: bool = True,
    executor: Any = None,
    devices: Sequence[Any] | None = None,
    chip_batch_size: int | None = None,
    structural: Sequence[str] = (),
    compiled: bool = True,
    progress: bool | Callable[[int, int], Any] | None = None,
    title: str = "",
) -> "xarray.Dataset":
    """Measure sampled chips over a grid of hardware and ages.

    Numbers of the hardware run in one compiled program, chips and ages with them; what selects another program (sizes,
    schemes, kinds of cells) is compiled once a point. Chip i is fabricated from the same random numbers at every point
    and whatever ``chips`` is, so that differences between points are those of the hardware. The numbers do not depend
    on blocks, executors or devices.

    Args:
      evaluate: ``ChipScores(model, variables, x, labels)``, or a function ``evaluate(hardware, key)`` of one chip that
        returns a number or ``{name: number}``; with a third argument ``time_s`` where ages are swept.
      hardware: what is swept: a ``Hardware`` or, for ``ChipScores``, rules as of ``convert``; None for a model with
        analog layers, each of which keeps its own.
      over: ``{"adc.bits": [4, 6, 8], "time": ["1 s", "1 day"]}``. Names are dotted fields, "time" and "hardware" (names
        of presets, or ``{label: Hardware}``); a tuple of names changes fields together, ``{("dac.bits", "adc.bits"):
        [(4, 4), (8, 8)]}``. Values are numbers, texts with units, None, descriptions, or a mapping from labels to them.
      key: everything random follows from it.
      chips: how many are sampled at every point.
      path: a netCDF file, ``results.nc``, that is written after every second or so of work; one that is there already
        is continued if it is of the same inputs, else refused. Inputs are values, and the code of your own functions
        and classes with the globals that they name, not what code reads from elsewhere (files, the network).
      resume: False refuses a file that is there already.
      executor: who computes: an executor of ``concurrent.futures`` (processes must be spawned, not forked), or a
        ``distributed.Client``. None is this process.
      devices: of this process, among which chips are shared; None is the first.
      chip_batch_size: chips side by side; None for one on a CPU, where it is fastest, else as many as fit into memory.
      structural: names of number fields to be compiled point by point, for code that decides by their values.
      compiled: False calls a function ``evaluate`` with plain numbers, chip by chip.
      progress: True or False for a bar; None shows it on a terminal; a function is called with (done, total).
      title: of the dataset and its report.

    Returns:
      A dataset with one variable a metric over the axes and ``chip``; ``analogsim.chip_statistics`` gives means and
      spreads. The attributes hold all it was computed from.

    Raises:
      InputError: for bad input, before anything is computed.
      SweepStopped: on Ctrl-C, a ``KeyboardInterrupt`` whose ``data`` is what is done.
      NotWritten: where the file cannot be written; its ``data`` is what is done.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from analogsim import preset
      >>> def error(hardware, key):            # of one programmed 64 x 64 matrix
      ...     w = jnp.linspace(-1, 1, 4096).reshape(64, 64)
      ...     held = hardware.store.read(hardware.store.program(key, w), 1.0).mean
      ...     return jnp.sqrt(jnp.mean((hardware.store.combine(held, None) - w) ** 2))
      >>> ranges = {"store.cell.g_max": ["10 uS", "25 uS"]}
      >>> found = sweep(error, preset("pcm"), over=ranges, chips=3, key=jax.random.key(0))
      >>> dict(found.score.sizes), found["store.cell.g_max"].attrs["units"]
      ({'store.cell.g_max': 2, 'chip': 3}, 'S')
    """
    _check_arguments(key, chips, chip_batch_size, devices)
    evaluation, chips = evaluation_of(evaluate, compiled), int(chips)
    if chip_batch_size is not None and not compiled:
        raise InputError(
            f"chip_batch_size = {chip_batch_size}: has no effect with compiled = False, which goes chip by chip"
        )
    if chip_batch_size is not None and getattr(evaluation, "on_host", False):
        raise InputError(
            f"chip_batch_size = {chip_batch_size}: has no effect with on_host = True, which goes chip by chip"
        )
    whole = hardware if not isinstance(over, Mapping) or HARDWARE not in over else _first(over[HARDWARE], hardware)
    targets = evaluation.targets(whole)
    plan = SweepPlan(axes_of(over, [*_swept_hardware(over), *targets], structural), chips)
    check_points(plan.axes, targets)
    _check_times(plan, evaluation, whole)
    data, kind = np.asarray(jax.random.key_data(key)), str(jax.random.key_impl(key))
    job = Job(evaluation, whole, plan, data, kind, chip_batch_size)
    hashes = identity(job)

    file = None if path is None else results.ResultsFile(path)
    with contextlib.nullcontext() if file is None else file.exclusive_lock():
        return _carried_out(job, file, hashes, resume, executor, devices, progress, title)


def _carried_out(
    job: Job, file: Any, hashes: Mapping[str, str], resume: bool, executor: Any, devices: Any, progress: Any, title: str
) -> "xarray.Dataset":
    """What is saved already, and the rest computed."""
    plan, saved = job.plan, None
    if file is not None:
        file.check(resume)
        saved = file.load(hashes)
        if saved is not None and saved.attrs["complete"]:
            return saved.assign_attrs(title=title) if title else saved
    check_workers(executor, devices)
    work = _Work(job, results.Progress(plan) if saved is None else results.restored(plan, saved), hashes, title, file)
    workers = workers_for(job, executor, devices)
    with _meter(progress, plan.n_items, title or "sweep") as tell:
        work.run(workers, (job.chip_batch_size or 1) * (len(devices) if devices else 1), tell)
    found = work.dataset()
    _warn_of_what_is_no_number(found)
    return found


def _warn_of_what_is_no_number(found: "xarray.Dataset") -> None:
    """Name the first score that is no finite number, and how many there are."""
    for name, scores in found.data_vars.items():
        bad = np.argwhere(~np.isfinite(scores.values)) if CHIP in scores.dims else np.zeros((0, 1))
        if not len(bad):
            continue
        place = dict(zip(scores.dims, bad[0], strict=True))
        point = [f"{axis} = {found[axis].values[i]}" for axis, i in place.items() if axis != CHIP]
        more = f", and in {len(bad) - 1} more" if len(bad) > 1 else ""
        warnings.warn(
            f"sweep: {name}: is {scores.values[tuple(bad[0])]} on chip {place[CHIP]} at {', '.join(point)}{more}: its "
            f"outputs hold NaN, or the metric divides by zero",
            UserWarning,
            stacklevel=4,
        )


class _Work:
    """What is done so far, and where it is kept."""

    def __init__(self, job: Job, progress: results.Progress, hashes: Mapping[str, str], title: str, file: Any):
        self.job, self.progress, self.file = job, progress, file
        self._frame = results.empty_dataset(job, hashes, title)
        if file is not None:
            file.try_to_write(self.dataset())
        self._started = self._written_at = time.perf_counter()
        self._write_s, self._unwritten = 0.0, False

    def dataset(self) -> "xarray.Dataset":
        """The results so far."""
        return results.dataset(self.job, self.progress, self._frame)

    def _block_s(self) -> float:
        """How long the next block should last."""
        return max(min(_BLOCK_S, _SHARE * (time.perf_counter() - self._started)), _WRITES * self._write_s)

    def run(self, workers: Any, unit: int, tell: Callable[[int], None]) -> None:
        """Compute what is left."""
        cutter = BlockScheduler(self.progress.done, unit, workers.in_flight)
        tell(self.progress.n_done)
        under_way = 0
        try:
            while True:
                while under_way < workers.in_flight and (block := cutter.next(self._block_s())):
                    workers.submit(block)
                    under_way += 1
                if not under_way:
                    break
                computed = workers.next()
                under_way -= 1
                cutter.learn(computed)
                self.progress.add(computed.block.structure, computed.block.items, computed.found)
                self._unwritten = True
                tell(self.progress.n_done)
                self._keep(now=self.progress.is_complete)
        except KeyboardInterrupt:
            self._keep(now=True)
            raise results.SweepStopped(self._stopped(), self.dataset()) from None
        except results.NotWritten:
            raise
        except BaseException:
            self._keep(now=True)
            raise
        finally:
            workers.close()

    def _keep(self, now: bool) -> None:
        """Write what is done: now, or when writing is a small part of the time."""
        due = time.perf_counter() - self._written_at >= _WRITES * self._write_s
        if self.file is None or not self._unwritten or not (now or due):
            return
        started = time.perf_counter()
        self.file.write(self.dataset())
        self._written_at = time.perf_counter()
        self._write_s, self._unwritten = self._written_at - started, False

    def _stopped(self) -> str:
        if not self.progress.n_done:
            return f"stopped: none of {self.progress.done.size} chips is done, and nothing was written"
        done = f"stopped: {self.progress.n_done} of {self.progress.done.size} chips are done"
        return done if self.file is None else f"{done} and kept in {self.file.path}; run the same sweep again to go on"


def _check_arguments(key: Any, chips: Any, chip_batch_size: Any, devices: Any) -> None:
    check_one_key(key, remedy="the chips' keys follow from it; give chips=n for n chips")
    check_integer(chips, "chips")
    if chip_batch_size is not None:
        check_integer(chip_batch_size, "chip_batch_size")
    if devices is not None and not (
        isinstance(devices, Sequence) and devices and all(isinstance(device, jax.Device) for device in devices)
    ):
        raise InputError(f"devices = {brief(devices)}: must be a sequence of this process's devices, jax.devices()")


def _first(values: Any, hardware: Any) -> Any:
    """Where the hardware itself is swept, the first stands for the others while axes are checked."""
    from analogsim.hardware.presets import preset

    if hardware is not None:
        raise InputError("hardware: is swept by over['hardware']; give sweep one of both")
    if isinstance(values, str) or not isinstance(values, Mapping | Sequence):
        raise InputError(f"over: hardware = {brief(values)}: must be a sequence of presets, or a mapping to Hardware")
    points = list(values.values()) if isinstance(values, Mapping) else list(values)
    if not points:
        raise InputError("over: hardware: has no value")
    return preset(points[0]) if isinstance(points[0], str) else points[0]


def _swept_hardware(over: Any) -> list[Any]:
    """Every hardware of an axis of such, whose fields other axes may set."""
    from analogsim.hardware.presets import preset

    values = over.get(HARDWARE, ()) if isinstance(over, Mapping) else ()
    points = list(values.values()) if isinstance(values, Mapping) else list(values)
    return [point for point in (preset(p) if isinstance(p, str) else p for p in points) if isinstance(point, Hardware)]


def _check_times(plan: SweepPlan, evaluation: Any, hardware: Any) -> None:
    """Refuse ages that a store's model has no data for, and an axis of time that evaluate does not take."""
    if isinstance(evaluation, FunctionEvaluation) and evaluation.takes_time != (plan.times_s is not None):
        raise InputError(
            "over: time: evaluate takes no age; give it a third argument time_s"
            if plan.times_s is not None
            else "evaluate: takes time_s, which is not swept; add 'time' to over, ['1 s'] for example"
        )
    for index in range(plan.n_structures if plan.times_s is not None else 0):
        change = plan.structure(index)
        for target in evaluation.targets(hardware):
            latest = max(max(axis.labels) for axis in plan.axes if axis.name == TIME)
            changed(target, change).check_time(latest, "over: time")


@contextlib.contextmanager
def _meter(progress: Any, total: int, title: str) -> Iterator[Callable[[int], None]]:
    """What is told how many chips are done: a bar with rate and time left, the user's function, or nothing."""
    if callable(progress):
        yield lambda done: progress(done, total)
        return
    if not (sys.stderr.isatty() if progress is None else progress):
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        """Chips a second."""

        def render(self, task: Any) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:.3g} chips/s")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)
