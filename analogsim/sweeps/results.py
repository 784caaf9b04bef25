"""Results as a labelled dataset, and the netCDF file that holds them while they grow.

The file is replaced whole (``files``), so that at every moment, even when the process is killed or the disk is full, it
is either what it was or what it is to be, and sealed (``netcdf``), so that damage to it is noticed. Unfinished results
have NaN where nothing is computed yet, and ``done``, which says so.
"""

import contextlib
import json
import os
import platform
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analogsim.base import files, netcdf
from analogsim.base.errors import InputError
from analogsim.base.extrapolation import EXTRAPOLATED, coordinate, extrapolated_times, in_words
from analogsim.sweeps.axes import CHIP, HARDWARE, TIME, changed
from analogsim.sweeps.block import Job
from analogsim.sweeps.evaluations import FunctionEvaluation
from analogsim.sweeps.identity import WORDS, software
from analogsim.sweeps.plan import SweepPlan

if TYPE_CHECKING:
    import xarray


class SweepStopped(KeyboardInterrupt):
    """The sweep was interrupted; ``data`` is what was done, also in the file if there is one."""

    def __init__(self, message: str, data: "xarray.Dataset"):
        super().__init__(message)
        self.data = data


class NotWritten(InputError):
    """The results could not be written; ``data`` is what was done, and the file is as it was before."""

    def __init__(self, message: str, data: "xarray.Dataset"):
        super().__init__(message)
        self.data = data


#: What a dataset has beside metrics and axes.
_OWN_NAMES = {CHIP, TIME, "time_label", "done", "energy_j", "statistic", EXTRAPOLATED}


class Progress:
    """What is done, in the order of the work.

    Attributes:
      values: ``{metric: [structures, points, chips(, times)]}``, NaN where nothing is done; made with the first block.
      done: ``[structures, points, chips]``.
    """

    def __init__(self, plan: SweepPlan):
        self.plan = plan
        self.values: dict[str, np.ndarray] = {}
        self.done = np.zeros((plan.n_structures, plan.n_points, plan.chips), bool)

    def add(self, structure: int, items: np.ndarray, found: Mapping[str, np.ndarray]) -> None:
        """Put a block in its place."""
        points, chips = np.divmod(items, self.plan.chips)
        self._check_names(found)
        for name, scores in found.items():
            if name not in self.values:
                kind = scores.dtype if np.issubdtype(scores.dtype, np.floating) else np.dtype(np.float64)
                self.values[name] = np.full((*self.done.shape, *scores.shape[1:]), np.nan, kind)
            self.values[name][structure, points, chips] = scores
        self.done[structure, points, chips] = True

    def _check_names(self, found: Mapping[str, Any]) -> None:
        """Refuse metrics by the names of what else a dataset holds."""
        taken = {axis.name for axis in self.plan.axes} | _OWN_NAMES
        for name in found:
            if not name or name in taken or name.startswith("digital"):
                raise InputError(
                    f"evaluate: returned a number by the name {name!r}, which the results have for another"
                )

    @property
    def n_done(self) -> int:
        """Items done."""
        return int(self.done.sum())

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to do."""
        return bool(self.done.all())


def empty_dataset(job: Job, hashes: Mapping[str, str], title: str) -> "xarray.Dataset":
    """What does not change while results grow: coordinates with units, and all that the numbers are computed from."""
    import xarray

    variables: dict[str, Any] = {}
    for name, value in job.evaluation.exact().items():
        label = "digital" if name == "score" else f"digital_{name}"
        variables[label] = ((), value, {"long_name": f"{job.evaluation.words(name)} of the exact model", "units": "1"})
    variables |= _by_point(job)
    attrs = {"title": title, "evaluate": job.evaluation.about(), **software(), "python": platform.python_version()}
    attrs |= {"key": f"{job.key_kind} {' '.join(map(str, np.ravel(job.key_data)))}", "inputs": json.dumps(dict(hashes))}
    coordinates, beyond = _beyond_data(job)
    return xarray.Dataset(variables, _coordinates(job.plan) | coordinates, attrs | _about_hardware(job) | beyond)


def _beyond_data(job: Job) -> tuple[dict[str, Any], dict[str, str]]:
    """The coordinate and the attribute of numbers that are extrapolated; empty where none is."""
    plan = job.plan
    if plan.times_s is None:
        return {}, {}
    targets = [
        [changed(target, plan.structure(i)) for target in job.evaluation.targets(job.hardware)]
        for i in range(plan.n_structures)
    ]
    late = np.stack([extrapolated_times(hardware, plan.times_s) for hardware in targets])
    if not late.any():
        return {}, {}
    over = np.broadcast_to(late[:, None, None], (plan.n_structures, plan.n_points, 1, late.shape[1]))
    dims, ordered = plan.in_order_of_axes(over)
    chip = dims.index(CHIP)
    extrapolated = coordinate(dims[:chip], np.take(ordered, 0, chip))
    return {EXTRAPOLATED: extrapolated}, {EXTRAPOLATED: in_words(target for hardware in targets for target in hardware)}


def _by_point(job: Job) -> dict[str, Any]:
    """What no chip decides, over the axes of the hardware."""
    plan = job.plan
    rows = [job.evaluation.by_point(job.hardware, plan.structure(i), plan.columns()) for i in range(plan.n_structures)]
    variables = {}
    for name, first in rows[0].items():
        values = np.stack([row[name].values for row in rows])[..., None]
        dims, ordered = plan.in_order_of_axes(values)
        variables[name] = (dims[:-1], ordered[..., 0], {"long_name": first.about, "units": first.unit})
    return variables


def dataset(job: Job, progress: Progress, framed: "xarray.Dataset") -> "xarray.Dataset":
    """The results in their frame."""
    plan, variables = job.plan, dict[str, Any]()
    for name, values in progress.values.items():
        dims, ordered = plan.in_order_of_axes(values)
        variables[name] = (dims, ordered, {"long_name": _on_chips(job, name), "units": "1"})
    if not progress.is_complete:
        dims, ordered = plan.in_order_of_axes(progress.done)
        variables["done"] = (dims, ordered, {"long_name": "whether this chip was measured here"})
    return framed.assign(variables).assign_attrs(complete=int(progress.is_complete))


def _on_chips(job: Job, metric: str) -> str:
    words = job.evaluation.words(metric)
    return words if isinstance(job.evaluation, FunctionEvaluation) else f"{words} on programmed chips"


def _coordinates(plan: SweepPlan) -> dict[str, Any]:
    coordinates: dict[str, Any] = {}
    for axis in plan.axes:
        labels = np.array(axis.labels) if not isinstance(axis.labels[0], str) else np.array(axis.labels, object)
        coordinates[axis.name] = (axis.name, labels, {"units": axis.unit, "long_name": axis.about})
        if axis.kind == "time":
            texts = np.array(axis.texts, object)
            coordinates["time_label"] = (TIME, texts, {"long_name": "time after programming"})
    coordinates[CHIP] = (CHIP, np.arange(plan.chips), {"units": "", "long_name": "sampled chip"})
    return coordinates


def _about_hardware(job: Job) -> dict[str, str]:
    """What the sweep starts from, for people and for programs, with its sources."""
    from analogsim.base.description import describe
    from analogsim.chips.checkpoint.description import described
    from analogsim.hardware.citation import cite

    whole = [change[HARDWARE] for axis in job.plan.axes for change in axis.changes if HARDWARE in change]
    targets = list({repr(h): h for h in (*whole, *job.evaluation.targets(job.hardware))}.values())
    return {
        "hardware": "\n".join(map(describe, targets)),
        "hardware_json": json.dumps([described(target) for target in targets]),
        "sources": "\n".join(cite(target).text for target in targets),
    }


def restored(plan: SweepPlan, saved: "xarray.Dataset") -> Progress:
    """What a dataset holds, back in the order of the work."""
    progress = Progress(plan)
    if "done" in saved:
        progress.done = plan.in_order_of_work(saved["done"].values.astype(bool), with_time=False).copy()
    elif saved.attrs.get("complete"):
        progress.done[:] = True
    for name, variable in saved.data_vars.items():
        if name != "done" and CHIP in variable.dims:
            with_time = TIME in variable.dims
            progress.values[str(name)] = plan.in_order_of_work(variable.values, with_time).copy()
    return progress


class ResultsFile:
    """A netCDF file of results that grows by whole, atomic replacements."""

    def __init__(self, path: str | os.PathLike):
        if not isinstance(path, str | os.PathLike) or "\0" in os.fspath(path):
            raise InputError(f"path = {path!r}: must be the path of a file, 'results.nc'")
        self.path = Path(path)
        if self.path.suffix != ".nc":
            raise InputError(f"path = {str(self.path)!r}: must end in .nc, the results being netCDF")
        if self.path.is_dir():
            raise InputError(f"path = {str(self.path)!r}: is a folder; name a file in it")

    @contextlib.contextmanager
    def exclusive_lock(self) -> Iterator[None]:
        """Hold an exclusive lock on the file; the system releases it when the process ends, however it ends.

        Raises:
          InputError: if another sweep holds it, or the folder cannot be written.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self._target.with_name(f".{self._target.name}.lock"), blocking=False)
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            acquired = lock.acquire()
        except Timeout:
            raise InputError(
                f"{self.path}: another sweep is writing it; wait until it ends, or name another file"
            ) from None
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written there ({error.strerror or error})") from None
        # The file is removed while it is locked: from 3.24 on, filelock does not take a lock on a file without a name.
        with acquired, files.temporary(Path(lock.lock_file)):
            yield

    @property
    def _target(self) -> Path:
        """The file itself, behind links."""
        return self.path.resolve()

    def check(self, resume: bool) -> None:
        """Refuse, whatever is to be measured, a file that cannot be written or continued."""
        if self.path.exists():
            if not resume:
                raise InputError(f"{self.path}: is there already; resume=True continues it, or name another file")
            self._saved()
            return
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            with files.temporary_sibling(self._target) as neighbour:
                neighbour.touch()
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written there ({error.strerror or error})") from None

    def _saved(self) -> "tuple[xarray.Dataset, bool, dict[str, str]]":
        """What the file holds, whether it is sealed, and its inputs; refused where it is not of a sweep."""
        saved, is_sealed = netcdf.read(self.path)
        try:
            known = json.loads(saved.attrs["inputs"])
            return saved, is_sealed, {part: known[part] for part in WORDS}
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"{self.path}: is no results file of a sweep; it was left as it is: name another"
            ) from None

    def load(self, hashes: Mapping[str, str]) -> "xarray.Dataset | None":
        """What the file holds, or None where there is none; refused where it is not of these inputs."""
        if not self.path.exists():
            return None
        saved, is_sealed, known = self._saved()
        other = [words for part, words in WORDS.items() if known[part] != hashes[part]]
        if other:
            raise InputError(
                f"{self.path}: holds a sweep that differs in {' and '.join(other)}; it was left as it is: name another "
                f"file, or go back to the inputs that it was made with"
            )
        if not is_sealed:
            _warn(self.path)
        return saved

    def try_to_write(self, data: "xarray.Dataset") -> None:
        """Write beside the file and take it away, before anything is computed."""
        try:
            with files.temporary_sibling(self._target) as neighbour, neighbour.open("xb") as file:
                file.write(netcdf.content(data))
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written there ({error.strerror or error})") from None

    def write(self, data: "xarray.Dataset") -> None:
        """Replace the file; all or nothing.

        Raises:
          NotWritten: where the disk is full or the folder no longer there; the file is as it was.
        """
        try:
            files.replace(self.path, netcdf.content(data))
        except OSError as error:
            raise NotWritten(
                f"{self.path}: could not be written ({error.strerror or error}); what it held before is intact: "
                f"make room and run the same sweep again to go on",
                data,
            ) from error


def load_results(path: str | os.PathLike) -> "xarray.Dataset":
    """A results file as a dataset in memory.

    Raises:
      InputError: where there is no such file, it is no netCDF, or its bytes have changed since it was written.
      UserWarning: (a warning) where it has no checksum, because something else than this library wrote it.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    data, is_sealed = netcdf.read(path)
    if not is_sealed:
        _warn(path)
    return data


def _warn(path: Path) -> None:
    warnings.warn(f"{path}: {netcdf.UNSEALED}", UserWarning, stacklevel=3)
