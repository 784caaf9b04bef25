"""Results as a labelled dataset, and the netCDF file that holds them while they grow.

The file is replaced atomically (``files``): if the process is killed or the disk is full, it holds the last complete
write. It is sealed with a checksum (``netcdf``), so damage is noticed. Incomplete results have NaN where nothing is
computed yet, and a variable ``done`` that marks the finished chips.
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
    """Raised by ``sweep`` when it is interrupted.

    Attributes:
      data: results so far, which are also in the file, if there is one.
    """

    def __init__(self, message: str, data: "xarray.Dataset"):
        super().__init__(message)
        self.data = data


class NotWritten(InputError):
    """Raised by ``sweep`` when the results cannot be written; the file is unchanged.

    Attributes:
      data: results so far.
    """

    def __init__(self, message: str, data: "xarray.Dataset"):
        super().__init__(message)
        self.data = data


#: Names in a dataset that are neither metrics nor axes.
_OWN_NAMES = {CHIP, TIME, "time_label", "done", "energy_j", "statistic", EXTRAPOLATED}


class Progress:
    """The scores computed so far, in the order of the work.

    Attributes:
      values: ``{metric: [structures, points, chips(, times)]}``, NaN if not computed; allocated with the first block.
      done: ``[structures, points, chips]``.
    """

    def __init__(self, plan: SweepPlan):
        self.plan = plan
        self.values: dict[str, np.ndarray] = {}
        self.done = np.zeros((plan.n_structures, plan.n_points, plan.chips), bool)

    def add(self, structure: int, items: np.ndarray, scores_by_metric: Mapping[str, np.ndarray]) -> None:
        """Store the scores of a block.

        Args:
          structure: index of the structure.
          items: item numbers of the block.
          scores_by_metric: ``{metric: [items(, times)]}``.
        """
        points, chips = np.divmod(items, self.plan.chips)
        self._check_names(scores_by_metric)
        for name, scores in scores_by_metric.items():
            if name not in self.values:
                # NaN marks what is not computed, which integers and booleans cannot hold; NumPy does not count bfloat16
                # as floating, so it is stored in float64, too.
                kind = scores.dtype if np.issubdtype(scores.dtype, np.floating) else np.dtype(np.float64)
                self.values[name] = np.full((*self.done.shape, *scores.shape[1:]), np.nan, kind)
            self.values[name][structure, points, chips] = scores
        self.done[structure, points, chips] = True

    def _check_names(self, found: Mapping[str, Any]) -> None:
        """Refuse metrics whose names are taken by other parts of the dataset."""
        taken = {axis.name for axis in self.plan.axes} | _OWN_NAMES
        for name in found:
            if not name or name in taken or name.startswith("digital"):
                raise InputError(
                    f"evaluate: returned a metric named {name!r}, a name that the results use for something else"
                )

    @property
    def n_done(self) -> int:
        """Number of finished items."""
        return int(self.done.sum())

    @property
    def is_complete(self) -> bool:
        """True if all items are finished."""
        return bool(self.done.all())


def empty_dataset(job: Job, hashes: Mapping[str, str], title: str) -> "xarray.Dataset":
    """Return the dataset without scores: coordinates with units, per-point quantities, and attributes of the inputs."""
    import xarray

    variables: dict[str, Any] = {}
    for name, value in job.evaluation.digital_scores().items():
        label = "digital" if name == "score" else f"digital_{name}"
        variables[label] = (
            (),
            value,
            {"long_name": f"{job.evaluation.words(name)} of the digital model", "units": "1"},
        )
    variables |= _by_point(job)
    attrs = {"title": title, "evaluate": job.evaluation.about(), **software(), "python": platform.python_version()}
    attrs |= {"key": f"{job.key_kind} {' '.join(map(str, np.ravel(job.key_data)))}", "inputs": json.dumps(dict(hashes))}
    coordinates, beyond = _beyond_data(job)
    return xarray.Dataset(variables, _coordinates(job.plan) | coordinates, attrs | _about_hardware(job) | beyond)


def _beyond_data(job: Job) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the coordinate and the attribute that mark extrapolated numbers; empty if there are none."""
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
    """Return the quantities that do not depend on the chip, over the axes of the hardware."""
    plan = job.plan
    rows = [job.evaluation.by_point(job.hardware, plan.structure(i), plan.columns()) for i in range(plan.n_structures)]
    variables = {}
    for name, first in rows[0].items():
        values = np.stack([row[name].values for row in rows])[..., None]
        dims, ordered = plan.in_order_of_axes(values)
        variables[name] = (dims[:-1], ordered[..., 0], {"long_name": first.about, "units": first.unit})
    return variables


def dataset(job: Job, progress: Progress, framed: "xarray.Dataset") -> "xarray.Dataset":
    """Return the dataset with the scores so far added to the empty one."""
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
    """Return the hardware as text and as JSON, and its sources."""
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
    """Return the progress stored in a dataset."""
    progress = Progress(plan)
    if "done" in saved:
        progress.done = plan.in_order_of_work(saved["done"].values.astype(bool), with_time=False).copy()
    elif saved.attrs.get("complete"):
        progress.done[:] = True
    for name, variable in saved.data_vars.items():
        if name != "done" and CHIP in variable.dims:
            with_time = TIME in variable.dims
            # Copied: `in_order_of_work` may return a view of the dataset's array, and `add` writes in place.
            progress.values[str(name)] = plan.in_order_of_work(variable.values, with_time).copy()
    return progress


class ResultsFile:
    """A netCDF file of results, updated by atomic replacement."""

    def __init__(self, path: str | os.PathLike):
        if not isinstance(path, str | os.PathLike) or "\0" in os.fspath(path):
            raise InputError(f"path = {path!r}: must be the path of a file, 'results.nc'")
        self.path = Path(path)
        if self.path.suffix != ".nc":
            raise InputError(f"path = {str(self.path)!r}: must end in .nc (netCDF)")
        if self.path.is_dir():
            raise InputError(f"path = {str(self.path)!r}: is a folder; give the path of a file")

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
                f"{self.path}: another sweep is writing it; wait until it ends, or choose another file"
            ) from None
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written there ({error.strerror or error})") from None
        # The file is removed while it is locked: from 3.24 on, filelock does not take a lock on a file without a name.
        with acquired, files.temporary(Path(lock.lock_file)):
            yield

    @property
    def _target(self) -> Path:
        """The file, with links resolved."""
        return self.path.resolve()

    def check(self, resume: bool) -> None:
        """Refuse a file that cannot be written or resumed, before anything is computed.

        Raises:
          InputError: if the file exists and ``resume`` is False, is not a results file, or cannot be written.
        """
        if self.path.exists():
            if not resume:
                raise InputError(f"{self.path}: already exists; use resume=True to resume it, or another file")
            self._saved()
            return
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            with files.temporary_sibling(self._target) as neighbour:
                neighbour.touch()
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written there ({error.strerror or error})") from None

    def _saved(self) -> "tuple[xarray.Dataset, bool, dict[str, str]]":
        """Return the dataset, whether it is sealed, and the hashes of its inputs; refuse other files."""
        saved, is_sealed = netcdf.read(self.path)
        try:
            known = json.loads(saved.attrs["inputs"])
            return saved, is_sealed, {part: known[part] for part in WORDS}
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"{self.path}: is not a results file of a sweep; it is unchanged: choose another file"
            ) from None

    def load(self, hashes: Mapping[str, str]) -> "xarray.Dataset | None":
        """Return the dataset in the file, or None if there is no file.

        Raises:
          InputError: if the file was computed from other inputs, or is not a results file.
        """
        if not self.path.exists():
            return None
        saved, is_sealed, known = self._saved()
        other = [words for part, words in WORDS.items() if known[part] != hashes[part]]
        if other:
            raise InputError(
                f"{self.path}: holds a sweep that differs in {' and '.join(other)}; it is unchanged: choose another "
                f"file, or restore the inputs that it was computed from"
            )
        if not is_sealed:
            _warn(self.path)
        return saved

    def try_to_write(self, data: "xarray.Dataset") -> None:
        """Write to a temporary file next to the target, to see that it can be written."""
        try:
            with files.temporary_sibling(self._target) as neighbour, neighbour.open("xb") as file:
                file.write(netcdf.content(data))
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written there ({error.strerror or error})") from None

    def write(self, data: "xarray.Dataset") -> None:
        """Replace the file atomically.

        Raises:
          NotWritten: if the disk is full or the folder is gone; the file is unchanged.
        """
        try:
            files.replace(self.path, netcdf.content(data))
        except OSError as error:
            raise NotWritten(
                f"{self.path}: could not be written ({error.strerror or error}); its previous contents are intact: "
                f"free some space and rerun the same sweep to resume",
                data,
            ) from error


def load_results(path: str | os.PathLike) -> "xarray.Dataset":
    """Load a results file into memory.

    Args:
      path: netCDF file of ``sweep`` or ``save_results``.

    Returns:
      the dataset.

    Raises:
      InputError: if there is no such file, it is not netCDF, or its bytes have changed since it was written.

    Warns:
      UserWarning: if the file has no checksum, because another program wrote it.

    Example:
      >>> import tempfile, xarray
      >>> data = xarray.Dataset({"accuracy": ("adc.bits", [0.7, 0.9])}, {"adc.bits": [4, 8]})
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     loaded = load_results(netcdf.save_results(data, Path(folder, "scores.nc")))
      >>> float(loaded.accuracy.sel({"adc.bits": 8}))
      0.9
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
