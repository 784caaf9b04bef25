"""A store of a test's own, and one product on the signal path."""

import jax
import jax.numpy as jnp
import numpy as np

from analogsim.base import normal
from analogsim.devices import (
    Action,
    Description,
    Moments,
    OneColumnPerOutput,
    field,
)
from analogsim.signal_path import Ranges, multiply, program
from analogsim.signal_path.operators import MatrixProduct


class Trembling(OneColumnPerOutput, Description):
    """The simplest store that is not ours: every weight trembles with one spread, detection adds one noise.

    Nothing is random when it is programmed, so the statistics of reading are known by hand.
    """

    tremble: float = field(default=0.0, ge=0, le=10, doc="standard deviation of a weight from read to read")
    hiss: float | None = field(
        default=None, ge=0, le=10, optional=True, doc="standard deviation of what detection adds"
    )

    draws_at_program = False

    @property
    def detects_noise(self):
        return self.hiss is not None

    def program(self, key, weights):
        return weights

    def read(self, state, time_s, key=None):
        if key is None:
            return Moments(state, jnp.full_like(state, self.tremble**2))
        return Moments(state + self.tremble * normal(key, state.shape))

    def noise(self, x, y, state):
        return None if self.hiss is None else jnp.full_like(y, self.hiss)

    def cost(self, weights, read_fraction):
        return (Action("cell read", weights.size, "S"),)

    def n_cells(self, n_in, n_out):
        return n_in * n_out


@jax.jit
def run(hardware, weights, x, key=None, time_s=0.0, ranges=Ranges()):  # noqa: B008
    """One product on freshly programmed tiles."""
    operator = MatrixProduct((x.ndim - 1,), (0,), x.ndim, weights.shape)
    reading = program(hardware, weights, key).read(time_s)
    return multiply(hardware, reading.trained_by(weights, hardware.store), x, operator, key=key, ranges=ranges)


def draw(*shape, seed=20):
    """Normal numbers from NumPy, which compiles nothing."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def ones(*shape):
    return np.ones(shape, np.float32)
