"""What a memory cell promises to the array, and the statistics of a conductance that cannot be negative.

A read that fluctuates as a Gaussian around g with spread s, cut off at zero because a conductance cannot be negative,
has, with a = g/s, the normal density phi and the normal distribution Phi,

    mean     = s (a + e)                         e = phi(a) - a Phi(-a)
    variance = s^2 (1 - Phi(-a) - a e - e^2)

These are the textbook censored-Gaussian moments, written so that nothing cancels when s << g.
"""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm

from analogsim.devices.protocol import Moments


class Cell(Protocol):
    """One memory technology: a frozen pytree. Conductances are in siemens, times in seconds after programming."""

    g_min: Any
    g_max: Any
    time_limit_s: float | None
    #: Whether fluctuations last through all steps of one product that is driven slice by slice (a 1/f spectrum); False,
    #: also where it is absent, for ones that are independent from read to read.
    noise_persists: bool
    #: The field that scales the error of writing, zero for a perfect write; absent where the published spread does not
    #: tell writing from what follows.
    write_error: str | None

    def program(self, key: jax.Array, target: jax.Array) -> Any:
        """Write every cell to its target conductance (any shape); returns the cells' state."""
        ...

    # A cell of which less may be used than it has (``g_max`` within its window) also knows ``largest``, what it
    # conducts at most (S): stuck at that, and pulsed up to that. Nothing of it may depend on how much is used.

    # A cell that can be read later than it was measured says from when on: ``extrapolated_after_s`` (``beyond``).

    # A cell may also know ``moments(target, time_s, read_noise)``: the mean (S) and variance (S^2) of its conductance
    # over cells and reads in closed form, which hardware-aware training draws from (``expected``).

    def read(self, state: Any, time_s: Any, key: jax.Array | None = None) -> Moments:
        """Mean (S) and variance (S^2) of every cell over reads at ``time_s``, or one sampled read if a key is given.

        ``Moments.slow`` is the share of every cell's variance that all reads of one reading have in common, one number
        for all cells; None where the source gives no spectrum and reads are taken as independent.
        """
        ...


def largest(cell: Any) -> Any:
    """What a cell conducts at most (S), however much of that is used."""
    return getattr(cell, "largest", cell.g_max)


def non_negative(mean: jax.Array, sigma: jax.Array) -> Moments:
    """Exact moments of max(N(mean, sigma^2), 0) for mean >= 0 and sigma >= 0; see the module's docstring.

    Computed in float32 or wider, returned in the dtype of ``mean``.
    """
    narrow = mean.dtype
    mean, sigma = (jnp.asarray(a, jnp.promote_types(narrow, jnp.float32)) for a in (mean, sigma))
    # Beyond 30 sigma the cut-off is invisible. The inner where keeps the slope finite where sigma is zero.
    visible = sigma > mean / 30
    a = jnp.where(visible, mean / jnp.where(visible, sigma, 1.0), 30.0)
    below = norm.cdf(-a)
    e = norm.pdf(a) - a * below
    variance = sigma**2 * (1 - below - a * e - e**2)
    return Moments((mean + sigma * e).astype(narrow), variance.astype(narrow))
