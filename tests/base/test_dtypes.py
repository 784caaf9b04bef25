"""Integers, truth values and halves go in; what comes out is no integer, and right."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import calibrate, convert, evaluate, preset, program, program_matrix
from analogsim.base.dtypes import promoted, to_complex, to_rank, wide
from analogsim.devices import (
    AmplitudeStore,
    Crossbar,
    DenseAssociativeMemory,
    DigitalMemory,
    FadingLight,
    GenericCell,
    MZIMesh,
    PhotonicTensorCore,
    RingBank,
)
from analogsim.devices.photonic.detection import standard_quantum_limit
from analogsim.linen import MeshDense

RNG = np.random.default_rng(0)
INPUTS, WEIGHTS = RNG.integers(-9, 10, (10, 8)), RNG.integers(-9, 10, (8, 10))
KEY = jax.random.key(0)
IDEAL = preset("ideal")
DTYPES = ("int32", "uint8", "bool", "float16", "bfloat16", "float64")

#: Of a dtype, what Flax's layers promote it to with float32's lattice, and the unit roundoff of the result.
RESULTS = {"float16": ("float16", 2**-11), "bfloat16": ("bfloat16", 2**-8)}


def of_dtype(dtype):
    """Inputs, weights, their exact product, and the largest error: a few roundings of the largest sum of magnitudes."""
    x, w = ((np.abs(a) if dtype == "uint8" else a).astype(jnp.dtype(dtype)) for a in (INPUTS, WEIGHTS))
    a, b = np.asarray(x, np.float64), np.asarray(w, np.float64)
    name, roundoff = RESULTS.get(dtype, ("float32", 2**-24))
    return x, w, a @ b, name, 16 * roundoff * (np.abs(a) @ np.abs(b)).max()


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_on_tiles_of_every_type_are_those_of_numpy(dtype):
    x, w, expected, name, error = of_dtype(dtype)
    held = program_matrix(w.T, IDEAL, key=KEY, inputs=x)
    y = held.forward(x)
    assert str(y.dtype) == name
    np.testing.assert_allclose(np.asarray(y, np.float64), expected, rtol=0, atol=error)
    back = held.transposed(x.T[:1])  # [1, P = 10] inputs for X^T, X = w.T
    a, b = (np.asarray(v, np.float64) for v in (x.T[:1], w.T))
    np.testing.assert_allclose(np.asarray(back, np.float64), a @ b, rtol=0, atol=error)


@pytest.mark.parametrize("dtype", DTYPES)
def test_layers_of_every_type_give_what_flax_gives(dtype):
    x, w, expected, name, error = of_dtype(dtype)
    plain = nn.Dense(10, use_bias=False)
    model, variables = convert(plain, IDEAL), {"params": {"kernel": w}}
    calibrated = calibrate(model, variables, x)
    chip = program(model, calibrated, KEY)
    for held, rngs in ((chip.variables, {}), (variables, {"analog": KEY})):
        y = model.apply(held, x, rngs=rngs)
        assert str(y.dtype) == name == str(plain.apply(variables, x).dtype)
        np.testing.assert_allclose(np.asarray(y, np.float64), expected, rtol=0, atol=error)


def test_chips_are_scored_on_inputs_of_every_type():
    for dtype in ("int8", "bool", "bfloat16"):
        x, w, expected, _, error = of_dtype(dtype)
        found = evaluate(
            convert(nn.Dense(10, use_bias=False), IDEAL), {"params": {"kernel": w}}, x, expected, key=KEY, chips=1,
            times=(0.0,), metric=lambda o, t: jnp.max(jnp.abs(o.astype(jnp.float32) - t)),
        )  # fmt: skip
        assert max(float(found.score.max()), float(found.digital)) <= error


STORES = [
    DigitalMemory(), Crossbar(cell=GenericCell()), MZIMesh(), RingBank(), PhotonicTensorCore(), FadingLight(),
    AmplitudeStore(),
]  # fmt: skip


@pytest.mark.parametrize("store", STORES, ids=lambda store: type(store).__name__)
def test_what_stores_hold_of_integers_is_real(store):
    like = lambda dtype: jax.ShapeDtypeStruct((4, 3), dtype)  # noqa: E731
    wanted = jax.eval_shape(store.program, KEY, like("float32"))
    held = jax.eval_shape(lambda w: store.read(store.program(KEY, w), 1.0).mean, like("int8"))
    assert held.dtype == jnp.float32
    for dtype in ("int32", "int8", "bool", "float16", "bfloat16"):
        assert jax.eval_shape(store.program, KEY, like(dtype)) == wanted


@pytest.mark.parametrize("store", [RingBank(), AmplitudeStore(), DigitalMemory()], ids=lambda s: type(s).__name__)
def test_whole_weights_are_held_as_the_same_real_ones(store):
    whole = np.array([[1, 0], [-1, 1], [0, -1]], np.int8)
    read = jax.jit(lambda w: store.read(store.program(KEY, w), 0.0).mean)
    np.testing.assert_array_equal(read(whole), read(whole.astype(np.float32)))


def test_light_and_memories_of_integers():
    x, w, expected, _, error = of_dtype("int8")
    product = standard_quantum_limit(KEY, w, x, 1e30)  # no noise to speak of
    np.testing.assert_allclose(product, expected, atol=error)
    layer = MeshDense(3, mesh=MZIMesh())
    variables = jax.jit(lambda key, x: layer.init({"params": key, "chip": key}, x))(KEY, jnp.ones((1, 4)))
    few, apply = x[:, :4], jax.jit(layer.apply)
    real = apply(variables, few.astype(np.float32))
    np.testing.assert_array_equal(apply(variables, few), real)
    assert np.any(np.asarray(real) != np.round(real))
    patterns = np.sign(RNG.normal(size=(5, 16))).astype(np.int8)
    np.testing.assert_array_equal(DenseAssociativeMemory(patterns).nearest(patterns), np.arange(5))


@pytest.mark.parametrize("mode", ["standard", "strict"])
def test_promotions_are_those_of_the_standard_mode(mode):
    with jax.numpy_dtype_promotion(mode):
        assert promoted(jnp.int32, jnp.bfloat16) == jnp.bfloat16
        assert promoted(jnp.bfloat16, jnp.float32) == wide(jnp.ones(2, jnp.bfloat16)).dtype == jnp.float32
        assert promoted(jnp.ones(2, jnp.bfloat16), 1.0) == jnp.bfloat16  # a Python number is weakly typed
        assert to_complex(jnp.ones(2, jnp.float16)).dtype == jnp.complex64


def test_axes_are_added_only_where_they_lack():
    with jax.numpy_rank_promotion("raise"):
        column = jnp.arange(3.0)
        np.testing.assert_array_equal(jnp.zeros((2, 3)) + to_rank(column, 2), [[0, 1, 2]] * 2)
        assert to_rank(column, 1) is to_rank(column, 0) is column
        assert to_rank(2.0, 4) == 2.0
