"""1/f noise in time: which part of it all reads of one reading share, and which is drawn anew for every read.

The published spread of a read integrates the spectrum S(f) = (g Q)^2/f from the inverse of the age, over which a cell
was watched, to the bandwidth of a read:

    sigma^2 = (g Q)^2 ln(f_high/f_low)      f_low = 1/(t + t_read)      f_high = 1/(2 t_read)

The mean of N reads spaced by dt passes |sin(pi f N dt)/(N sin(pi f dt))|^2 of it: what is slower than they last,
T = N dt, stays, however many they are. For f_low T << 1 that is

    int sinc^2(f T) df/f = ln(c/(f_low T))      c = exp(3/2 - gamma)/(2 pi) = 0.4005      gamma: Euler's constant

Here the spectrum is cut in two at f = c/T, with T the time that one reading lasts, and the variance of one read stays
as published:

    slow    (g Q)^2 ln(c (t + t_read)/T)      drawn once a reading: the same in all its reads
    fast    the rest                          drawn for every input vector, independent between them

The spread of a single read and that of the mean of all reads of T are then exact. Between them the cut takes
fluctuations that outlast a few reads as independent. With reads of 250 ns and T = 1 ms the spread of a mean of 2 to
4,000 consecutive reads comes out by at most 19 % too small right after programming, 12 % after a day and 9 % after a
year; that of the mean over 1 s, 1,000 times T, too large by 2.1, 1.29 and 1.19 times. For longer series set T to what
they last. Where one product takes several reads (bit-serial inputs) these follow each other so quickly that both parts
are the same in all of them: the spread of their sum comes out by at most 5 % too large (15 bits of input).

Readings at different times draw their slow parts independently, as they are for times that differ by orders of
magnitude (a second, a day, a year).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base.description import field
from analogsim.base.literature import Source

#: Frequency below which the mean over a time keeps 1/f noise, times that time.
CUT = float(np.exp(1.5 - np.euler_gamma) / (2 * np.pi))


def reading_time() -> Any:
    """The field of a cell: how long the reads last that are taken as one reading."""
    return field(
        default=1e-3, unit="s", gt=0, le=1e6,
        doc="of a 1/f spectrum: all reads of one reading fall within this time and share what fluctuates more slowly",
        source=Source(note="assumed: 4,000 products of 250 ns, some images or tokens"),
    )  # fmt: skip


def logarithm(age_s: jax.Array, read_time_s: Any) -> jax.Array:
    """ln(f_high/f_low), which multiplies the squared amplitude of the noise; for ages of at least ``read_time_s``."""
    return jnp.log((age_s + read_time_s) / (2 * read_time_s))


def slow_fraction(age_s: jax.Array, read_time_s: Any, reading_s: Any) -> jax.Array:
    """The share of a read's variance that all reads of one reading have in common, in [0, 1].

    Args:
      age_s: since when cells fluctuate, s.
      read_time_s: duration of one read, s.
      reading_s: T, how long one reading lasts, s.

    Example:
      >>> round(float(slow_fraction(jnp.array(20.0), 250e-9, 1e-3)), 3)      # 8.988 of 17.504
      0.513
    """
    total = logarithm(age_s, read_time_s)
    known = total > 0  # the inner where keeps slopes finite
    slow = jnp.log(CUT * (age_s + read_time_s) / reading_s)
    return jnp.where(known, jnp.clip(slow / jnp.where(known, total, 1.0), 0.0, 1.0), 0.0)
