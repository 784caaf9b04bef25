"""Memory cells and crossbars of them, each step compiled once a kind of cell: numbers are arguments, sizes alike."""

import jax
import numpy as np

#: Cells of a sample. One size, so that every function is compiled once a kind of cell.
N = 100_000


@jax.jit
def program(cell, key, target):
    """The state of cells that were written to ``target`` (S)."""
    return cell.program(key, target)


@jax.jit
def read(cell, state, time_s):
    """Mean and variance of their conductances over reads."""
    return cell.read(state, time_s)


@jax.jit
def read_sampled(cell, state, time_s, key):
    """Their conductances in one read."""
    return cell.read(state, time_s, key)


@jax.jit
def stored(store, key, weights, time_s):
    """The lines of an array that was written, read later."""
    return store.read(store.program(key, weights), time_s)


def equal(target_us: float) -> np.ndarray:
    """``N`` targets of so many uS."""
    return np.full(N, target_us * 1e-6, np.float32)


def over(low_us: float, high_us: float) -> np.ndarray:
    """``N`` targets that span a window."""
    return np.linspace(low_us * 1e-6, high_us * 1e-6, N, dtype=np.float32)


#: Weights from -1 to 1 of a small array.
WEIGHTS = np.linspace(-1, 1, 32, dtype=np.float32).reshape(8, 4)
