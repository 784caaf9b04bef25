"""A matrix and its transpose on tiles: the exact product, a layer's converters and noise, and a memory on top."""

import functools

import jax
import numpy as np
import pytest

import analogsim
from analogsim import ADC, DAC, Hardware, InputError, calibrate, preset, program, program_matrix
from analogsim.devices import DenseAssociativeMemory
from analogsim.linen import AnalogDense

RNG = np.random.default_rng(0)
X = np.float32(RNG.normal(size=(40, 24)) / np.sqrt(24))
QUERIES = X + np.float32(0.03 * RNG.normal(size=X.shape))
KEY, NOISE = jax.random.key(2), jax.random.key(3)


#: Products with arrays, compiled once for all of a structure.
forward = jax.jit(lambda pair, x, key=None: pair.forward(x, key))
transposed = jax.jit(lambda pair, x, key=None: pair.transposed(x, key))


def held(hardware, **more):
    return program_matrix(X, hardware, key=KEY, inputs=QUERIES, **more)


def test_ideal_tiles_give_both_products_exactly_in_any_shape():
    pair = held(preset("ideal", rows=16, columns=16))
    batch = QUERIES.reshape(5, 8, 24)
    np.testing.assert_allclose(forward(pair, batch), batch @ X.T, atol=1e-5)
    np.testing.assert_allclose(forward(pair, QUERIES[0]), X @ QUERIES[0], atol=1e-5)
    weights = RNG.dirichlet(np.ones(40), 3).astype(np.float32)
    np.testing.assert_allclose(transposed(pair, weights), weights @ X, atol=1e-5)


def test_converters_are_those_of_a_calibrated_layer():
    hardware = Hardware(dac=DAC(bits=5), adc=ADC(bits=5), rows=16, columns=16)
    layer = AnalogDense(40, use_bias=False, hardware=hardware)
    variables = calibrate(layer, {"params": {"kernel": X.T}}, QUERIES)
    expected = jax.jit(layer.apply)(program(layer, variables, KEY).variables, QUERIES)
    found = np.asarray(forward(held(hardware), QUERIES))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - QUERIES @ X.T).max() > 1e-3  # five bits are seen


@functools.cache
def on_pcm():
    return held(preset("pcm"))


def test_ages_and_keys():
    pair = on_pcm()
    exact = QUERIES @ X.T
    errors = [np.std(np.asarray(forward(pair.at(time), QUERIES, NOISE)) - exact) for time in ("1 s", "1 year")]
    assert 0 < errors[0] < errors[1] < np.std(exact)
    first, again, other = (np.asarray(forward(pair, QUERIES, key)) for key in (NOISE, NOISE, jax.random.key(9)))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)
    eye = np.eye(40, dtype=np.float32)
    np.testing.assert_allclose(transposed(pair, eye, NOISE), pair.transposed(eye, NOISE), atol=1e-5)


def test_a_memory_on_tiles_recalls_and_every_product_has_noise_of_its_own():
    pair = on_pcm().at("1 day")
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
    assert np.min(memory.energy(QUERIES)) >= -1e-5  # exact products: no noise, no key


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: program_matrix(X[0], preset("pcm"), key=KEY, inputs=QUERIES), r"matrix of shape \(24,\)"),
        (
            lambda: program_matrix(X, preset("pcm"), key=KEY, inputs=X.T),
            r"inputs of shape \(24, 40\): must be \[n, 24",
        ),
        (lambda: held(preset("pcm"), weights=X), r"weights of shape \(40, 24\): must be \[n, 40\]"),
        (lambda: on_pcm().forward(QUERIES), "key = None: these arrays draw noise"),
        (lambda: held(preset("int8")).forward(X.T), r"x of shape \(24, 40\): must be \[..., 24\]"),
        (lambda: held(preset("reram")).at("1 year"), "data only"),
        (lambda: on_pcm().at("1 s", "columns"), "did you mean 'column'"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_it_is_listed():
    assert "program_matrix" in dir(analogsim)
