"""What holds nothing, a column or an example of zeros, is not heard, and learns like anything else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import ADC, DAC, Hardware
from analogsim.base.straight_through import scale_of
from analogsim.devices import PCM, Crossbar, MZIMesh, Offset
from analogsim.layers import mesh_layer
from analogsim.signal_path import Ranges, multiply, program
from analogsim.signal_path.lookup import lookup
from analogsim.signal_path.operators import Lookup, MatrixProduct
from analogsim.training import AdditiveNoise, modified_weights

KEY = jax.random.key(3)
RNG = np.random.default_rng(7)
#: Kernel and inputs of a layer one of whose outputs is pruned.
KERNEL = RNG.normal(scale=0.01, size=(16, 4)).astype(np.float32) * np.float32([1, 1, 0, 1])
X = RNG.normal(size=(400, 16)).astype(np.float32)
NOISY = Hardware(rows=8, dac=DAC(bits=8), adc=ADC(bits=8, range=10.0, noise=0.04))
#: More than converters, cells and an input of a few units can add to a scale of 2^-40.
UNHEARD = 200 * 2.0**-40


@jax.jit
def run(hardware, kernel, x, key, ranges=Ranges()):  # noqa: B008
    operator = MatrixProduct((1,), (0,), 2, kernel.shape)
    reading = program(hardware, kernel, key).read(0.0)
    return multiply(hardware, reading.trained_by(kernel, hardware.store), x, operator, key=key, ranges=ranges)


@jax.jit
def gradients(hardware, written, kernel, x, cotangent, key):
    """Gradients of sum(cotangent y) by the kernel and the inputs, on tiles that hold ``written``."""

    def loss(kernel, x):
        operator = MatrixProduct((1,), (0,), 2, kernel.shape)
        reading = program(hardware, written, key).read(0.0)
        return jnp.sum(cotangent * multiply(hardware, reading.trained_by(kernel, hardware.store), x, operator, key=key))

    return jax.grad(loss, argnums=(0, 1))(kernel, x)


def test_a_scale_is_the_largest_value_or_next_to_nothing():
    found = np.asarray(scale_of(np.float32([0.0, 1e-42, 1e-30, 0.5, np.nan, np.inf])))
    np.testing.assert_array_equal(found[:4], np.float32([2.0**-40, 2.0**-40, 1e-30, 0.5]))
    assert np.isnan(found[4])
    assert np.isinf(found[5])


def test_an_empty_column_is_the_quietest():
    y = np.asarray(run(NOISY, KERNEL, X, KEY))
    rms = np.sqrt(np.mean((y - X @ KERNEL) ** 2, axis=0))
    # Noise 0.04 and rounding 10/127/sqrt(12) on each of two tiles, times the input's and the tile's own largest value.
    scale = np.sqrt(np.sum(np.abs(KERNEL).reshape(2, 8, 4).max(1) ** 2, axis=0))
    per_conversion = np.hypot(0.04, 10 / 127 / np.sqrt(12))
    expected = per_conversion * scale * np.sqrt(np.mean(np.abs(X).max(1) ** 2))
    # Input rounding adds a little; 400 values tell a spread to 3.5 %.
    np.testing.assert_allclose(rms[[0, 1, 3]], expected[[0, 1, 3]], rtol=0.15)
    assert rms[2] < UNHEARD


def test_more_bits_are_never_worse_where_a_column_is_empty():
    errors = [np.abs(np.asarray(run(NOISY.replace(**{"adc.bits": b}), KERNEL, X, KEY)) - X @ KERNEL).mean()
              for b in (5, 6, 7, 8)]  # fmt: skip
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("mapping", [None, Offset()], ids=["differential", "offset"])
def test_an_empty_tile_of_cells_is_not_heard(mapping):
    store = Crossbar(cell=PCM()) if mapping is None else Crossbar(cell=PCM(), mapping=mapping)
    y = run(NOISY.replace(store=store), 0 * KERNEL, X[:8], KEY)
    assert np.abs(np.asarray(y)).max() < UNHEARD


def test_an_empty_column_of_a_tile_with_one_scale_has_the_tiles_noise():
    # A scale for the whole tile is no scale of the column: its noise is its neighbours'.
    y = np.asarray(run(NOISY.replace(scaling="tile"), KERNEL, X, KEY))
    assert np.sqrt(np.mean(y[:, 2] ** 2)) > 1e-3


def test_a_table_with_an_empty_column():
    hardware = Hardware(adc=ADC(bits=8, range=10.0, noise=0.04))
    numbers = np.arange(16)
    reading = jax.jit(program)(hardware, KERNEL, None).read(0.0)
    y = lookup(hardware, reading, numbers, Lookup(16), key=KEY, dtype=jnp.float32)
    assert np.abs(np.asarray(y)[:, 2]).max() < UNHEARD


@pytest.mark.parametrize("written", ["zeros", "others"])
def test_a_kernel_of_zeros_learns_as_the_exact_layer_does(written):
    # dL/dW = (inputs as driven)^T cotangent, whatever noise the outputs have; the same for zeros that were fine-tuned
    # since the tiles were written, and for tiles that hold other weights.
    held = 0 * KERNEL if written == "zeros" else KERNEL
    cotangent = RNG.normal(size=(400, 4)).astype(np.float32)
    largest = np.abs(X).max(1, keepdims=True)
    driven = np.round(X / largest * 127) / 127 * largest
    found, _ = gradients(NOISY, held, 0 * KERNEL, X, cotangent, KEY)
    np.testing.assert_allclose(found, driven.T @ cotangent, rtol=1e-4, atol=1e-3)
    exact, _ = gradients(Hardware(), held, 0 * KERNEL, X, cotangent, KEY)
    np.testing.assert_allclose(exact, X.T @ cotangent, rtol=1e-4, atol=1e-3)


def test_tiny_gradients_reach_an_empty_column():
    # Down to 1e-23, far below what any optimiser acts on.
    found, _ = gradients(Hardware(), 0 * KERNEL, 0 * KERNEL, X, np.full((400, 4), 1e-23, np.float32), KEY)
    np.testing.assert_allclose(found, np.repeat(1e-23 * X.sum(0)[:, None], 4, 1), rtol=1e-3, atol=1e-25)


def test_a_silent_example_passes_gradients_to_what_made_it():
    # An input of zeros (behind a new head, a closed gate) has the gradient W like every other.
    x = X * np.float32(np.arange(400) > 0)[:, None]
    cotangent = np.ones((400, 4), np.float32)
    _, found = gradients(NOISY, KERNEL, KERNEL, x, cotangent, KEY)
    np.testing.assert_allclose(found, np.broadcast_to(KERNEL.sum(1), x.shape), rtol=1e-4, atol=1e-6)


def test_an_input_range_of_zero_is_no_division_by_zero():
    y = np.asarray(run(NOISY, KERNEL, X[:8], KEY, Ranges(0.0)))
    assert np.abs(y).max() < UNHEARD


def test_noise_relative_to_a_column_leaves_an_empty_one_alone():
    params = {"kernel": KERNEL}
    own = np.asarray(modified_weights(KEY, params, AdditiveNoise(std=0.1))["kernel"])
    assert np.abs(own[:, 2]).max() < UNHEARD
    # Relative to the layer it is as large in an empty column as in any: std of 16 values, known to 18 %.
    layer = np.asarray(modified_weights(KEY, params, AdditiveNoise(std=0.1, relative_to="layer"))["kernel"])
    assert np.std(layer[:, 2]) == pytest.approx(0.1 * np.abs(KERNEL).max(), rel=0.6)


def test_dark_waveguides_are_dark():
    @jax.jit
    def seen(mesh):
        fabric, (phases, gain) = mesh.fabricate(KEY, 2, 2), mesh.random_phases(KEY, 2, 2)
        trained = mesh_layer.MeshParameters(phases, gain)
        return mesh_layer.forward(mesh, fabric, trained, jnp.zeros((3, 2)), 2, detection="coherent", key=KEY)

    assert np.abs(np.asarray(seen(MZIMesh()))).max() < UNHEARD
