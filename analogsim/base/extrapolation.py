"""Detection and marking of results that are extrapolated beyond a store's measured ages.

A store whose model continues beyond its data, because a user set ``store.cell.extrapolate``, states the age from which
it does so (``extrapolated_after_s``). A dataset with such numbers has a Boolean coordinate ``extrapolated`` over its
times and all other dimensions that it depends on, and an attribute of the same name with the reason in words.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from analogsim.base.types import Numeric
from analogsim.base.units import show_time

if TYPE_CHECKING:
    import xarray

#: Name of the coordinate and of the attribute of a dataset.
EXTRAPOLATED = "extrapolated"
#: Mark after every extrapolated number, and its meaning.
MARK = "†"
MEANING = f"{MARK} extrapolated beyond the last measured age"


def extrapolates(hardware: Any, time_s: Numeric) -> bool:
    """Return whether the hardware's numbers at a time are extrapolated; False if either is traced.

    Args:
      hardware: a hardware description.
      time_s: time after programming, seconds, or an array of times, of which one is enough.

    Example:
      >>> from analogsim import preset
      >>> hardware = preset("reram", **{"store.cell.extrapolate": True})     # data until 2 days, 172,800 s
      >>> extrapolates(hardware, 172_800), extrapolates(hardware, 200_000)
      (False, True)
    """
    after_s = hardware.extrapolated_after_s
    if after_s is None or isinstance(after_s, jax.core.Tracer) or isinstance(time_s, jax.core.Tracer):
        return False
    return bool(np.any(np.float32(time_s) > np.float32(after_s)))


def extrapolated_times(hardware: Iterable[Any], times_s: Any) -> np.ndarray:
    """Return which times (s) are beyond the data of at least one of the given hardware descriptions, ``[times]``."""
    descriptions = list(hardware)
    return np.array([any(extrapolates(one, t) for one in descriptions) for t in np.ravel(times_s)], bool)


def coordinate(dims: tuple[str, ...], late: np.ndarray) -> tuple[Any, np.ndarray, dict[str, str]]:
    """Return the coordinate ``extrapolated`` of a dataset, over time and the dimensions that it depends on."""
    axes = [d for d, name in enumerate(dims) if name == "time" or np.any(np.diff(late.astype(int), axis=d))]
    values = late[tuple(slice(None) if d in axes else 0 for d in range(late.ndim))]
    return tuple(dims[d] for d in axes), values, {"long_name": "whether the store is read beyond its measured ages"}


def marked(data: "xarray.Dataset", hardware: Iterable[Any]) -> "xarray.Dataset":
    """Add the coordinate and the attribute ``extrapolated`` to a dataset over ``time``, if any time is extrapolated."""
    descriptions = list(hardware)
    late = extrapolated_times(descriptions, data["time"].values)
    if not late.any():
        return data
    coords = {EXTRAPOLATED: coordinate(("time",), late)}
    return data.assign_coords(coords).assign_attrs({EXTRAPOLATED: in_words(descriptions)})


def in_words(hardware: Iterable[Any]) -> str:
    """Return one line: which hardware is extrapolated, from which age, and how; empty if none can be."""
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
    """Return the end of an error about a late time (``"; ..."``) if the store could extrapolate, else ``""``."""
    cell = getattr(store, "cell", None)
    can = hasattr(cell, "extrapolate") and np.size(getattr(cell, "time_s", (0, 0))) > 1
    return "; store.cell.extrapolate=True continues the trend of the last decade" if can else ""
