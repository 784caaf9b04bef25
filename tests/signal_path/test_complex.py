"""Complex matrices and inputs on real tiles."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from analogsim import Hardware, convert, digital, observe, preset, program
from analogsim.devices import Crossbar, GenericCell, Offset
from analogsim.linen import AnalogConvGeneralDilated, AnalogDense
from analogsim.nnx import AnalogConv as AnalogConvNnx
from analogsim.nnx import AnalogLinear, on_chip

IDEAL = Hardware(store=Crossbar(cell=GenericCell()), rows=7, columns=5)


RNG = np.random.default_rng(20)


def complex_normal(*shape):
    return RNG.normal(size=(*shape, 2)).astype(np.float32).view(np.complex64)[..., 0]


X = complex_normal(4, 10)
VARIABLES = {"params": {"kernel": complex_normal(10, 6), "bias": complex_normal(6)}}


def dense(hardware, dtype=jnp.complex64):
    return AnalogDense(6, hardware=hardware, param_dtype=dtype, dtype=dtype)


PLAIN = nn.Dense(6, param_dtype=jnp.complex64, dtype=jnp.complex64)


@pytest.mark.parametrize("hardware", [IDEAL, IDEAL.replace(**{"store.mapping": Offset()})])
def test_a_complex_product_is_exact_on_ideal_hardware(key, hardware):
    model = dense(hardware)
    run, plain = jax.jit(lambda v: model.apply(v, X, rngs={"analog": key})), jax.jit(lambda v: PLAIN.apply(v, X))
    expected = plain(VARIABLES)
    assert expected.dtype == jnp.complex64
    np.testing.assert_allclose(expected, X @ VARIABLES["params"]["kernel"] + VARIABLES["params"]["bias"], atol=3e-5)
    np.testing.assert_allclose(run(VARIABLES), expected, atol=3e-5)
    np.testing.assert_allclose(run(program(model, VARIABLES, key, X).variables), expected, atol=3e-5)
    with digital():
        np.testing.assert_array_equal(run(VARIABLES), expected)


def test_complex_inputs_of_a_real_matrix_are_two_vectors(key):
    kernel = RNG.normal(size=(10, 6)).astype(np.float32)
    model = AnalogDense(6, hardware=IDEAL, use_bias=False)
    run = jax.jit(lambda v: model.apply(v, X, rngs={"analog": key}))
    y = run({"params": {"kernel": kernel.astype(np.complex64)}})
    np.testing.assert_allclose(y, X @ kernel, atol=3e-5)
    chip = program(model, {"params": {"kernel": kernel}}, key, X.real)
    assert chip.cells["analog"]["array"].n_in == 10  # a real matrix takes no more cells for it


def test_a_complex_matrix_takes_four_times_the_cells(key):
    array = program(dense(IDEAL), VARIABLES, key, X).cells["analog"]["array"]
    assert (array.n_in, array.n_out) == (20, 12)


def test_gradients_are_those_of_the_plain_layer(key):
    def gradients(layer, **how):
        return jax.grad(lambda v, x: jnp.sum(jnp.abs(layer.apply(v, x, **how)) ** 2), (0, 1))

    both = jax.jit(lambda *args: (gradients(dense(IDEAL), rngs={"analog": key})(*args), gradients(PLAIN)(*args)))
    ours, theirs = both(VARIABLES, X)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3), ours, theirs)


def test_noise_reaches_both_parts(key):
    model = dense(preset("pcm"))
    chip = program(model, VARIABLES, key, X).at("1 day")
    run = jax.jit(lambda key: model.apply(chip.variables, X, rngs={"analog": key}))
    difference = np.asarray(run(jax.random.key(0))) - np.asarray(run(jax.random.key(1)))
    assert np.mean(difference.real != 0) > 0.5  # a coarse ADC may give the same code
    assert np.mean(difference.imag != 0) > 0.5


def test_nnx_layers_take_complex_kernels_too(key):
    layer = AnalogLinear(
        10, 6, hardware=IDEAL, param_dtype=jnp.complex64, dtype=jnp.complex64, rngs=nnx.Rngs(params=0, analog=1)
    )
    expected = X @ np.asarray(layer.kernel[...]) + np.asarray(layer.bias[...])
    run = nnx.jit(lambda layer: layer(X))
    np.testing.assert_allclose(run(layer), expected, atol=3e-5)
    np.testing.assert_allclose(run(on_chip(layer, program(layer, key=key))), expected, atol=3e-5)


CONVOLUTIONS = {
    "two tiles of channels": (nn.Conv, dict(kernel_size=(2, 3), strides=(2, 1), padding="SAME"), 30),
    "a window beyond a tile": (nn.Conv, dict(kernel_size=(3, 3), kernel_dilation=2, padding="CIRCULAR"), 7),
    "groups": (nn.Conv, dict(kernel_size=(3,), feature_group_count=3), 50),
    "transposed": (nn.ConvTranspose, dict(kernel_size=(3,), strides=(2,)), 30),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_complex_convolution_is_exact_on_ideal_hardware(key, name):
    kind, how, rows = CONVOLUTIONS[name]
    x = complex_normal(2, *(7, 6)[: len(how["kernel_size"])], 6)
    hardware = IDEAL.replace(rows=rows)
    how = how | dict(features=3, param_dtype=jnp.complex64, dtype=jnp.complex64)
    plain = kind(**how)
    shapes = jax.eval_shape(plain.init, key, x)["params"]
    variables = {"params": {name: complex_normal(*leaf.shape) for name, leaf in shapes.items()}}
    model = convert(plain, hardware)

    @jax.jit
    def outputs(variables):
        chip = program(model, variables, key, x)
        fresh = model.apply(variables, x, rngs={"analog": key})
        return plain.apply(variables, x), fresh, model.apply(chip.variables, x, rngs={"analog": key})

    expected, *found = outputs(variables)
    assert expected.dtype == jnp.complex64
    for y in found:  # sums of 36 products of numbers below 4, twice, in float32
        np.testing.assert_allclose(y, expected, atol=72 * 4 * 2**-20)


def test_a_complex_convolution_of_nnx_is_on_a_chip(key):
    x = complex_normal(1, 6, 2)
    layer = AnalogConvNnx(
        2, 3, (3,), hardware=IDEAL, param_dtype=jnp.complex64, dtype=jnp.complex64, rngs=nnx.Rngs(params=0, analog=1)
    )
    with digital():
        expected = layer(x)
    np.testing.assert_allclose(on_chip(layer, program(layer, key=key))(x), expected, atol=3e-5)


def test_complex_images_of_a_real_kernel_are_two_images(key):
    x, kernel = complex_normal(2, 6, 4), complex_normal(3, 4, 5).real

    class Filter(nn.Module):
        @nn.compact
        def __call__(self, x):
            convolve = AnalogConvGeneralDilated(IDEAL)
            return convolve(x, kernel, (1,), "VALID", dimension_numbers=("NWC", "WIO", "NWC"))

    def convolved(part):
        return np.stack([sum(part[:, i + t] @ kernel[t] for t in range(3)) for i in range(4)], axis=1)

    found = Filter().apply({}, x, rngs={"analog": key})
    np.testing.assert_allclose(found, convolved(x.real) + 1j * convolved(x.imag), atol=3e-5)


def test_a_complex_kernel_takes_four_times_the_weights_of_a_real_one(key):
    def weights(dtype):
        model = convert(nn.Conv(6, (3,), feature_group_count=2, param_dtype=dtype, dtype=dtype), IDEAL)
        x = complex_normal(1, 6, 4).real.astype(dtype)
        return sum(use.n_weights for use in observe(model, model.init(key, x), x))

    assert weights(jnp.float32) == 3 * 2 * 6
    assert weights(jnp.complex64) == 4 * 3 * 2 * 6
