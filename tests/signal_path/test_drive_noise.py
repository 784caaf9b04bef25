"""Noise of what drives the rows: its covariance from the formula, and what digital logic knows of it."""

import functools

import flax.linen as nn
import jax
import numpy as np
import pytest

from analogsim import ADC, DAC, Hardware, convert
from analogsim.devices import Crossbar, Differential, GenericCell, Offset
from analogsim.linen import AnalogConv
from analogsim.signal_path import Ranges, multiply, program
from analogsim.signal_path.driving import drive_noise
from analogsim.signal_path.operators import MatrixProduct

SIGMA = 0.01
NOISY = DAC(bits=8, noise=SIGMA)
RNG = np.random.default_rng(11)
READS = 4000
#: Spread of an estimated spread, four times over.
FOUR = 4 / np.sqrt(2 * READS)


@jax.jit
def run(hardware, kernel, x, key):
    operator = MatrixProduct((1,), (0,), 2, kernel.shape)
    held = program(hardware, kernel, jax.random.key(0)).read(0.0)
    return multiply(hardware, held, x, operator, key=key, ranges=Ranges(1.0))


# --- what digital logic knows ----------------------------------------------------------------------------------------

QUIET = dict(programming_sigma=0.0, read_noise=0.0)
CELL = GenericCell(g_min="2 uS", g_max="22 uS", **QUIET)
FLOOR = 0.1  # g_min / (g_max - g_min)
W = RNG.uniform(-0.1, 0.1, (128, 2)).astype(np.float32)


@pytest.mark.parametrize(
    ("mapping", "seen"),
    [
        (Differential(), lambda w: w),
        (Differential(subtraction="digital"), lambda w: w),
        # 2 (floor + (1 + w)/2) x of a line, less the constant part times the sum of the codes, which has no noise.
        (Offset(), lambda w: 1 + w + 2 * FLOOR),
        # The unit column is a line like the others, with the same noise of the same rows.
        (Offset(subtraction="unit column"), lambda w: w),
    ],
    ids=["differential", "digital difference", "offset", "unit column"],
)
def test_the_correction_of_an_offset_knows_clean_codes(mapping, seen):
    hardware = Hardware(store=Crossbar(cell=CELL, mapping=mapping), dac=NOISY)
    x = np.tile(RNG.uniform(-1, 1, (1, 128)).astype(np.float32), (READS, 1))
    y = np.asarray(run(hardware, W, x, jax.random.key(1)), np.float64)
    codes = np.round(x[0] * 127) / 127
    scale = np.abs(W).max(0)
    expected = SIGMA * scale * np.linalg.norm(seen(W / scale), axis=0)
    np.testing.assert_allclose(y.std(0), expected, rtol=FOUR)
    np.testing.assert_allclose(y.mean(0), codes @ W, atol=4 * expected.max() / np.sqrt(READS) + 1e-5)


def test_the_offset_of_the_example_loses_what_it_should():
    # |w| <= 0.1 of the window: sigma |1 + w| = 0.01 sqrt(128) (1 + ...), not the sigma |w| = 0.0067 of a pair.
    kernel = RNG.uniform(-0.1, 0.1, (128, 1)).astype(np.float32)
    kernel[0] = 1.0  # takes the whole window
    hardware = Hardware(store=Crossbar(cell=GenericCell(g_min=0.0, **QUIET), mapping=Offset()), dac=NOISY)
    y = np.asarray(run(hardware, kernel, np.zeros((READS, 128), np.float32), jax.random.key(2)))
    assert y.std() == pytest.approx(SIGMA * np.linalg.norm(1 + kernel), rel=FOUR)
    assert y.std() == pytest.approx(0.114, rel=0.05)


def test_bound_management_tries_with_the_noise_that_it_will_read_with():
    # 4 inputs of a half: a sum of 2 within the range of 2.2, but for noise of 0.5 sqrt(4) = 1 on it.
    hardware = Hardware(dac=DAC(bits=8, noise=0.5), adc=ADC(bits=12, range=2.2), bound_management="iterative")
    x = np.full((READS, 4), 0.5, np.float32)
    kernel = np.ones((4, 1), np.float32)
    y = np.asarray(run(hardware, kernel, x, jax.random.key(3)))
    # Examples whose trial overflowed have twice the range, so that they are read with twice the noise: values beyond
    # the first range occur.
    assert np.mean(np.abs(y) > 2.21) > 0.1


# --- windows ---------------------------------------------------------------------------------------------------------


LAYERS = {
    "same": (nn.Conv(3, (3, 3), use_bias=False), (4, 4, 2)),
    "strided": (nn.Conv(3, (3, 3), strides=2, padding="VALID", use_bias=False), (5, 5, 2)),
    "one by one": (nn.Conv(3, (1, 1), strides=2, use_bias=False), (4, 4, 6)),
    "transposed": (nn.ConvTranspose(3, (3, 3), strides=(2, 2), use_bias=False), (2, 2, 2)),
    "groups": (nn.Conv(4, (3, 3), feature_group_count=2, use_bias=False), (3, 3, 4)),
    "tokens": (nn.Dense(3, use_bias=False), (5, 12)),
}


@functools.partial(jax.jit, static_argnums=(0, 4))
def outputs(name, dac, params, key, rows):
    layer, shape = LAYERS[name]
    hardware = Hardware(dac=dac, rows=rows, columns=2)
    variables = {"params": params, "ranges": {"analog": {"input": np.float32(1.0)}}}
    x = np.zeros((READS, *shape), np.float32)
    return convert(layer, hardware).apply(variables, x, rngs={"analog": key})


@pytest.mark.parametrize(("name", "rows"), [("same", 512), *((name, 9) for name in LAYERS)])
def test_every_window_is_a_read_of_its_own(name, rows):
    layer, shape = LAYERS[name]
    params = jax.eval_shape(layer.init, jax.random.key(0), np.zeros((1, *shape), np.float32))["params"]
    kernel = RNG.normal(size=params["kernel"].shape).astype(np.float32)
    y = np.asarray(outputs(name, NOISY, {"kernel": kernel}, jax.random.key(4), rows), np.float64)
    y = y.reshape(READS, -1, y.shape[-1])  # [read, window, column]
    w = kernel.reshape(-1, kernel.shape[-1])
    gram = w.T @ w
    if name == "groups":  # two groups of two columns see different channels
        gram = gram * np.kron(np.eye(2), np.ones((2, 2)))
    found = np.einsum("rpi,rqj->piqj", y, y) / READS / SIGMA**2
    windows = np.arange(y.shape[1])
    size = np.sqrt(np.outer(np.diag(gram), np.diag(gram)))
    # An estimated covariance of READS draws is spread by at most sqrt(2) sigma_i sigma_j / sqrt(READS); 5 of it for
    # the several thousand entries here.
    tolerance = 5 * np.sqrt(2 / READS) * size.max()
    np.testing.assert_allclose(found[windows, :, windows], np.broadcast_to(gram, (len(windows), *gram.shape)),
                               atol=tolerance)  # fmt: skip
    found[windows, :, windows] = 0  # different windows, though they share pixels: none
    np.testing.assert_allclose(found, 0, atol=tolerance)


def test_rows_without_weights_are_not_driven():
    # 5 inputs on tiles of 3 rows: the sixth row holds nothing, and cells of an offset conduct at zero, too.
    operator = MatrixProduct((1,), (0,), 2, (5, 1))
    noise = np.asarray(drive_noise(NOISY, operator, 5, np.zeros((2, 7, 3), np.float32), jax.random.key(0)))
    assert (noise[1, :, 2] == 0).all()
    assert (np.delete(noise.reshape(2, 7, 3).transpose(1, 0, 2).reshape(7, 6), 5, axis=1) != 0).all()


def test_without_noise_no_window_is_cut_out():
    # The image stays one: a convolution in, a convolution out.
    layer = AnalogConv(3, (3, 3), hardware=Hardware(dac=DAC(bits=8)), use_bias=False)
    x = np.zeros((2, 8, 8, 2), np.float32)
    params = jax.eval_shape(nn.Conv(3, (3, 3), use_bias=False).init, jax.random.key(0), x)
    text = jax.jit(layer.apply).lower(params, x).as_text()
    assert text.count("stablehlo.convolution") == 1
