"""From which age on a store's numbers are extrapolated, and the words and the mark that say so wherever they appear.

A store whose model goes on beyond its data, because a user asked for it (``store.cell.extrapolate``), says from which
time on (``extrapolated_after_s``). A dataset that has such numbers has a coordinate ``extrapolated``, yes or no, over
its times and over whatever else decides it, and an attribute of the same name with the reason in words.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from analogsim.base.units import show_time

if TYPE_CHECKING:
    import xarray

#: Name of the coordinate and of the attribute of a dataset.
EXTRAPOLATED = "extrapolated"
#: Stands behind every number that is extrapolated, and what it means.
MARK = "†"
MEANING = f"{MARK} extrapolated beyond the last measured age"


def extrapolates(hardware: Any, time_s: Any) -> bool:
    """Whether this hardware's numbers at a time are extrapolated; False while one of both is traced."""
    after_s = hardware.extrapolated_after_s
    if after_s is None or isinstance(after_s, jax.core.Tracer) or isinstance(time_s, jax.core.Tracer):
        return False
    return bool(np.any(np.float32(time_s) > np.float32(after_s)))


def extrapolated_times(hardware: Iterable[Any], times_s: Any) -> np.ndarray:
    """Which of these times are beyond the data of any of some hardware, ``[times]``."""
    found = list(hardware)
    return np.array([any(extrapolates(one, t) for one in found) for t in np.ravel(times_s)], bool)


def coordinate(dims: tuple[str, ...], late: np.ndarray) -> tuple[Any, np.ndarray, dict[str, str]]:
    """The coordinate ``extrapolated`` of a dataset, over its times and those dimensions that decide it."""
    kept = [d for d, name in enumerate(dims) if name == "time" or np.any(np.diff(late.astype(int), axis=d))]
    some = late[tuple(slice(None) if d in kept else 0 for d in range(late.ndim))]
    return tuple(dims[d] for d in kept), some, {"long_name": "whether the store is read beyond its measured ages"}


def marked(data: "xarray.Dataset", hardware: Iterable[Any]) -> "xarray.Dataset":
    """A dataset over ``time`` of some hardware, with the coordinate and the attribute where something is beyond."""
    held = list(hardware)
    late = extrapolated_times(held, data["time"].values)
    if not late.any():
        return data
    return data.assign_coords({EXTRAPOLATED: coordinate(("time",), late)}).assign_attrs({EXTRAPOLATED: in_words(held)})


def in_words(hardware: Iterable[Any]) -> str:
    """One line: whose numbers are extrapolated, from which age on, and how; empty where none can be."""
    ends = {
        one.name: float(one.extrapolated_after_s)
        for one in hardware
        if one.extrapolated_after_s is not None and not isinstance(one.extrapolated_after_s, jax.core.Tracer)
    }
    if not ends:
        return ""
    whose = ", ".join(f"'{name}' after {show_time(end)}" for name, end in ends.items())
    return f"{whose}: measured no later, the trend of the last decade continued (store.cell.extrapolate = True)"


def remedy(store: Any) -> str:
    """What a refusal of a late time says more where the store could go on; begins with a semicolon, or is empty."""
    cell = getattr(store, "cell", None)
    can = hasattr(cell, "extrapolate") and np.size(getattr(cell, "time_s", (0, 0))) > 1
    return "; store.cell.extrapolate=True goes on along the last decade" if can else ""
