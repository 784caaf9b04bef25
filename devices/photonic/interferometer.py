"""A Mach-Zehnder interferometer: two couplers, a phase between them and a phase before them.

    S(eta) = [[cos eta, i sin eta], [i sin eta, cos eta]]            ideal eta = pi/4
    T(theta, phi; a, b) = S(pi/4 + b) diag(e^(i theta), 1) S(pi/4 + a) diag(e^(i phi), 1)

Light meets phi first, then the first coupler (error a), theta on the upper arm, the second coupler (error b). Without
errors

    T = i e^(i theta/2) [[e^(i phi) sin(theta/2), cos(theta/2)], [e^(i phi) cos(theta/2), -sin(theta/2)]]

so that theta = 0 is the cross state and theta = pi the bar state. In the convention of Clements et al., Optica 3, 1460
(2016), doi 10.1364/OPTICA.3.001460, whose cell has cos t on its diagonal, t = pi/2 - theta/2. With coupler errors the
power in the bar port is

    |T11|^2 = (1 + sin 2a sin 2b - cos 2a cos 2b cos theta) / 2

between sin^2(a + b) and cos^2(a - b); values outside cannot be reached (S. Bandyopadhyay et al., Optica 8, 1247 (2021),
arXiv 2103.04993).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from analogsim.base.dtypes import promoted
from analogsim.base.types import Numeric


class TransferMatrix(NamedTuple):
    """The four entries of a 2 x 2 matrix, each an array over cells."""

    t11: jax.Array
    t12: jax.Array
    t21: jax.Array
    t22: jax.Array


def transfer(theta: Numeric, phi: Any, a: Numeric = 0.0, b: Numeric = 0.0) -> TransferMatrix:
    """Return the transfer matrix T of a cell, entry by entry; all arguments broadcast.

    Args:
      theta, phi: phases, radians.
      a, b: errors of the first and the second coupler, radians; zero splits evenly.

    Example:
      >>> import jax.numpy as jnp
      >>> straight = transfer(jnp.pi, 0.0)
      >>> round(float(abs(straight.t11)), 6), round(float(abs(straight.t12)), 6)
      (1.0, 0.0)
    """
    # Phases may be complex: loss of an arm and the mean over phase noise are imaginary parts (``mzi_mesh``).
    theta, phi, a, b = (jnp.asarray(v) for v in (theta, phi, a, b))
    # Products of the couplers: c = cos, s = sin of pi/4 + error; i sin on the off-diagonals.
    ca, sa, cb, sb = (f(jnp.pi / 4 + e) for e in (a, b) for f in (jnp.cos, jnp.sin))
    dtype = promoted(theta, phi, a, b, 1j)
    inner, outer = (jnp.exp(1j * phase.astype(dtype)) for phase in (theta, phi))
    cc, cs, sc, ss = (product.astype(dtype) for product in (cb * ca, cb * sa, sb * ca, sb * sa))
    return TransferMatrix(
        t11=(cc * inner - ss) * outer,
        t12=1j * (cs * inner + sc),
        t21=1j * (sc * inner + cs) * outer,
        t22=cc - ss * inner,
    )


def theta_for(straight: Any, a: Any = 0.0, b: Any = 0.0) -> jax.Array:
    """Return the phase theta in [0, pi] with bar-port power |T11|^2 = ``straight``, or the nearest reachable one.

    Args:
      straight: target power, any shape.
      a, b: coupler errors as in ``transfer``.
    """
    straight, a, b = (jnp.asarray(v) for v in (straight, a, b))
    cosine = (1 + jnp.sin(2 * a) * jnp.sin(2 * b) - 2 * straight) / (jnp.cos(2 * a) * jnp.cos(2 * b))
    # Near the ends arccos loses half of the digits; the half-angle formula with square roots does not.
    cosine = jnp.clip(cosine, -1.0, 1.0)
    return 2 * jnp.arctan2(_root(1 - cosine), _root(1 + cosine))


def _root(value: jax.Array) -> jax.Array:
    """Square root with the derivative 0 at 0 (instead of infinity)."""
    return jnp.where(value > 0, jnp.sqrt(jnp.where(value > 0, value, 1.0)), 0.0)
