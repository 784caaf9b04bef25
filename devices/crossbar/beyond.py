"""Extrapolation beyond the last measured time, on request: the trend of the last measured decade in log time.

A standard deviation that was measured until t_last is continued as

    sigma(t) = max(sigma(t_last) + [sigma(t_last) - sigma(t_0)] log10(t/t_last) / log10(t_last/t_0), 0)

with t_0 = t_last/10, at which the cell's own interpolation gives sigma; if the table begins later, t_0 is its first
time. Nothing changes before t_last. The law extrapolates sigma at the conductance of each cell, the quantity that was
measured. For a polynomial this equals extrapolating its coefficients, because sigma is linear in them; for constants
inside an exponential (SONOS) it does not, and these constants may diverge although sigma does not. The trend is that of
a decade and not of the last interval, whose ends are so close that measurement error may decide its sign.

Nobody measured these times, so every result computed with the extrapolation is marked: ``extrapolated_after_s``.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from analogsim.base.description import static
from analogsim.base.literature import Source


def extrapolation() -> Any:
    """Return the description field ``extrapolate`` of a cell."""
    return static(
        default=False,
        choices=(False, True),
        doc="read beyond the last measured age, along the trend of the last decade; results say that they are "
        "extrapolated",
    )


class Extrapolates:
    """Mixin for cells with a last measured time, ``measured_until_s``, and the field ``extrapolate``."""

    extrapolate: bool
    measured_until_s: Any

    @property
    def time_limit_s(self) -> Any:
        """Last time at which the cell can be read, in seconds after programming; None if it is extrapolated."""
        return None if self.extrapolate else self.measured_until_s

    @property
    def extrapolated_after_s(self) -> Any:
        """Time from which reads are extrapolated, in seconds after programming; None if nothing is extrapolated."""
        return self.measured_until_s if self.extrapolate else None

    def model_sources(self) -> tuple[Source, ...]:
        """Return the source of the extrapolation if it is used; empty otherwise."""
        return (Source(note="assumed: the trend of the last decade continues"),) if self.extrapolate else ()


def continued(std: Callable[[Any], jax.Array], time_s: jax.Array, first_s: Any, last_s: Any) -> jax.Array:
    """Return ``std(time_s)`` until ``last_s``, and from there its extrapolation by the module's law.

    Args:
      std: standard deviation (S) as a function of a time in seconds; must be constant from ``last_s`` on.
      time_s: seconds after programming, one number.
      first_s, last_s: first and last measured time, seconds.
    """
    from_s = jnp.maximum(first_s, last_s / 10)
    decades = jnp.log10(jnp.maximum(time_s / last_s, 1.0)) / jnp.log10(last_s / from_s)
    return jnp.maximum(std(time_s) + (std(last_s) - std(from_s)) * decades, 0.0)
