"""Slow and fast read noise on tiles: what all reads of one reading share, and what is drawn for every read.

Cells with sigma = r g sqrt(L), L = ln((t + 20 s + 250 ns)/500 ns), written exactly, so that all spread is of reading;
ln(0.4004795 (t + 20 s)/1 ms)/L of the variance is slow. Samples are held to four standard errors.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import Hardware
from analogsim.converters import BitSerialDAC, PulseWidthDAC
from analogsim.devices import Crossbar, GenericCell
from analogsim.signal_path import multiply, programmed
from analogsim.signal_path.line_noise import lasting_noise
from analogsim.signal_path.operators import MatrixProduct
from tests.support.sampling import assert_moments

ROWS, CHIPS, TIME_S = 16, 2000, 3600.0
W = np.linspace(0.1, 1.0, ROWS, dtype=np.float32)[:, None]
# Three bits and a sign; mostly several bits set, whose squares add to half the square of their sum.
X = (np.random.default_rng(0).choice([-7, -6, -3, 3, 6, 7], ROWS) / 7).astype(np.float32)[None]
X[0, 0] = 1.0  # the range of this example
OPERATOR = MatrixProduct((1,), (0,), 2, W.shape)
TOTAL = math.log((TIME_S + 20) / 500e-9)
SLOW = math.log(math.exp(1.5 - 0.5772156649) / (2 * math.pi) * (TIME_S + 20) / 1e-3) / TOTAL
NOISE = 0.02


def hardware(spectrum="1/f", **parts):
    return Hardware(store=Crossbar(cell=GenericCell(read_noise=NOISE, spectrum=spectrum)), **parts)


@jax.jit
def means(hardware, keys, times_s):
    """What chips hold, ``[chip, time, rows]``."""

    def chip(key):
        cells = programmed.program(hardware, W, key)
        return jax.vmap(lambda t: cells.read(t).mean[0, 0, :, 0])(times_s)

    return jax.vmap(chip)(keys)


@functools.partial(jax.jit, static_argnames="reads")
def outputs(hardware, keys, reads):
    """Products with one input, ``[chip, read]``."""

    def chip(key):
        reading = programmed.program(hardware, W, key).read(TIME_S)
        return jax.vmap(lambda k: multiply(hardware, reading, X, OPERATOR, key=k)[0, 0])(jax.random.split(key, reads))

    return jax.vmap(chip)(keys)


@functools.cache
def read_means():
    return np.asarray(means(hardware(), jax.random.split(jax.random.key(1), CHIPS), jnp.array([TIME_S, 60.0])))


def test_a_reading_holds_the_slow_part_and_leaves_the_rest():
    reading = programmed.program(hardware(), W, jax.random.key(0)).read(TIME_S)
    variance = (NOISE * W[:, 0]) ** 2 * TOTAL
    np.testing.assert_allclose(reading.variance[0, 0, :, 0], variance * (1 - SLOW), rtol=1e-4)
    for row in range(ROWS):
        assert_moments(read_means()[:, 0, row], W[row, 0], math.sqrt(variance[row] * SLOW))
    quiet = programmed.program(hardware(), W, jax.random.key(0)).read(TIME_S, None, False)
    np.testing.assert_allclose(quiet.mean[0, 0], W, rtol=1e-6)
    assert quiet.variance is None


def test_slow_parts_of_cells_chips_and_times_are_independent():
    z = (read_means() - W[:, 0]) / W[:, 0]
    of_rows = np.corrcoef(z.transpose(2, 1, 0).reshape(2 * ROWS, CHIPS))  # rows and times over chips
    assert np.abs(of_rows - np.eye(2 * ROWS)).max() < 4.5 / math.sqrt(CHIPS)
    neighbours = np.corrcoef(z[:-1, 0].ravel(), z[1:, 0].ravel())[0, 1]
    assert abs(neighbours) < 4 / math.sqrt(CHIPS * ROWS)


def test_a_reading_follows_from_the_chip_and_the_time_alone():
    keys = jax.random.split(jax.random.key(1), CHIPS)[:2]
    other = np.asarray(means(hardware(), keys, jnp.array([60.0, TIME_S])))
    np.testing.assert_array_equal(other[:, ::-1], read_means()[:2])
    cells = programmed.program(hardware(), W, keys[0])
    np.testing.assert_array_equal(cells.read(TIME_S).mean, cells.read(jnp.float32(TIME_S)).mean)
    np.testing.assert_array_equal(cells.read(0).mean, cells.read(-0.0).mean)
    again = programmed.program(hardware(), W, keys[1], cells)  # written again, they fluctuate anew
    assert np.all(np.asarray(again.fluctuation) != np.asarray(cells.fluctuation))


def test_a_single_read_has_the_published_standard_deviation_and_the_mean_of_many_the_slow_one():
    reads = 64
    y = np.asarray(outputs(hardware(), jax.random.split(jax.random.key(2), CHIPS), reads), np.float64)
    mean, variance = float(X[0] @ W[:, 0]), float(X[0] ** 2 @ W[:, 0] ** 2) * NOISE**2 * TOTAL
    assert_moments(y[:, 0], mean, math.sqrt(variance))
    assert_moments(y.mean(axis=1), mean, math.sqrt(variance * (SLOW + (1 - SLOW) / reads)))
    assert_moments(y - y.mean(axis=1, keepdims=True), 0.0, math.sqrt(variance * (1 - SLOW) * (1 - 1 / reads)))


def steps():
    """Factors of 3 bits, and the digits of the inputs."""
    counts = np.array([1, 2, 4]) / 7
    whole = np.abs(np.round(X[0] * 7)).astype(int)
    return counts, np.sign(X[0]) * np.stack([(whole >> s) & 1 for s in range(3)])


ANALOG = BitSerialDAC(bits=4, accumulation="analog")


@pytest.mark.parametrize(
    ("spectrum", "dac", "sampling"),
    [
        ("1/f", PulseWidthDAC(bits=4), "outputs"),
        ("1/f", BitSerialDAC(bits=4), "outputs"),
        ("1/f", BitSerialDAC(bits=4), "cells"),
        ("1/f", ANALOG, "outputs"),
        ("1/f", ANALOG, "cells"),
        ("white", BitSerialDAC(bits=4), "cells"),
        ("white", ANALOG, "outputs"),
        ("white", ANALOG, "cells"),
    ],
    ids=lambda value: getattr(value, "accumulation", None) or (value if isinstance(value, str) else "pulse width"),
)
def test_steps_add_as_amplitudes_where_cells_stay_and_as_squares_where_they_do_not(spectrum, dac, sampling):
    keys = jax.random.split(jax.random.key(3), CHIPS)
    y = np.asarray(outputs(hardware(spectrum, dac=dac, sampling=sampling), keys, 2), np.float64)
    weights = X[0] ** 2
    if spectrum == "white" and isinstance(dac, BitSerialDAC):
        counts, digits = steps()
        weights = counts**2 @ digits**2
    variance = float(weights @ W[:, 0] ** 2) * NOISE**2 * (TOTAL if spectrum == "1/f" else 1)
    slow = SLOW if spectrum == "1/f" else 0.0
    mean = float(X[0] @ W[:, 0])
    assert_moments(y[:, 0], mean, math.sqrt(variance))
    assert_moments(y.mean(axis=1), mean, math.sqrt(variance * (slow + (1 - slow) / 2)))


def test_noise_that_outlasts_steps_has_the_variance_of_each_step_and_of_their_sum():
    counts, digits = steps()
    squares = W[:, 0] ** 2

    @jax.jit
    def drawn(key):
        return lasting_noise(lambda s: s @ squares, jnp.asarray(digits), jnp.asarray(counts), jnp.asarray(X[0]), key)

    noise = np.asarray(jax.vmap(drawn)(jax.random.split(jax.random.key(4), 20_000)))
    for step in range(3):
        assert_moments(noise[:, step], 0.0, math.sqrt(digits[step] ** 2 @ squares))
    assert_moments(noise @ counts, 0.0, math.sqrt(X[0] ** 2 @ squares))


def test_without_noise_gradients_are_finite():
    def total(noise):
        cell = GenericCell(read_noise=noise, spectrum="1/f")
        return jnp.sum(programmed.program(Hardware(store=Crossbar(cell=cell)), W, jax.random.key(0)).read(TIME_S).mean)

    assert math.isfinite(float(jax.jit(jax.grad(total))(0.0)))


def test_the_strength_of_training_scales_sampled_cells_too():
    # Half the strength: a quarter of the variance.
    half = hardware(sampling="cells", training_noise_scale=0.5)
    weights = jnp.asarray(W)

    @jax.jit
    def product(key):
        reading = half.training.reading(half, weights, key, None, None)
        return multiply(half, reading, X, OPERATOR, key=key)[0, 0]

    y = np.asarray(jax.vmap(product)(jax.random.split(jax.random.key(5), CHIPS)), np.float64)
    total = math.log((1 + 20) / 500e-9)  # read after a second
    variance = float(X[0] ** 2 @ W[:, 0] ** 2) * NOISE**2 * total
    assert_moments(y, float(X[0] @ W[:, 0]), 0.5 * math.sqrt(variance))


@pytest.mark.parametrize("sampling", ["outputs", "cells"])
def test_gradients_are_those_of_the_mean_product(sampling):
    # y_j = sum_i x_i w_ij + noise of cells that are programmed already: dy_j/dx_i = w_ij and dy_j/dw_ij = x_i, however
    # the noise is drawn.
    sampled = Hardware(store=Crossbar(cell=GenericCell(read_noise=NOISE)), sampling=sampling)
    reading = programmed.program(sampled, W, jax.random.key(6)).read(TIME_S)

    def total(weights, x):
        trained = reading.trained_by(weights, sampled.store)
        return jnp.sum(multiply(sampled, trained, x, OPERATOR, key=jax.random.key(7)))

    by_weights, by_inputs = jax.jit(jax.grad(total, (0, 1)))(jnp.asarray(W), jnp.asarray(X))
    np.testing.assert_allclose(by_weights[:, 0], np.sum(X, axis=0), rtol=1e-5)
    np.testing.assert_allclose(by_inputs, np.broadcast_to(W[:, 0], X.shape), rtol=1e-5)
