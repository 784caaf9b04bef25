"""Layers that are held as cores from the start, Linen and NNX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

import analogsim
from analogsim import Hardware, InputError, convert, preset
from analogsim.codecs import CoreLayout, LowRank, TensorTrain, decode, factored_layers, initial, round_model
from analogsim.devices import Crossbar, GenericCell
from analogsim.linen import LowRankDense, TensorTrainDense
from analogsim.nnx import LowRankLinear, TensorTrainLinear

CODEC = TensorTrain(rank=3, cores=2)
#: Cells that err in few operations, for what does not depend on the kind of cell.
SPREAD = Hardware(store=Crossbar(cell=GenericCell(programming_sigma=0.05)))
X = np.asarray(jax.random.normal(jax.random.key(0), (5, 16)))


@pytest.fixture(scope="module")
def variables():
    return start(TensorTrainDense(6, codec=CODEC, bias_init=nn.initializers.ones))


def start(layer, x=X):
    return jax.jit(layer.init)(jax.random.key(1), x)


def run(layer, variables, x=X):
    return np.asarray(jax.jit(layer.apply)(variables, x))


@nnx.jit
def call(layer, x):
    return layer(x)


@jax.jit
def matrix(params):
    (_, cores), *_ = factored_layers(params)
    return decode(cores)


def test_parameters_and_product(variables):
    params = variables["params"]
    assert jax.tree.map(jnp.shape, params) == {
        "core_0": {"kernel": (1, 4, 3, 3)}, "core_1": {"kernel": (3, 4, 2, 1)}, "bias": (6,),
    }  # fmt: skip
    exact = X @ np.asarray(matrix(params)) + 1
    for way in ("auto", "factored", "dense"):
        layer = TensorTrainDense(6, codec=CODEC, contraction=way)
        np.testing.assert_allclose(run(layer, variables), exact, rtol=1e-4, atol=1e-5)
    low = LowRankDense(6, codec=LowRank(rank=2), use_bias=False)
    v = start(low)
    assert set(v["params"]) == {"core_0", "core_1"}
    np.testing.assert_allclose(run(low, v), X @ np.asarray(matrix(v["params"])), rtol=1e-4, atol=1e-5)


def test_types(variables):
    layer = TensorTrainDense(6, codec=CODEC, dtype=jnp.bfloat16, param_dtype=jnp.float32)
    shapes = jax.eval_shape(layer.init, jax.random.key(0), X)
    assert shapes["params"]["core_0"]["kernel"].dtype == jnp.float32
    y = run(layer, variables)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(np.float32), run(TensorTrainDense(6, codec=CODEC), variables), atol=0.1)
    half = start(TensorTrainDense(6, codec=CODEC, param_dtype=jnp.bfloat16))
    assert {leaf.dtype for leaf in jax.tree.leaves(half)} == {jnp.dtype(jnp.bfloat16)}


def test_initial_variance_is_that_of_dense():
    layer, x = TensorTrainDense(64, codec=TensorTrain(rank=6, cores=2)), jnp.ones((1, 64))
    draw = jax.jit(jax.vmap(lambda key: jnp.var(matrix(layer.init(key, x)["params"]))))
    found = np.asarray(draw(jax.random.split(jax.random.key(0), 60)))
    assert 64 * found.mean() == pytest.approx(1, abs=float(4 * 64 * found.std() / 60**0.5))


def test_on_ideal_hardware_it_is_itself(variables):
    exact = run(TensorTrainDense(6, codec=CODEC), variables)
    for layer in (
        TensorTrainDense(6, codec=CODEC, hardware=preset("ideal", rows=5)),
        convert(TensorTrainDense(6, codec=CODEC), preset("ideal")),
    ):
        np.testing.assert_allclose(run(layer, variables), exact, rtol=1e-4, atol=1e-5)
    analog = TensorTrainDense(6, codec=CODEC, hardware=SPREAD)
    chip = analogsim.program(analog, variables, jax.random.key(2), X)
    assert set(chip.cells) == {"core_0", "core_1"}
    with analogsim.digital():
        np.testing.assert_allclose(run(analog, variables), exact, rtol=1e-4, atol=1e-5)


def test_a_mesh_of_interferometers_holds_cores():
    hardware = preset("mzi-mesh", dac=None, adc=None, **{"store.detector": None, "store.shifter.bits": None})
    layer, x = TensorTrainDense(4, codec=TensorTrain(rank=2, cores=2)), X[:, :4]
    variables = start(layer, x)
    rows = analogsim.summary(convert(layer, hardware), variables, x)
    assert [row.matrix for row in rows] == [(2, 4), (4, 2)]
    analog = convert(layer, [("core_0", hardware), (".*", None)])  # one mesh is half of the program of two
    y = jax.jit(lambda v, key: analog.apply(v, x, rngs={"analog": key}))(variables, jax.random.key(1))
    exact = run(layer, variables, x)
    assert 0 < np.linalg.norm(y - exact) / np.linalg.norm(exact) < 0.3


def test_rounding_between_steps_lowers_ranks_at_little_loss():
    """A target of rank 2, learned by a layer of rank 6 that is rounded every 40 steps."""
    target = np.asarray(jax.jit(lambda key: decode(initial(key, CoreLayout((4, 4), (4, 4), (2,)))))(jax.random.key(3)))
    x = np.asarray(jax.random.normal(jax.random.key(4), (64, 16)))
    layer = TensorTrainDense(16, codec=TensorTrain(rank=6, cores=2), use_bias=False, contraction="factored")
    optax = pytest.importorskip("optax")
    tx = optax.adam(0.02)

    def loss(v):
        return jnp.mean((layer.apply(v, x) - x @ target) ** 2)

    @jax.jit
    def some_steps(v):
        def step(carry, _):
            v, state = carry
            updates, state = tx.update(jax.grad(loss)(v), state)
            return (optax.apply_updates(v, updates), state), None

        return jax.lax.scan(step, (v, tx.init(v)), length=40)[0][0]

    v, ranks = start(layer, x), []
    for _ in range(6):
        v = round_model(some_steps(v), rel_error=0.05)
        ranks.append(v["params"]["core_0"]["kernel"].shape[-1])
    assert ranks[-1] == 2
    assert sorted(ranks, reverse=True) == ranks
    assert float(jax.jit(loss)(v)) < 1e-2 * np.mean((x @ target) ** 2)


def test_nnx_layers():
    layer = TensorTrainLinear(16, 6, codec=CODEC, rngs=nnx.Rngs(0))
    exact = call(layer, X)
    np.testing.assert_allclose(exact, X @ np.asarray(jax.jit(decode)(layer.cores)), rtol=1e-4, atol=1e-5)
    assert layer.layout == CoreLayout((4, 4), (3, 2), (3,))
    assert {".".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(layer, nnx.Param))} == {
        "bias", "core_0.kernel", "core_1.kernel",
    }  # fmt: skip
    ideal = convert(layer, preset("ideal"))
    np.testing.assert_allclose(call(ideal, X), exact, rtol=1e-4, atol=1e-5)
    analog = LowRankLinear(16, 6, codec=LowRank(rank=2), hardware=SPREAD, rngs=nnx.Rngs(0))
    chip = analogsim.program(analog, key=jax.random.key(0))
    assert set(chip.cells) == {"core_0", "core_1"}
    assert call(analogsim.nnx.on_chip(analog, chip.at("1 day")), X).shape == (5, 6)
    smaller = round_model(layer, rank=1)
    assert smaller.layout.ranks == (1,)
    assert layer.layout.ranks == (3,)
    assert call(smaller, X).shape == (5, 6)
    gradients = nnx.jit(nnx.grad(lambda m: (m(X) ** 2).sum()))(layer)
    assert gradients.core_0.kernel[...].shape == (1, 4, 3, 3)
    half = TensorTrainLinear(16, 6, codec=CODEC, rngs=nnx.Rngs(0), dtype=jnp.bfloat16, use_bias=False)
    assert call(half, X).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda v: TensorTrainDense(6, codec=3).init(jax.random.key(0), X), "must be a codec such as"),
        (lambda v: TensorTrainDense(6, codec=CODEC, hardware="pcm").init(jax.random.key(0), X), "must be a Hardware"),
        (lambda v: TensorTrainDense(6, codec=CODEC, contraction="no").init(jax.random.key(0), X), "auto, factored"),
        (lambda v: TensorTrainDense(6, codec=TensorTrain(rel_error=0.1)).init(jax.random.key(0), X), "only its size"),
        (lambda v: TensorTrainDense(6, codec=TensorTrain(rank=2)).apply(v, X), "its cores are 4x3 4x2, rank 3"),
        (lambda v: TensorTrainLinear(16, 6, rngs=0), "must be nnx.Rngs"),
        (lambda v: TensorTrainLinear(16, 6, codec=3, rngs=nnx.Rngs(0)), "must be a codec"),
        (lambda v: TensorTrainLinear(16, 6, codec=CODEC, rngs=nnx.Rngs(0))(X[:, :8]), "8 features, the cores take 16"),
        (lambda v: round_model({"params": {"kernel": X}}, rank=2), "no compressed layer"),
        (lambda v: round_model({"params": {"core_0": X}}, rank=2), "no compressed layer"),
        (lambda v: round_model({"params": {"core_0": {"kernel": jnp.ones((3, 3, 1, 4))}}}, rank=2), "no compressed"),
        (lambda v: round_model(v | {"params": {"core_0": {"kernel": X[None, None], "bias": X}}}, rank=2), "no compre"),
        (lambda v: TensorTrainDense(16, variance=-1.0).init(jax.random.key(0), X), "TensorTrainDense.variance = -1.0"),
        (lambda v: TensorTrainDense(0).init(jax.random.key(0), X), "TensorTrainDense.features = 0"),
        (lambda v: TensorTrainLinear(16, 6, variance=-1.0, rngs=nnx.Rngs(0)), "variance = -1.0: must be a finite"),
        (
            lambda v: round_model({"params": {"core_0": {"kernel": jnp.ones((2, 1, 2, 2, 1))}}}, rank=2),
            "stacks of layers cannot be rounded",
        ),
        (lambda v: round_model(3, rank=2), "Linen model's variables"),
    ],
)
def test_what_makes_no_sense_is_refused(variables, run, message):
    with pytest.raises(InputError, match=message):
        run(variables)


def test_a_layer_that_is_larger_as_cores_is_pointed_out():
    layer, x = TensorTrainDense(16, use_bias=False), np.ones((1, 16), np.float32)
    found = analogsim.summary(layer, start(layer, x), x)
    assert found.larger_as_cores == {"(the model itself)": (272, 256)}
    assert "its cores hold 272 numbers, a dense kernel 256" in " ".join(str(found).split())
    small = TensorTrainDense(16, codec=TensorTrain(rank=1), use_bias=False)
    assert not analogsim.summary(small, start(small, x), x).larger_as_cores


def test_rounding_leaves_out_what_fitted_the_old_cores():
    model = nn.Sequential([LowRankDense(16, hardware=preset("pcm")), nn.Dense(3)])
    model = convert(model, [("layers_1", preset("int8")), (".*", None)])
    v = analogsim.calibrate(model, start(model), X)
    assert set(v["ranges"]) == {"layers_0", "layers_1", "sample"}
    smaller = round_model({**v, "analog": {"layers_0": {"core_0": {"analog": {"array": 1}}}}}, rank=2)
    assert set(smaller["ranges"]) == {"layers_1", "sample"}
    assert smaller["analog"] == {}
    assert smaller["ranges"]["layers_1"] is not None
    layer = LowRankLinear(16, 6, codec=LowRank(rank=3), hardware=preset("int8"), rngs=nnx.Rngs(0))
    analogsim.calibrate(layer, None, X)
    assert layer.core_0.dot_general.input_range is not None
    fresh = round_model(layer, rank=2)
    assert fresh.core_0.dot_general.input_range is None
    assert call(fresh, X).shape == (5, 6)
