"""Complex matrices and inputs on real tiles."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from analogsim import Hardware, InputError, digital, preset, program
from analogsim.devices import Crossbar, GenericCell, Offset
from analogsim.linen import AnalogConv, AnalogDense
from analogsim.nnx import AnalogLinear, on_chip

IDEAL = Hardware(store=Crossbar(cell=GenericCell()), rows=7, columns=5)


def complex_normal(key, shape):
    return jax.random.normal(key, shape, jnp.complex64)


def dense(hardware, dtype=jnp.complex64):
    return AnalogDense(6, hardware=hardware, param_dtype=dtype, dtype=dtype)


@pytest.fixture
def x(key):
    return complex_normal(key, (4, 10))


@pytest.mark.parametrize("hardware", [IDEAL, IDEAL.replace(**{"store.mapping": Offset()})])
def test_a_complex_product_is_exact_on_ideal_hardware(key, x, hardware):
    plain = nn.Dense(6, param_dtype=jnp.complex64, dtype=jnp.complex64)
    variables = plain.init(key, x)
    rngs = {"analog": key}
    expected = plain.apply(variables, x)
    assert expected.dtype == jnp.complex64
    np.testing.assert_allclose(dense(hardware).apply(variables, x, rngs=rngs), expected, atol=3e-5)
    chip = program(dense(hardware), variables, key, x)
    np.testing.assert_allclose(dense(hardware).apply(chip.variables, x, rngs=rngs), expected, atol=3e-5)
    with digital():
        np.testing.assert_array_equal(dense(hardware).apply(variables, x), expected)


def test_complex_inputs_of_a_real_matrix_are_two_vectors(key, x):
    kernel = jax.random.normal(key, (10, 6))
    model = AnalogDense(6, hardware=IDEAL, use_bias=False)
    y = model.apply({"params": {"kernel": kernel.astype(jnp.complex64)}}, x, rngs={"analog": key})
    np.testing.assert_allclose(y, x @ kernel, atol=3e-5)
    chip = program(AnalogDense(6, hardware=IDEAL, use_bias=False), {"params": {"kernel": kernel}}, key, x.real)
    assert chip.cells["analog"]["array"].n_in == 10  # a real matrix takes no more cells for it


def test_a_complex_matrix_takes_four_times_the_cells(key, x):
    variables = dense(IDEAL).init(key, x)
    array = program(dense(IDEAL), variables, key, x).cells["analog"]["array"]
    assert (array.n_in, array.n_out) == (20, 12)


def test_gradients_are_those_of_the_plain_layer(key, x):
    plain = nn.Dense(6, param_dtype=jnp.complex64, dtype=jnp.complex64)
    variables = plain.init(key, x)

    def loss(layer, **how):
        return lambda v, x: jnp.sum(jnp.abs(layer.apply(v, x, **how)) ** 2)

    ours = jax.grad(loss(dense(IDEAL), rngs={"analog": key}), (0, 1))(variables, x)
    theirs = jax.grad(loss(plain), (0, 1))(variables, x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3), ours, theirs)


def test_noise_reaches_both_parts(key, x):
    hardware = preset("pcm")
    variables = dense(hardware).init(key, x)
    chip = program(dense(hardware), variables, key, x).at("1 day")
    a, b = (dense(hardware).apply(chip.variables, x, rngs={"analog": jax.random.key(i)}) for i in range(2))
    assert float(jnp.mean(jnp.abs((a - b).real) > 0)) > 0.5  # a coarse ADC may give the same code
    assert float(jnp.mean(jnp.abs((a - b).imag) > 0)) > 0.5


def test_nnx_layers_take_complex_kernels_too(key, x):
    layer = AnalogLinear(
        10, 6, hardware=IDEAL, param_dtype=jnp.complex64, dtype=jnp.complex64, rngs=nnx.Rngs(params=0, analog=1)
    )
    expected = x @ layer.kernel[...] + layer.bias[...]
    np.testing.assert_allclose(layer(x), expected, atol=3e-5)
    np.testing.assert_allclose(on_chip(layer, program(layer, key=key))(x), expected, atol=3e-5)


def test_a_complex_convolution_is_refused(key):
    x = complex_normal(key, (1, 5, 5, 2))
    model = AnalogConv(3, (3, 3), hardware=IDEAL, param_dtype=jnp.complex64, dtype=jnp.complex64)
    with pytest.raises(InputError, match="dtype complex64: a Convolution must be real"):
        model.apply(model.init(key, x), x, rngs={"analog": key})
