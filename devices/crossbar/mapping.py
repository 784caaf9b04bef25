"""How a signed weight becomes conductances: the differential pair.

With w in [-1, 1] and the usable window R = g_max - g_min (siemens),

    one-sided    G+ = g_min + R max(w, 0)      G- = g_min + R max(-w, 0)      w = (G+ - G-)/R
    two-sided    G+ = g_min + R (1 + w)/2      G- = g_min + R (1 - w)/2       w = (G+ - G-)/R

One-sided keeps currents proportional to weights, which makes errors proportional too and is why it wins in accuracy
(T. P. Xiao et al., IEEE CAS Magazine 22, 26 (2022), arXiv 2109.01262). Both spend two cells a weight.
"""

import jax
import jax.numpy as jnp

from analogsim.devices.description import Description, static
from analogsim.devices.papers import cited
from analogsim.devices.protocol import Moments


class Differential(Description):
    """A pair of cells holds one weight as the difference of two conductances."""

    sides: int = static(
        default=1,
        choices=(1, 2),
        doc="1: the idle cell of a pair stays at g_min; 2: both move about the middle",
        source=cited("xiao2022accuracy"),
    )

    def conductances(self, weights: jax.Array, g_min, g_max) -> jax.Array:
        """Targets in siemens, shape ``[2, n_in, n_out]`` (plus, minus), for weights ``[n_in, n_out]`` in [-1, 1]."""
        pair = jnp.stack([weights, -weights])
        share = jnp.maximum(pair, 0.0) if self.sides == 1 else (1 + pair) / 2
        return g_min + (g_max - g_min) * share

    def weights(self, cells: Moments, g_min, g_max) -> Moments:
        """Weights from the pair's conductances ``[2, n_in, n_out]``; the two cells fluctuate independently."""
        window = g_max - g_min
        mean = (cells.mean[0] - cells.mean[1]) / window
        if cells.variance is None:
            return Moments(mean)
        # Divided twice: the square of a window of microsiemens is close to the smallest bfloat16 and float16 numbers.
        return Moments(mean, (cells.variance[0] + cells.variance[1]) / window / window)

    def cells(self, n_in: int, n_out: int) -> int:
        """Number of physical cells."""
        return 2 * n_in * n_out
