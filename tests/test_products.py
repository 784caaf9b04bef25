"""A matrix and its transpose on tiles: the exact product, a layer's converters and noise, and a memory on top."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import analogsim
from analogsim import ADC, DAC, Hardware, InputError, calibrate, preset, products_on_tiles, program
from analogsim.devices import DenseAssociativeMemory
from analogsim.linen import AnalogDense

X = jax.random.normal(jax.random.key(0), (40, 24)) / np.sqrt(24)
QUERIES = X + 0.03 * jax.random.normal(jax.random.key(1), X.shape)
KEY, NOISE = jax.random.key(2), jax.random.key(3)


def held(hardware, **more):
    return products_on_tiles(X, hardware, key=KEY, inputs=QUERIES, **more)


def test_ideal_tiles_give_both_products_exactly_in_any_shape():
    pair = held(preset("ideal", rows=16, columns=16))
    batch = QUERIES.reshape(5, 8, 24)
    np.testing.assert_allclose(pair.forward(batch), batch @ X.T, atol=1e-5)
    np.testing.assert_allclose(pair.forward(QUERIES[0]), X @ QUERIES[0], atol=1e-5)
    weights = jax.nn.softmax(jax.random.normal(jax.random.key(4), (3, 40)))
    np.testing.assert_allclose(pair.transposed(weights), weights @ X, atol=1e-5)


def test_converters_are_those_of_a_calibrated_layer():
    hardware = Hardware(dac=DAC(bits=5), adc=ADC(bits=5), rows=16, columns=16)
    layer = AnalogDense(40, use_bias=False, hardware=hardware)
    variables = calibrate(layer, {"params": {"kernel": X.T}}, QUERIES)
    expected = layer.apply(program(layer, variables, KEY).variables, QUERIES)
    found = held(hardware).forward(QUERIES)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert float(jnp.abs(found - QUERIES @ X.T).max()) > 1e-3  # five bits are seen


def test_ages_and_keys():
    pair = held(preset("pcm"))
    exact = QUERIES @ X.T
    errors = [float(jnp.std(pair.at(time).forward(QUERIES, NOISE) - exact)) for time in ("1 s", "1 year")]
    assert 0 < errors[0] < errors[1] < float(jnp.std(exact))
    first, again = (pair.forward(QUERIES, NOISE) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != pair.forward(QUERIES, jax.random.key(9)))
    jitted = jax.jit(lambda pair, key: pair.transposed(jnp.eye(40), key))(pair, NOISE)
    np.testing.assert_allclose(jitted, pair.transposed(jnp.eye(40), NOISE), atol=1e-5)


def test_a_memory_on_tiles_recalls_and_every_product_has_noise_of_its_own():
    pair = held(preset("pcm")).at("1 day")
    memory = DenseAssociativeMemory(X, products=pair)
    np.testing.assert_array_equal(memory.nearest(QUERIES, key=NOISE), np.arange(40))
    keys = []

    def noted(product):
        def call(x, key):
            keys.append(np.asarray(jax.random.key_data(key)).tobytes())
            return product(x, key)

        return call

    DenseAssociativeMemory(X, products=(noted(pair.forward), noted(pair.transposed))).retrieve(QUERIES, 2, NOISE)
    assert len(set(keys)) == 4
    assert float(jnp.min(memory.energy(QUERIES))) >= -1e-5  # exact products: no noise, no key


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: products_on_tiles(X[0], preset("pcm"), key=KEY, inputs=QUERIES), r"matrix of shape \(24,\)"),
        (
            lambda: products_on_tiles(X, preset("pcm"), key=KEY, inputs=X.T),
            r"inputs of shape \(24, 40\): must be \[n, 24",
        ),
        (lambda: held(preset("pcm"), weights=X), r"weights of shape \(40, 24\): must be \[n, 40\]"),
        (lambda: held(preset("pcm")).forward(QUERIES), "key = None: these arrays draw noise"),
        (lambda: held(preset("int8")).forward(X.T), r"x of shape \(24, 40\): must be \[..., 24\]"),
        (lambda: held(preset("reram")).at("1 year"), "data only"),
        (lambda: held(preset("pcm")).at("1 s", "columns"), "did you mean 'column'"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_it_is_listed():
    assert "products_on_tiles" in dir(analogsim)
