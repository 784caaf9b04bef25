"""``sweep``: evaluate sampled chips over a grid of hardware and ages in one call."""

import contextlib
import os
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

#: Duration of a block: this fraction of the time so far, at most _BLOCK_S seconds, and at least _WRITES times the
#: duration of writing the file.
_FRACTION, _BLOCK_S, _WRITES = 0.25, 1.0, 5


def sweep(
    evaluate: Any,
    hardware: Hardware | None = None,
    *,
    over: Mapping[Any, Any],
    key: jax.Array,
    chips: int = 100,
    path: str | os.PathLike[str] | None = None,
    resume: bool = True,
    executor: Any = None,
    devices: Sequence[Any] | None = None,
    chip_batch_size: int | None = None,
    structural: Sequence[str] = (),
    compiled: bool = True,
    progress: bool | Callable[[int, int], Any] | None = None,
    title: str = "",
) -> "xarray.Dataset":
    """Evaluate sampled chips over a grid of hardware and ages.

    All values of numeric fields, all chips and all ages run in one compiled program; fields that change the program
    (sizes, schemes, classes of cells) are compiled once per point. Chip i is fabricated from the same random numbers at
    every point and for every value of ``chips``, so differences between points come from the hardware alone. Results
    do not depend on blocks, executors or devices.

    Args:
      evaluate: ``ChipScores(model, variables, x, labels)``, or a function ``evaluate(hardware, key)`` of one chip that
        returns a number or ``{name: number}``; with a third argument ``time_s`` if ages are swept.
      hardware: the hardware to vary: a ``Hardware`` or, for ``ChipScores``, rules as for ``convert``; None if the
        model has analog layers, which then keep their own hardware.
      over: ``{"adc.bits": [4, 6, 8], "time": ["1 s", "1 day"]}``. Names are dotted fields, "time" and "hardware"
        (preset names, or ``{label: Hardware}``); a tuple of names changes fields together, ``{("dac.bits",
        "adc.bits"): [(4, 4), (8, 8)]}``. Values are numbers, strings with units, None, descriptions, or a mapping from
        labels to them.
      key: random key; all random numbers of the sweep derive from it.
      chips: number of chips per point.
      path: netCDF file, ``results.nc``, written about once a second; an existing file is resumed if it has the same
        inputs, else refused. Inputs are values, and the code of your functions and classes with the globals that they
        name; data that code reads elsewhere (files, the network) is not tracked.
      resume: False refuses an existing file.
      executor: an executor of ``concurrent.futures`` (processes must be spawned, not forked) or a
        ``distributed.Client``; None computes in this process.
      devices: devices of this process to distribute chips over; None uses the first.
      chip_batch_size: chips computed in parallel; None is one on a CPU, where that is fastest, and elsewhere as many as
        fit into memory.
      structural: names of number fields to compile point by point, for code that branches on their values.
      compiled: False calls a function ``evaluate`` with plain numbers, one chip at a time.
      progress: True or False for a progress bar; None shows it on a terminal; a function is called with (done, total).
      title: title of the dataset and its report.

    Returns:
      a dataset with one variable per metric over the axes and ``chip``; ``analogsim.chip_statistics`` gives means and
      standard deviations. The attributes record the inputs.

    Raises:
      InputError: for bad input, before anything is computed.
      SweepStopped: on Ctrl-C, a ``KeyboardInterrupt`` whose ``data`` holds the results so far.
      NotWritten: if the file cannot be written; its ``data`` holds the results so far.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from analogsim import preset
      >>> def error(hardware, key):            # of one programmed 64 x 64 matrix
      ...     w = jnp.linspace(-1, 1, 4096).reshape(64, 64)
      ...     columns = hardware.store.read(hardware.store.program(key, w), 1.0).mean
      ...     return jnp.sqrt(jnp.mean((hardware.store.combine(columns, None) - w) ** 2))
      >>> ranges = {"store.cell.g_max": ["10 uS", "25 uS"]}
      >>> data = sweep(error, preset("pcm"), over=ranges, chips=3, key=jax.random.key(0))
      >>> dict(data.score.sizes), data["store.cell.g_max"].attrs["units"]
      ({'store.cell.g_max': 2, 'chip': 3}, 'S')
    """
    _check_arguments(key, chips, chip_batch_size, devices)
    evaluation, chips = evaluation_of(evaluate, compiled), int(chips)
    if chip_batch_size is not None and not compiled:
        raise InputError(
            f"chip_batch_size = {chip_batch_size}: has no effect with compiled = False, which runs one chip at a time"
        )
    if chip_batch_size is not None and getattr(evaluation, "on_host", False):
        raise InputError(
            f"chip_batch_size = {chip_batch_size}: has no effect with on_host = True, which runs one chip at a time"
        )
    base = hardware if not isinstance(over, Mapping) or HARDWARE not in over else _first(over[HARDWARE], hardware)
    targets = evaluation.targets(base)
    plan = SweepPlan(axes_of(over, [*_swept_hardware(over), *targets], structural), chips)
    check_points(plan.axes, targets)
    _check_times(plan, evaluation, base)
    data, kind = np.asarray(jax.random.key_data(key)), str(jax.random.key_impl(key))
    job = Job(evaluation, base, plan, data, kind, chip_batch_size)
    hashes = identity(job)

    file = None if path is None else results.ResultsFile(path)
    # Locked before the file is read: otherwise two sweeps could resume the same results.
    with contextlib.nullcontext() if file is None else file.exclusive_lock():
        return _run(job, file, hashes, resume, executor, devices, progress, title)


def _run(
    job: Job, file: Any, hashes: Mapping[str, str], resume: bool, executor: Any, devices: Any, progress: Any, title: str
) -> "xarray.Dataset":
    """Load the saved results, compute the rest, and return all of them."""
    plan, saved = job.plan, None
    if file is not None:
        file.check(resume)
        saved = file.load(hashes)
        if saved is not None and saved.attrs["complete"]:
            return saved.assign_attrs(title=title) if title else saved
    check_workers(executor, devices)
    work = _Work(job, results.Progress(plan) if saved is None else results.restored(plan, saved), hashes, title, file)
    workers = workers_for(job, executor, devices)
    with _meter(progress, plan.n_items, title or "sweep") as report:
        work.run(workers, (job.chip_batch_size or 1) * (len(devices) if devices else 1), report)
    data = work.dataset()
    _warn_if_not_finite(data)
    return data


def _warn_if_not_finite(data: "xarray.Dataset") -> None:
    """Warn of non-finite scores: name the first, and their number."""
    for name, scores in data.data_vars.items():
        bad = np.argwhere(~np.isfinite(scores.values)) if CHIP in scores.dims else np.zeros((0, 1))
        if not len(bad):
            continue
        place = dict(zip(scores.dims, bad[0], strict=True))
        point = [f"{axis} = {data[axis].values[i]}" for axis, i in place.items() if axis != CHIP]
        more = f", and in {len(bad) - 1} more" if len(bad) > 1 else ""
        warnings.warn(
            f"sweep: {name}: is {scores.values[tuple(bad[0])]} on chip {place[CHIP]} at {', '.join(point)}{more}: the "
            f"outputs hold NaN, or the metric divides by zero",
            UserWarning,
            stacklevel=4,
        )


class _Work:
    """The results so far, and the file they are written to."""

    def __init__(self, job: Job, progress: results.Progress, hashes: Mapping[str, str], title: str, file: Any):
        self.job, self.progress, self.file = job, progress, file
        self._frame = results.empty_dataset(job, hashes, title)
        if file is not None:
            file.try_to_write(self.dataset())
        self._started = self._written_at = time.perf_counter()
        self._write_s, self._unwritten = 0.0, False

    def dataset(self) -> "xarray.Dataset":
        """Return the results so far."""
        return results.dataset(self.job, self.progress, self._frame)

    def _block_s(self) -> float:
        """Return the intended duration of the next block, s."""
        return max(min(_BLOCK_S, _FRACTION * (time.perf_counter() - self._started)), _WRITES * self._write_s)

    def run(self, workers: Any, unit: int, report: Callable[[int], None]) -> None:
        """Compute the remaining items."""
        scheduler = BlockScheduler(self.progress.done, unit, workers.in_flight)
        report(self.progress.n_done)
        in_flight = 0
        try:
            while True:
                while in_flight < workers.in_flight and (block := scheduler.next(self._block_s())):
                    workers.submit(block)
                    in_flight += 1
                if not in_flight:
                    break
                computed = workers.next()
                in_flight -= 1
                scheduler.learn(computed)
                self.progress.add(computed.block.structure, computed.block.items, computed.scores)
                self._unwritten = True
                report(self.progress.n_done)
                self._save(now=self.progress.is_complete)
        except KeyboardInterrupt:
            self._save(now=True)
            raise results.SweepStopped(self._stopped(), self.dataset()) from None
        # Before BaseException, whose handler would write again.
        except results.NotWritten:
            raise
        except BaseException:
            self._save(now=True)
            raise
        finally:
            workers.close()

    def _save(self, now: bool) -> None:
        """Write the results: ``now``, or if the last write was long ago compared with its duration."""
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
        return done if self.file is None else f"{done} and saved in {self.file.path}; rerun the same sweep to resume"


def _check_arguments(key: jax.Array, chips: Any, chip_batch_size: Any, devices: Any) -> None:
    check_one_key(key, remedy="the chips' keys derive from it; pass chips=n for n chips")
    check_integer(chips, "chips")
    if chip_batch_size is not None:
        check_integer(chip_batch_size, "chip_batch_size")
    if devices is not None and not (
        isinstance(devices, Sequence)
        and devices
        and all(isinstance(device, jax.Device) and device.process_index == jax.process_index() for device in devices)
    ):
        raise InputError(
            f"devices = {brief(devices)}: must be devices of this process, for example jax.local_devices()"
        )


def _first(values: Any, hardware: Any) -> Any:
    """Return the first hardware of a "hardware" axis, which represents the others while axes are checked."""
    from analogsim.hardware.presets import preset

    if hardware is not None:
        raise InputError("hardware: is swept by over['hardware']; pass only one of them")
    if isinstance(values, str) or not isinstance(values, Mapping | Sequence):
        raise InputError(f"over: hardware = {brief(values)}: must be a sequence of presets, or a mapping to Hardware")
    points = list(values.values()) if isinstance(values, Mapping) else list(values)
    if not points:
        raise InputError("over: hardware: has no value")
    return preset(points[0]) if isinstance(points[0], str) else points[0]


def _swept_hardware(over: Any) -> list[Any]:
    """Return all hardware of a "hardware" axis; other axes may set their fields."""
    from analogsim.hardware.presets import preset

    values = over.get(HARDWARE, ()) if isinstance(over, Mapping) else ()
    points = list(values.values()) if isinstance(values, Mapping) else list(values)
    return [point for point in (preset(p) if isinstance(p, str) else p for p in points) if isinstance(point, Hardware)]


def _check_times(plan: SweepPlan, evaluation: Any, hardware: Any) -> None:
    """Refuse ages beyond a store's data, and a time axis that ``evaluate`` does not take."""
    if isinstance(evaluation, FunctionEvaluation) and evaluation.takes_time != (plan.times_s is not None):
        raise InputError(
            "over: time: evaluate has no third argument time_s; add it"
            if plan.times_s is not None
            else "evaluate: takes time_s, which is not swept; add 'time' to over, for example ['1 s']"
        )
    for index in range(plan.n_structures if plan.times_s is not None else 0):
        change = plan.structure(index)
        for target in evaluation.targets(hardware):
            latest = max(max(axis.labels) for axis in plan.axes if axis.name == TIME)
            changed(target, change).check_time(latest, "over: time")


@contextlib.contextmanager
def _meter(progress: Any, total: int, title: str) -> Iterator[Callable[[int], None]]:
    """Yield the function to call with the number of finished chips: a progress bar, the user's function, or none."""
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
        """Chips per second."""

        def render(self, task: Any) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:.3g} chips/s")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)
