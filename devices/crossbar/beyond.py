"""Beyond the last measured age, where a user asks for it: the trend of the last measured decade goes on in log time.

A spread that was measured until t_last is continued as

    sigma(t) = max(sigma(t_last) + [sigma(t_last) - sigma(t_0)] log10(t/t_last) / log10(t_last/t_0), 0)

with t_0 = t_last/10, at which the cell's own interpolation gives sigma; where the table begins later, t_0 is its first
time. Until t_last nothing changes. What goes on is sigma at the conductance of each cell, which is what was measured.
For a polynomial that is the same as if its coefficients went on, because sigma is linear in them; for constants within
an exponential (SONOS) it is not, and they may run away where sigma does not. The slope is that of a decade and not of
the last interval, whose ends lie so close that the error of the measurement may decide its sign.

This is a guess about times that nobody measured, so whatever is computed with it says so: ``extrapolated_after_s``.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from analogsim.base.description import static
from analogsim.base.literature import Source


def extrapolation() -> Any:
    """The field of a cell: whether it may be read later than it was measured."""
    return static(
        default=False,
        choices=(False, True),
        doc="read beyond the last measured age, along the trend of the last decade; results say that they are "
        "extrapolated",
    )


class Extrapolates:
    """The ages of a cell with the fields' choice ``extrapolate`` and a last measured age, ``measured_until_s``."""

    extrapolate: bool
    measured_until_s: Any

    @property
    def time_limit_s(self) -> Any:
        """Last time that the cell can be read at, seconds after programming: the last measured one; None without."""
        return None if self.extrapolate else self.measured_until_s

    @property
    def extrapolated_after_s(self) -> Any:
        """From which time on what is read is extrapolated, seconds after programming; None where nothing is."""
        return self.measured_until_s if self.extrapolate else None

    def model_sources(self) -> tuple[Source, ...]:
        """What stands behind ages that nobody measured, where they are read; nothing where they are refused."""
        return (Source(note="assumed: the trend of the last decade goes on"),) if self.extrapolate else ()


def continued(spread: Callable[[Any], jax.Array], time_s: jax.Array, first_s: Any, last_s: Any) -> jax.Array:
    """The module's law: ``spread(time_s)`` until ``last_s``, its trend in log time from there on.

    Args:
      spread: of a time in seconds; from ``last_s`` on it must stay what it is there.
      time_s: after programming, one number.
      first_s, last_s: the first and last measured time, seconds.
    """
    from_s = jnp.maximum(first_s, last_s / 10)
    decades = jnp.log10(jnp.maximum(time_s / last_s, 1.0)) / jnp.log10(last_s / from_s)
    return jnp.maximum(spread(time_s) + (spread(last_s) - spread(from_s)) * decades, 0.0)
