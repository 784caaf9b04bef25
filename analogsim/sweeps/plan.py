"""The grid of a sweep: structures x points x chips, each chip read at all times.

    structure   one combination of the structural axes: one compiled program
    point       one combination of the leaf axes: numbers that the program takes
    item        one chip at one point, the unit of work; numbered point-major within its structure

The scores of an item depend only on its point and its chip, so the grid may be split anywhere.
"""

import dataclasses
import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from analogsim.sweeps.axes import CHIP, TIME, Axis


class Block(NamedTuple):
    """A part of one structure: ``items`` are item numbers in ascending order."""

    structure: int
    items: np.ndarray


@dataclasses.dataclass(frozen=True)
class SweepPlan:
    """The grid of a sweep.

    Attributes:
      axes: in the order given by the user.
      chips: number of chips per point.
    """

    axes: tuple[Axis, ...]
    chips: int

    @property
    def structural(self) -> tuple[Axis, ...]:
        """Axes whose points are compiled separately."""
        return tuple(axis for axis in self.axes if axis.kind == "structure")

    @property
    def leaves(self) -> tuple[Axis, ...]:
        """Axes whose points run in one compiled program."""
        return tuple(axis for axis in self.axes if axis.kind == "leaf")

    @property
    def times_s(self) -> np.ndarray | None:
        """Times after programming ``[n_times]`` in s, float32; None without a time axis."""
        time_axes = [axis for axis in self.axes if axis.kind == "time"]
        return np.array(time_axes[0].labels, np.float32) if time_axes else None

    @property
    def n_structures(self) -> int:
        """Number of combinations of the structural axes."""
        return math.prod(map(len, self.structural))

    @property
    def n_points(self) -> int:
        """Number of combinations of the leaf axes."""
        return math.prod(map(len, self.leaves))

    @property
    def n_items(self) -> int:
        """Number of chips over all points and structures."""
        return self.n_structures * self.n_points * self.chips

    def structure(self, index: int) -> dict[str, Any]:
        """Return the values that the structural axes set in one structure, by field."""
        points = list(itertools.product(*(axis.changes for axis in self.structural)))
        return {name: value for change in points[index] for name, value in change.items()}

    def points(self) -> list[dict[str, Any]]:
        """Return the values that the leaf axes set at every point, by field, as given by the user."""
        points = itertools.product(*(axis.changes for axis in self.leaves))
        return [{name: value for change in point for name, value in change.items()} for point in points]

    def columns(self) -> dict[str, np.ndarray]:
        """Return the values of the leaf axes as arrays, ``{field: [n_points]}``."""
        points = self.points()
        return {name: _column([point[name] for point in points]) for name in points[0]}

    def in_order_of_axes(self, values: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
        """Return dimension names, and the values transposed to them: axes in the user's order, chips last.

        Args:
          values: ``[structures, points, chips(, times)]``.
        """
        with_time = values.ndim == 4
        inner = [axis.name for axis in (*self.structural, *self.leaves)] + [CHIP] + ([TIME] if with_time else [])
        sizes = [len(axis) for axis in (*self.structural, *self.leaves)] + list(values.shape[2:])
        outer = [axis.name for axis in self.axes if with_time or axis.kind != "time"] + [CHIP]
        return tuple(outer), values.reshape(sizes).transpose([inner.index(name) for name in outer])

    def in_order_of_work(self, values: np.ndarray, with_time: bool) -> np.ndarray:
        """Undo ``in_order_of_axes``: return ``[structures, points, chips(, times)]``."""
        inner = [axis.name for axis in (*self.structural, *self.leaves)] + [CHIP] + ([TIME] if with_time else [])
        outer = [axis.name for axis in self.axes if with_time or axis.kind != "time"] + [CHIP]
        moved = values.transpose([outer.index(name) for name in inner])
        return moved.reshape(self.n_structures, self.n_points, self.chips, *moved.shape[len(moved.shape) - with_time :])


def _column(values: list) -> np.ndarray:
    """Return an array that keeps integers as int32; others are float32."""
    return np.array(values, np.int32 if all(isinstance(v, int) for v in values) else np.float32)
