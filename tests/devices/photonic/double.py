"""Double precision beside single precision in one process, with the layouts of meshes that both of them keep."""

import jax
import numpy as np


def in_double(function):
    """The function compiled in double precision; its results as NumPy arrays."""
    compiled = jax.jit(lambda *arguments: function(*arguments))

    def call(*arguments):
        with jax.enable_x64(True):
            return jax.tree.map(np.asarray, compiled(*arguments))

    return call
