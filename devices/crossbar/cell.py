"""The protocol of memory cells, and the statistics of a conductance that cannot be negative.

A read that fluctuates as a Gaussian around g with standard deviation s, censored at zero because a conductance cannot
be negative, has, with a = g/s, the normal density phi and the normal distribution Phi,

    mean     = s (a + e)                         e = phi(a) - a Phi(-a)
    variance = s^2 (1 - Phi(-a) - a e - e^2)

These are the textbook moments of a censored Gaussian, written so that nothing cancels if s << g.
"""

import math
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from analogsim.base.dtypes import promoted
from analogsim.base.types import Numeric, PyTree
from analogsim.devices.protocol import Moments


class Cell(Protocol):
    """One memory technology: a frozen pytree. Conductances are in siemens, times in seconds after programming.

    Implemented by ``PCM``, ``ReRAM`` and the other classes in ``CELLS``, with examples there.

    A cell may also have:
      largest: largest conductance of the cell (S) if ``g_max`` may be less than that. Cells are stuck on at ``largest``
        and pulsed up to it; it must not depend on the window in use.
      extrapolated_after_s: time from which reads are extrapolated beyond the measured data (``beyond``).
      moments(target, time_s, read_noise): mean (S) and variance (S^2) of the conductance over cells and reads in closed
        form, from which hardware-aware training draws (``expected``).

    Example:
      >>> from analogsim.devices import Crossbar, Description, field
      >>> class Resistor(Description):     # programmed exactly, read without noise, at any time
      ...     g_min: float = field(default=1e-6, unit="S", ge=0, le=1e-3)
      ...     g_max: float = field(default=9e-6, unit="S", gt=0, le=1e-3)
      ...     time_limit_s, noise_persists, write_error = None, False, None
      ...
      ...     def program(self, key, target):
      ...         return target
      ...
      ...     def read(self, state, time_s, key=None):
      ...         return Moments(state)
      >>> store = Crossbar(cell=Resistor())
      >>> state = store.program(jax.random.key(0), jnp.array([[0.5, -1.0]]))
      >>> store.combine(store.read(state, 60.0).mean, None).round(3).tolist()
      [[0.5, -1.0]]
    """

    g_min: Numeric
    g_max: Numeric
    time_limit_s: float | None
    #: Whether fluctuations last through all steps of one product that is driven slice by slice (a 1/f spectrum). False,
    #: also if absent, for fluctuations that are independent from read to read.
    noise_persists: bool
    #: Name of the field that scales the programming error, zero for perfect programming; absent if the published
    #: variation does not separate the programming error from other effects.
    write_error: str | None

    def program(self, key: jax.Array, target: jax.Array) -> Any:
        """Program every cell to its target conductance (S, any shape); return the cells' state."""
        ...

    def read(self, state: PyTree, time_s: Numeric, key: jax.Array | None = None) -> Moments:
        """Return mean (S) and variance (S^2) over reads at ``time_s``, or one sampled read if a key is given.

        ``Moments.slow`` is the fraction of every cell's variance that all reads of one reading have in common, one
        number for all cells; None if the source gives no spectrum and reads are taken as independent.
        """
        ...


def largest(cell: Any) -> Any:
    """Return the largest conductance of a cell (S), whether or not the window in use reaches it."""
    return getattr(cell, "largest", cell.g_max)


def normal_density(x: jax.Array) -> jax.Array:
    """Return exp(-x^2/2) / sqrt(2 pi)."""
    return jnp.exp((math.log(2 * math.pi) + x**2) / -2)


def normal_distribution(x: jax.Array) -> jax.Array:
    """Return Phi(x), in half the operations of ``jax.scipy.special.ndtr`` and as exact: erfc loses no small tail."""
    return lax.erfc(x * jnp.asarray(-math.sqrt(0.5), x.dtype)) / 2


def non_negative(mean: jax.Array, sigma: jax.Array) -> Moments:
    """Return the exact moments of max(N(mean, sigma^2), 0) for mean >= 0 and sigma >= 0; equations in the module.

    Computed in float32 or wider, returned in the dtype of ``mean``.
    """
    narrow = mean.dtype
    mean, sigma = (jnp.asarray(a, promoted(narrow, jnp.float32)) for a in (mean, sigma))
    # Beyond 30 sigma the censoring is invisible. The inner where keeps the derivative finite at sigma = 0: the gradient
    # of an outer where alone would be 0 * inf = NaN.
    visible = sigma > mean / 30
    a = jnp.where(visible, mean / jnp.where(visible, sigma, 1.0), 30.0)
    below = normal_distribution(-a)
    e = normal_density(a) - a * below
    variance = sigma**2 * (1 - below - a * e - e**2)
    return Moments((mean + sigma * e).astype(narrow), variance.astype(narrow))
