"""Information retrieved from multi-level cells, read with Gaussian noise, and from photon numbers of a leaking mode.

L levels with the spacing D = 1/(L - 1) of full scale, read with Gaussian noise sigma and decided for the nearest:

    P_error = 2 (1 - 1/L) Q(D / (2 sigma)),   Q the upper tail of a Gaussian

for equally frequent levels. The relevant measure is the mutual information of written and decided level, not log2 L.
One model serves phase-change, resistive, flash and photonic cells; sigma is the variation that a technology leaves.

A mode of light or microwaves with d levels of 0 .. d-1 photons retains each photon with eta = exp(-kappa t):

    P(n -> k) = C(n, k) eta^k (1 - eta)^(n-k),   mean survival probability (1 - eta^d) / (d (1 - eta))

A level of n photons decays n times faster than a single photon: the cost of many states. Capacity by the algorithm of
R. E. Blahut, doi 10.1109/TIT.1972.1054855.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr

from analogsim.base.description import Description, field, static
from analogsim.base.literature import Source, cited
from analogsim.base.types import Numeric
from analogsim.devices.quantum.accounting import entropy_bits
from analogsim.devices.quantum.channels import check_time

_ASSUMED = Source(note="assumed")
_FAR = 1e4  # full scales: beyond all noise, and finite so that derivatives are


def mutual_information_bits(given: jax.Array, used: jax.Array | None = None) -> jax.Array:
    """Return the mutual information (bits) of the written and the decided level.

    Args:
      given: conditional probabilities ``[n_written, n_decided]``, each row summing to 1.
      used: frequency of each written level, ``[n_written]``; None: uniform.

    Example:
      >>> float(mutual_information_bits(jnp.eye(4)))
      2.0
    """
    used = jnp.full(given.shape[0], 1 / given.shape[0], given.dtype) if used is None else used
    # Full precision: the information of similar levels is a small difference.
    decided, uncertainty = (jnp.matmul(used, a, precision="highest") for a in (given, entropy_bits(given)))
    return jnp.maximum(entropy_bits(decided) - uncertainty, 0.0)


def capacity_bits(transition: jax.Array, rounds: int = 200) -> tuple[jax.Array, jax.Array]:
    """Return the channel capacity (bits) and the optimal frequencies of the levels, by Blahut's iteration.

    Args:
      transition: conditional probabilities ``[n_written, n_decided]``, each row summing to 1.
      rounds: number of iterations.

    Returns:
      The capacity, ``[]``, and the frequencies, ``[n_written]``.

    Example:
      >>> bits, used = capacity_bits(jnp.array([[1.0, 0.0], [0.5, 0.5]]))
      >>> round(float(bits), 4), [round(float(u), 2) for u in used]
      (0.3219, [0.6, 0.4])
    """
    row_entropy = -entropy_bits(transition)

    def improved(_: Any, used: jax.Array) -> jax.Array:
        mixed = jnp.matmul(used, transition, precision="highest")
        logs = jnp.log2(jnp.where(mixed > 0, mixed, 1.0))
        # Divergence of each row from the mixture.
        gain = row_entropy - jnp.matmul(transition, logs, precision="highest")
        # used * 2^gain, normalised, in logarithms: a level that falls out of use has -inf and stays out.
        return jax.nn.softmax(jnp.log(used) + jnp.log(2.0) * gain)

    start = jnp.full(transition.shape[0], 1 / transition.shape[0], transition.dtype)
    used = jax.lax.fori_loop(0, rounds, improved, start)
    return mutual_information_bits(transition, used), used


class MultiLevelCell(Description):
    """A cell with equidistant levels and Gaussian noise; see the module for the equations.

    Example:
      >>> cell = MultiLevelCell(levels=16, sigma=0.02)
      >>> round(float(cell.error()), 4), round(float(cell.bits()), 2)
      (0.0896, 3.48)
    """

    levels: int = static(default=16, ge=2, le=4096, integer=True, doc="L, number of levels", source=_ASSUMED)
    sigma: Any = field(default=0.02, gt=0, le=10, doc="standard deviation of a read over full scale", source=_ASSUMED)

    @property
    def spacing(self) -> float:
        """Spacing D of the levels over full scale."""
        return 1 / (self.levels - 1)

    def error(self) -> jax.Array:
        """Return the probability of a wrong decision, for equally frequent levels."""
        return 2 * (1 - 1 / self.levels) * ndtr(-self.spacing / (2 * jnp.asarray(self.sigma)))

    def confusion(self) -> jax.Array:
        """Return the probabilities ``[levels written, levels decided]``; rows sum to 1.

        Each difference uses the Gaussian tail that is small, so that rare errors keep their digits.
        """
        place = np.arange(self.levels)
        edges = (np.arange(self.levels + 1) - 0.5 - place[:, None]) * self.spacing
        edges[:, 0], edges[:, -1] = -_FAR, _FAR
        low, high = jnp.asarray(edges[:, :-1]) / self.sigma, jnp.asarray(edges[:, 1:]) / self.sigma
        above = np.arange(self.levels) > place[:, None]
        return jnp.where(above, ndtr(-low) - ndtr(-high), ndtr(high) - ndtr(low))

    def decide(self, values: jax.Array) -> jax.Array:
        """Return the nearest level, integers from 0, of read values (any shape, in units of full scale)."""
        return jnp.clip(jnp.round(values * (self.levels - 1)), 0, self.levels - 1).astype(jnp.int32)

    def bits(self) -> jax.Array:
        """Return the mutual information (bits) of written and decided level, for equally frequent levels."""
        return mutual_information_bits(self.confusion())


class FockQudit(Description):
    """A qudit whose levels are photon numbers of a leaking mode; see the module for the equations.

    Example:
      >>> qudit = FockQudit(levels=4, lifetime_s="1 ms")
      >>> round(float(qudit.survival(0.1e-3)), 4), round(float(qudit.bits(0.1e-3)), 3)
      (0.8661, 1.448)
    """

    levels: int = static(default=8, ge=2, le=128, integer=True, doc="d, photon numbers 0 .. d-1", source=_ASSUMED)
    lifetime_s: Any = field(
        default=1e-3, unit="s", gt=0, le=1e6, doc="1/kappa of the mode",
        source=Source(note="order of magnitude of a superconducting cavity", recalled=True),
    )  # fmt: skip

    def model_sources(self) -> tuple[Source, ...]:
        return (cited("blahut1972", note="capacity"),)

    def photon_survival(self, time_s: Numeric) -> jax.Array:
        """Return eta, the probability that a photon is retained for ``time_s`` seconds."""
        check_time(time_s)
        return jnp.exp(-jnp.asarray(time_s) / self.lifetime_s)

    def confusion(self, time_s: Numeric) -> jax.Array:
        """Return P(n -> k) ``[levels written, levels read]`` after ``time_s`` seconds; rows sum to 1."""
        eta = self.photon_survival(time_s)
        n, k = np.arange(self.levels)[:, None], np.arange(self.levels)
        lost = np.maximum(n - k, 0)
        # Up to C(127, 63) = 1e37, which fits into float32; multiplied first, because 2^-127 alone underflows.
        ways = np.array([[math.comb(a, b) for b in k] for a in n[:, 0]], float)
        chance = jnp.asarray(ways, eta.dtype) * _powers(eta, np.broadcast_to(k, lost.shape)) * _powers(1 - eta, lost)
        return jnp.where(n >= k, chance, 0.0)

    def survival(self, time_s: Numeric) -> jax.Array:
        """Return the mean probability that the written photon number is read, for equally frequent numbers."""
        # Not in closed form, which is 0/0 at time zero.
        return jnp.mean(_powers(self.photon_survival(time_s), np.arange(self.levels)))

    def bits(self, time_s: Numeric) -> jax.Array:
        """Return the mutual information (bits) of written and read number, for equally frequent numbers."""
        return mutual_information_bits(self.confusion(time_s))

    def capacity(self, time_s: Numeric) -> jax.Array:
        """Return the capacity (bits) with optimal frequencies of the numbers; at most log2 d."""
        return capacity_bits(self.confusion(time_s))[0]


def _powers(base: jax.Array, exponents: np.ndarray) -> jax.Array:
    """Return integer powers of a number. Unlike with float exponents, 0^0 is 1 and its derivative is finite."""
    with jax.numpy_dtype_promotion("standard"):  # JAX 0.10's own rules for them mix dtypes
        return base**exponents
