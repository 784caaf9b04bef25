"""A cell from measurements: its standard deviation as a table over conductance and time, for example from a CSV file.

Each cell has one permanent Gaussian deviate xi and deviates from its target by

    g(t) = max(g_T + sigma(g_T, t) xi, 0)

sigma is interpolated linearly in the conductance and linearly in log t between the measured times. Before the first
measured time its first value is used; after the last one there are no data and reading is refused, unless
``extrapolate`` continues sigma at each conductance along the table's last decade (``beyond``); a single time shows no
trend to continue. The conductances of the table are the window: the smallest is g_min, the largest g_max. A shift of
the mean and read-to-read noise are not part of the table and not modelled.

A table has one row for every conductance at every time. In a CSV file units may be written out:

    conductance_s,sigma_s,time_s
    5 uS,0.2 uS,1
    25 uS,0.9 uS,1
    5 uS,0.3 uS,1 day
    25 uS,1.2 uS,1 day
"""

import os
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.description import Description, field
from analogsim.base.errors import InputError
from analogsim.base.random import normal, stream
from analogsim.base.types import Numeric
from analogsim.devices.crossbar import tables
from analogsim.devices.crossbar.beyond import Extrapolates, continued, extrapolation
from analogsim.devices.crossbar.fits import weights_between
from analogsim.devices.protocol import Moments


class MeasuredState(NamedTuple):
    """Target conductance and permanent deviate of each cell."""

    target: jax.Array  #: S
    deviate: jax.Array  #: standard Gaussian, dimensionless


class MeasuredCell(Extrapolates, Description):
    """A cell whose standard deviation was measured; build it with ``from_rows`` or ``from_csv``.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> rows = [(0.0, 0.1e-6, 1.0), (20e-6, 0.5e-6, 1.0), (0.0, 0.2e-6, 3600.0), (20e-6, 0.9e-6, 3600.0)]
      >>> cell = MeasuredCell.from_rows(rows)
      >>> round(float(cell.conductance_std(jnp.array(10e-6), 60.0)) * 1e9)  # halfway in g and log t: (300 + 550)/2 nS
      425
    """

    conductance: Any = field(unit="S", ge=0, le=1, doc="conductances of the table, ascending, shape [n_g]")
    time_s: Any = field(unit="s", gt=0, le=1e12, doc="times of the table after programming, ascending, shape [n_t]")
    sigma: Any = field(unit="S", ge=0, le=1, doc="device-to-device standard deviation, shape [n_t, n_g]")
    programming_noise: Any = field(default=1.0, ge=0, le=100, doc="multiplies the measured sigma at every time")
    extrapolate: bool = extrapolation()

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[Any, Any, Any]], **changes: Any) -> "MeasuredCell":
        """Return a cell from rows of (conductance, sigma, time): siemens, siemens and seconds, in any order.

        Args:
          rows: one row for every conductance at every time; numbers or strings with units.
          **changes: other fields.

        Raises:
          InputError: for a bad value, with the row and the column, and for repeated or missing rows.
        """
        return cls(**tables.grid([(f"row {i}", row) for i, row in enumerate(rows)], "the table"), **changes)

    @classmethod
    def from_csv(cls, path: str | os.PathLike, **changes: Any) -> "MeasuredCell":
        """Return a cell from a CSV file with the header ``conductance_s,sigma_s,time_s``, its columns in any order.

        Args:
          path: the file.
          **changes: other fields.

        Raises:
          InputError: for a file or value that cannot be read, with the line and the column.
        """
        return cls(**tables.grid(tables.read_csv(path), str(path)), **changes)

    def check(self) -> None:
        for name, size in (("conductance", 2), ("time_s", 1)):
            axis = getattr(self, name)
            if np.ndim(axis) != 1 or np.shape(axis)[0] < size:
                self.refuse(name, f"must be a vector of {size} or more values")
            if not isinstance(axis, jax.core.Tracer) and np.any(np.diff(np.asarray(axis)) <= 0):
                self.refuse(name, "must be ascending")
        expected = (np.shape(self.time_s)[0], np.shape(self.conductance)[0])
        if np.shape(self.sigma) != expected:
            shape = np.shape(self.sigma)
            raise InputError(f"MeasuredCell.sigma has shape {shape}: must be [n_t, n_g] = {expected}", ("sigma",))
        if self.extrapolate and np.shape(self.time_s)[0] == 1:
            self.refuse("extrapolate", "must be False for a table of one time, which shows no trend")

    @property
    def g_min(self) -> Numeric:
        """Smallest conductance of the table, S."""
        return self.conductance[0]

    @property
    def g_max(self) -> Numeric:
        """Largest conductance of the table, S."""
        return self.conductance[-1]

    @property
    def measured_until_s(self) -> float | None:
        """Last time of the table in seconds (of a stack of cells, the last of any); None while it is traced."""
        is_known = isinstance(self.time_s, (np.ndarray, jax.Array)) and not isinstance(self.time_s, jax.core.Tracer)
        return float(np.max(np.asarray(self.time_s)[..., -1])) if is_known else None

    def program(self, key: jax.Array, target: jax.Array) -> MeasuredState:
        """Program cells to ``target`` (S, any shape)."""
        return MeasuredState(target, normal(stream(key, "programming noise"), target.shape, target.dtype))

    def programming_error(self, target: jax.Array) -> jax.Array:
        """Return the standard deviation (S) of cells programmed to ``target`` (S), at time zero."""
        return self.programming_noise * self.conductance_std(target, 0.0)

    def read(self, state: MeasuredState, time_s: Numeric, key: jax.Array | None = None) -> Moments:
        """Return conductances (S) at ``time_s``; reads are noiseless in this model, so ``key`` is not used."""
        del key
        sigma = self.programming_noise * self.conductance_std(state.target, time_s)
        return Moments(jnp.maximum(state.target + sigma * state.deviate, 0.0))

    def conductance_std(self, target: jax.Array, time_s: Numeric) -> jax.Array:
        """Return sigma(g, t) (S) for targets (S, any shape), as measured; outside of the table its nearest values."""
        if not self.extrapolate:
            return self._measured(target, time_s)
        first, *_, last = jnp.asarray(self.time_s, target.dtype)
        return continued(lambda t: self._measured(target, t), jnp.asarray(time_s, target.dtype), first, last)

    def _measured(self, target: jax.Array, time_s: Numeric) -> jax.Array:
        """Return sigma at ``time_s``, constant after the last measured time."""
        dtype = target.dtype
        times = jnp.asarray(self.time_s, dtype)
        # Times from zero on are valid; those before the first measured one are read as that one.
        at = jnp.log(jnp.maximum(jnp.asarray(time_s, dtype), times[0]))
        row = jnp.sum(weights_between(at, jnp.log(times))[:, None] * jnp.asarray(self.sigma, dtype), axis=0)
        # In units of g_max, because differences of siemens are close to the smallest numbers of a float16.
        knots = jnp.asarray(self.conductance / self.g_max, dtype)
        return jnp.interp(target / jnp.asarray(self.g_max, dtype), knots, row)
