"""What there is to compute, as a grid: structures x points x chips, every one read at all times.

    structure   one combination of the structural axes: one compiled program
    point       one combination of the leaf axes: numbers that the program takes
    item        one chip at one point, the unit of work; numbered point-major within its structure

The numbers of an item depend on its point and its chip alone, so that the grid may be cut anywhere.
"""

import dataclasses
import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from analogsim.sweeps.axes import CHIP, TIME, Axis


class Block(NamedTuple):
    """Items ``items`` (numbers, in order) of one structure."""

    structure: int
    items: np.ndarray


@dataclasses.dataclass(frozen=True)
class SweepPlan:
    """The grid of a sweep.

    Attributes:
      axes: in the order in which the user named them.
      chips: how many.
    """

    axes: tuple[Axis, ...]
    chips: int

    @property
    def structural(self) -> tuple[Axis, ...]:
        """Axes whose points are compiled apart."""
        return tuple(axis for axis in self.axes if axis.kind == "structure")

    @property
    def leaves(self) -> tuple[Axis, ...]:
        """Axes that run in one program."""
        return tuple(axis for axis in self.axes if axis.kind == "leaf")

    @property
    def times_s(self) -> np.ndarray | None:
        """Seconds, float32; None without an axis of time."""
        found = [axis for axis in self.axes if axis.kind == "time"]
        return np.array(found[0].labels, np.float32) if found else None

    @property
    def n_structures(self) -> int:
        """Combinations of the structural axes."""
        return math.prod(map(len, self.structural))

    @property
    def n_points(self) -> int:
        """Combinations of the leaf axes."""
        return math.prod(map(len, self.leaves))

    @property
    def n_items(self) -> int:
        """Chips at all points and structures."""
        return self.n_structures * self.n_points * self.chips

    def structure(self, index: int) -> dict[str, Any]:
        """What the structural axes set in one structure."""
        points = list(itertools.product(*(axis.changes for axis in self.structural)))
        return {name: value for change in points[index] for name, value in change.items()}

    def points(self) -> list[dict[str, Any]]:
        """What the leaf axes set at every point, as the user gave it."""
        points = itertools.product(*(axis.changes for axis in self.leaves))
        return [{name: value for change in point for name, value in change.items()} for point in points]

    def columns(self) -> dict[str, np.ndarray]:
        """What the leaf axes set at every point, ``{field: [n_points]}``."""
        points = self.points()
        return {name: _column([point[name] for point in points]) for name in points[0]}

    def in_order_of_axes(self, values: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
        """Names of dimensions, and values in their order: the axes, chips last.

        Args:
          values: ``[structures, points, chips(, times)]``.
        """
        with_time = values.ndim == 4
        inner = [axis.name for axis in (*self.structural, *self.leaves)] + [CHIP] + ([TIME] if with_time else [])
        sizes = [len(axis) for axis in (*self.structural, *self.leaves)] + list(values.shape[2:])
        wanted = [axis.name for axis in self.axes if with_time or axis.kind != "time"] + [CHIP]
        return tuple(wanted), values.reshape(sizes).transpose([inner.index(name) for name in wanted])

    def in_order_of_work(self, values: np.ndarray, with_time: bool) -> np.ndarray:
        """The way back: ``[structures, points, chips(, times)]``."""
        inner = [axis.name for axis in (*self.structural, *self.leaves)] + [CHIP] + ([TIME] if with_time else [])
        given = [axis.name for axis in self.axes if with_time or axis.kind != "time"] + [CHIP]
        moved = values.transpose([given.index(name) for name in inner])
        return moved.reshape(self.n_structures, self.n_points, self.chips, *moved.shape[len(moved.shape) - with_time :])


def _column(values: list) -> np.ndarray:
    """Whole numbers stay whole."""
    return np.array(values, np.int32 if all(isinstance(v, int) for v in values) else np.float32)
