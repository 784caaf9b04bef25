"""1/f noise in time: a slow part common to all reads of one reading, and a fast part drawn for every read.

The published variance of a read integrates the spectrum S(f) = (g Q)^2/f from the inverse of the age, for which a cell
was observed, to the bandwidth of a read:

    sigma^2 = (g Q)^2 ln(f_high/f_low)      f_low = 1/(t + t_read)      f_high = 1/(2 t_read)

The mean of N reads spaced by dt passes |sin(pi f N dt)/(N sin(pi f dt))|^2 of it: fluctuations slower than the total
time T = N dt remain, however large N is. For f_low T << 1 their variance is

    int sinc^2(f T) df/f = ln(c/(f_low T))      c = exp(3/2 - gamma)/(2 pi) = 0.4005      gamma: Euler's constant

Here the spectrum is split at f = c/T, with T the duration of one reading, and the variance of one read stays as
published:

    slow    (g Q)^2 ln(c (t + t_read)/T)      drawn once per reading: the same in all its reads
    fast    the rest                          drawn for every input vector, independent between them

The standard deviations of a single read and of the mean of all reads within T are then exact. Between them the split
treats fluctuations that outlast a few reads as independent. With reads of 250 ns and T = 1 ms the standard deviation of
a mean of 2 to 4,000 consecutive reads is too small by at most 19 % right after programming, 12 % after a day and 9 %
after a year; that of the mean over 1 s, 1,000 times T, is too large by factors of 2.1, 1.29 and 1.19. For longer series
set T to their duration. If one product takes several reads (bit-serial inputs), these follow so quickly that both parts
are the same in all of them: the standard deviation of their sum is too large by at most 5 % (15 bits of input).

Readings at different times draw their slow parts independently, which holds for times that differ by orders of
magnitude (a second, a day, a year).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.description import field
from analogsim.base.literature import Source
from analogsim.base.types import Numeric

#: Product of the averaging time and the frequency below which a mean over that time retains 1/f noise.
CUT = float(np.exp(1.5 - np.euler_gamma) / (2 * np.pi))


def reading_time() -> Any:
    """Return the description field ``reading_s`` of a cell: the duration of one reading."""
    return field(
        default=1e-3, unit="s", gt=0, le=1e6,
        doc="of a 1/f spectrum: duration of one reading, whose reads share all fluctuations slower than it",
        source=Source(note="assumed: 4,000 products of 250 ns, some images or tokens"),
    )  # fmt: skip


def logarithm(age_s: jax.Array, read_time_s: Numeric) -> jax.Array:
    """Return ln(f_high/f_low), the factor of the squared noise amplitude, for ages (s) of at least ``read_time_s``."""
    return jnp.log((age_s + read_time_s) / (2 * read_time_s))


def slow_fraction(age_s: jax.Array, read_time_s: Numeric, reading_s: Numeric) -> jax.Array:
    """Return the fraction of a read's variance that all reads of one reading have in common, in [0, 1].

    Args:
      age_s: time for which cells have fluctuated, s.
      read_time_s: duration of one read, s.
      reading_s: T, duration of one reading, s.

    Example:
      >>> round(float(slow_fraction(jnp.array(20.0), 250e-9, 1e-3)), 3)      # 8.988 of 17.504
      0.513
    """
    total = logarithm(age_s, read_time_s)
    is_noisy = total > 0  # the inner where keeps derivatives finite if there is no noise
    slow = jnp.log(CUT * (age_s + read_time_s) / reading_s)
    return jnp.where(is_noisy, jnp.clip(slow / jnp.where(is_noisy, total, 1.0), 0.0, 1.0), 0.0)
