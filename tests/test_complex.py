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
    def slopes(layer, **how):
        return jax.grad(lambda v, x: jnp.sum(jnp.abs(layer.apply(v, x, **how)) ** 2), (0, 1))

    both = jax.jit(lambda *args: (slopes(dense(IDEAL), rngs={"analog": key})(*args), slopes(PLAIN)(*args)))
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


def test_a_complex_convolution_is_refused(key):
    x = complex_normal(1, 5, 5, 2)
    model = AnalogConv(3, (3, 3), hardware=IDEAL, param_dtype=jnp.complex64, dtype=jnp.complex64)
    with pytest.raises(InputError, match="dtype complex64: a Convolution must be real"):
        jax.eval_shape(model.init_with_output, {"params": key, "analog": key}, x)
