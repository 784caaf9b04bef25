"""Whole models as cores: what is computed, on which tiles, at what cost."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

import analogsim
from analogsim import ADC, DAC, Hardware, InputError, convert, energy, preset
from analogsim.codecs import LowRank, TensorTrain, compress, decode, factored_layers
from analogsim.devices import Crossbar, GenericCell
from analogsim.models.bound import programmed_leaves
from analogsim.training import AdditiveNoise, fine_tune

IDEAL, PCM = preset("ideal"), preset("pcm")
#: Cells that err in few operations, for what does not depend on the kind of cell.
CELLS = Crossbar(cell=GenericCell(programming_sigma=0.05))
SPREAD = Hardware(name="spread", store=CELLS, dac=DAC(), adc=ADC())
FULL = TensorTrain(rank=1000, cores=2)


def run(model, variables, x=None, **options):
    """A compiled call: small tests spend their time in the compiler, once is cheaper than operation by operation."""
    return jax.jit(lambda v, x: model.apply(v, x, **options))(variables, X if x is None else x)


def start(model, x):
    return jax.jit(model.init)(jax.random.key(0), x)


@nnx.jit
def call(model, x):
    return model(x)


class Encoder(nn.Module):
    """A convolution, attention, a compiled block, a head."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(16, (3,))(x)
        x = x + nn.MultiHeadDotProductAttention(num_heads=2)(x, x)
        x = nn.remat(nn.Dense)(16)(nn.relu(x))
        return nn.Dense(3, name="head")(x.mean(axis=1))


X = jax.random.normal(jax.random.key(0), (4, 6, 16))
LAYERS = {f"MultiHeadDotProductAttention_0/{name}" for name in ("query", "key", "value", "out")}
LAYERS |= {"CheckpointDense_0"}


@pytest.fixture(scope="module")
def variables():
    return start(Encoder(), X)


@pytest.fixture(scope="module")
def full(variables):
    return compress(Encoder(), variables, X, FULL, only_smaller=False)


@pytest.fixture(scope="module")
def small(variables):
    return compress(Encoder(), variables, X, TensorTrain(rank=3, cores=2), where=lambda layer: layer.path != "head")


def test_at_full_rank_nothing_changes(variables, full):
    assert set(full.layers) == LAYERS | {"head"}
    assert full.uncompressed == {"Conv_0": "codecs compress Dense and DenseGeneral only"}
    exact = run(Encoder(), variables)
    for model in (full.model, convert(full.model, preset("ideal", rows=7))):
        np.testing.assert_allclose(run(model, full.variables), exact, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(full.variables["params"]["Conv_0"]["kernel"], variables["params"]["Conv_0"]["kernel"])


def test_compressed_layers_and_their_record(variables, small):
    assert set(small.layers) == LAYERS
    assert small.uncompressed["head"] == "where does not select it"
    own = small.variables["params"]["MultiHeadDotProductAttention_0"]["query"]
    assert jax.tree.map(jnp.shape, own) == {
        "core_0": {"kernel": (1, 4, 4, 3)}, "core_1": {"kernel": (3, 4, 4, 1)}, "bias": (2, 8),
    }  # fmt: skip
    found = dict(factored_layers(small.variables["params"]))
    kernel = variables["params"]["CheckpointDense_0"]["kernel"]
    error = np.linalg.norm(jax.jit(decode)(found["CheckpointDense_0"]) - kernel) / np.linalg.norm(kernel)
    assert error == pytest.approx(small.layers["CheckpointDense_0"].rel_error, rel=1e-4)
    assert small.params == sum(core.size for cores in found.values() for core in cores)
    assert "not compressed: Conv_0, codecs compress Dense and DenseGeneral only" in str(small)


def test_without_hardware_it_trains_and_starts_anew(small):
    slopes = jax.jit(jax.grad(lambda v: (small.model.apply(v, X) ** 2).sum()))(small.variables)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(slopes["params"]["CheckpointDense_0"]))
    fresh = jax.eval_shape(small.model.init, jax.random.key(3), X)
    assert jax.tree.map(jnp.shape, fresh) == jax.tree.map(jnp.shape, small.variables)
    assert analogsim.to_digital(convert(small.model, PCM)) == small.model


@pytest.mark.parametrize("way", ["factored", "dense"])
def test_digital_layers_take_the_way_they_are_told(way):
    layer, eye = nn.Dense(16), np.eye(16, dtype=np.float32)
    v = start(layer, eye)
    found = compress(layer, v, eye, TensorTrain(rank=2, cores=2), contraction=way)
    text = str(jax.make_jaxpr(found.model.apply)(found.variables, eye))
    assert ("f32[16,16] = dot_general" in text) == (way == "dense")
    cores = dict(factored_layers(found.variables["params"])).popitem()[1]
    np.testing.assert_allclose(run(found.model, found.variables, eye), jax.jit(decode)(cores), atol=1e-5)


def test_every_core_has_tiles_of_its_own(small):
    analog = convert(small.model, PCM)
    rows = analogsim.summary(analog, small.variables, X)
    cores = {f"{path}/core_{k}" for path in LAYERS for k in (0, 1)}
    assert {row.path for row in rows} == cores | {"Conv_0", "head"}
    row = next(row for row in rows if row.path == "CheckpointDense_0/core_1")
    assert (row.kind, row.shape, row.matrix, row.tiles, row.cells) == ("Core", (3, 4, 4, 1), (12, 4), 1, 2 * 48)
    analog = convert(small.model, [("CheckpointDense_0", SPREAD), (".*", None)])
    calibrated = analogsim.calibrate(analog, small.variables, X)
    assert set(calibrated["ranges"]["CheckpointDense_0"]) == {"core_0", "core_1"}
    chip = analogsim.program(analog, calibrated, jax.random.key(2))
    assert [path for path, _ in programmed_leaves(chip.cells)] == [
        "CheckpointDense_0/core_0",
        "CheckpointDense_0/core_1",
    ]
    y = run(analog, chip.variables, rngs={"analog": jax.random.key(3)})
    exact = run(small.model, small.variables)
    assert 1e-3 < np.linalg.norm(y - exact) / np.linalg.norm(exact) < 1.5


def test_rules_speak_of_layers_and_of_cores(small):
    rules = [
        ("CheckpointDense_0/core_1", IDEAL),
        (".*Dense_0", None),
        (nn.MultiHeadDotProductAttention, preset("int8")),
        (nn.Dense, preset("reram")),
        (".*", PCM),
    ]
    rows = {row.path: row for row in analogsim.summary(convert(small.model, rules), small.variables, X)}
    on = {path: row.hardware and row.hardware.name for path, row in rows.items()}
    assert on["CheckpointDense_0/core_0"] is None
    assert on["CheckpointDense_0/core_1"] == "ideal"
    assert on["MultiHeadDotProductAttention_0/out/core_0"] == "int8"
    assert on["head"] == "reram"
    assert on["Conv_0"] == "pcm"


def test_noise_of_cores_adds_in_squares():
    """Each core's cells err by themselves: half of the layer on noisy cells at a time, and then all of it."""
    layer, eye = nn.Dense(32, use_bias=False), np.eye(32, dtype=np.float32)
    found = compress(layer, start(layer, eye), eye, LowRank(rank=6))
    noisy = Hardware(store=CELLS)
    exact = run(found.model, found.variables, eye)

    def error(rules):
        model = convert(found.model, rules)

        def one(key):
            return jnp.sum((model.apply(found.variables, eye, rngs={"analog": key}) - exact) ** 2)

        return float(jax.jit(lambda keys: jax.vmap(one)(keys).mean())(jax.random.split(jax.random.key(1), 100)))

    first, second = error([("core_0", noisy), (".*", IDEAL)]), error([("core_1", noisy), (".*", IDEAL)])
    assert error([(".*", noisy)]) == pytest.approx(first + second, rel=0.15)
    assert first > 0
    assert second > 0


def test_fewer_cells_and_more_conversions():
    """A 256 x 256 layer: cores take 1 in 32 of its cells, are read more often, and cost more joules in all."""
    layer, x = nn.Dense(256, use_bias=False), jax.ShapeDtypeStruct((1, 256), jnp.float32)
    v = {"params": {"kernel": np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32) / 16}}

    def costs(model, variables):
        cells = sum(row.cells for row in analogsim.summary(model, variables, jnp.zeros((1, 256))))
        breakdown = energy.compare(model, variables, x, systems=("H100",)).hardware
        return cells, sum(line.count for line in breakdown.items if line.component == "ADC"), breakdown.energy_typical_j

    dense = costs(convert(layer, PCM), v)
    assert dense[:2] == (2 * 256 * 256, 256)
    found = compress(layer, v, jnp.zeros((1, 256)), TensorTrain(rank=4, cores=2))
    cells, conversions, joules = costs(convert(found.model, PCM), found.variables)
    layout = found.layers["(the model itself)"].layout
    assert cells == 2 * layout.params == dense[0] / 32
    assert conversions == 16 * 64 + 16 * 16  # 16 vectors through [16, 64], 16 through [64, 16]
    assert joules > 2 * dense[2]
    low = compress(layer, v, jnp.zeros((1, 256)), LowRank(rank=4))
    assert costs(convert(low.model, PCM), low.variables)[:2] == (cells, 4 + 256)


def test_convert_with_a_codec_takes_the_plain_variables(variables):
    codec = TensorTrain(rank=3, cores=2)
    direct = convert(Encoder(), IDEAL, codec=codec)
    found = compress(Encoder(), variables, X, codec)
    np.testing.assert_allclose(run(direct, variables), run(found.model, found.variables), rtol=1e-3, atol=1e-4)
    analog = convert(Encoder(), [("head", None), (".*", PCM)], codec=codec)
    rows = analogsim.summary(analog, variables, X)
    assert {row.path for row in rows if "core" in row.path} == {f"{p}/core_{k}" for p in LAYERS for k in (0, 1)}
    one = convert(Encoder(), [(".*Dense_0", SPREAD), (".*", None)], codec=codec)
    chip = analogsim.program(one, variables, jax.random.key(0), X)
    assert [path for path, _ in programmed_leaves(chip.cells)] == [
        "CheckpointDense_0/core_0",
        "CheckpointDense_0/core_1",
    ]
    with pytest.raises(InputError, match=r"no useful derivative; train the cores themselves: codecs\.compress"):
        jax.eval_shape(jax.grad(lambda v: direct.apply(v, X).sum()), variables)


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(16, 16, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 16, 16, rngs=rngs, decode=False)
        self.head = nnx.Linear(16, 3, rngs=rngs)

    def __call__(self, x):
        return self.head(self.attention(nnx.relu(self.first(x))).mean(axis=1))


@functools.cache
def plain_nnx():
    """It is never changed: what it is given to makes a copy."""
    return Nnx(nnx.Rngs(0))


def test_nnx_models():
    plain = plain_nnx()
    full = compress(plain, codec=FULL, only_smaller=False)
    np.testing.assert_allclose(call(full.model, X), call(plain, X), rtol=1e-4, atol=1e-5)
    rules = [("first", SPREAD), ("attention/out", IDEAL), (nnx.MultiHeadAttention, preset("int8")), (nnx.Linear, None)]
    analog = convert(plain, rules, codec=TensorTrain(rel_error=0.7, cores=2), rngs=nnx.Rngs(1))
    rows = {row.path: row.hardware and row.hardware.name for row in analogsim.summary(analog, x=X)}
    assert rows["first/core_0"] == "spread"
    assert rows["attention/out/core_1"] == "ideal"
    assert rows["attention/query/core_1"] == "int8"
    assert rows["head"] is None
    chip = analogsim.program(analog, key=jax.random.key(0))
    assert set(chip.cells) == set(rows) - {"head"}
    assert call(analogsim.nnx.on_chip(analog, chip), X).shape == (4, 3)
    assert type(plain.first) is nnx.Linear
    assert call(analogsim.to_digital(analog), X).shape == (4, 3)


@pytest.mark.parametrize("name", ["int8", pytest.param("pcm", marks=pytest.mark.slow)])
def test_cores_are_trained_for_their_hardware(name):
    model, x, labels = nn.Sequential([nn.Dense(16), nn.relu, nn.Dense(3)]), X[:, 0], jnp.arange(4) % 3
    v = start(model, x)
    found = compress(model, v, x, LowRank(rank=3), where="layers_0")
    hardware = preset("int8") if name == "int8" else preset("pcm", training=AdditiveNoise(std=0.05))
    analog = convert(found.model, hardware)
    tuned = fine_tune(analog, found.variables, x, labels, key=jax.random.key(2), epochs=2, batch_size=4)
    before, after = (t["params"]["layers_0"]["core_0"]["kernel"] for t in (found.variables, tuned.variables))
    assert after.shape == before.shape
    assert not np.allclose(after, before)
    if name == "pcm":
        scores = analogsim.evaluate(
            analog, found.variables, x, labels, key=jax.random.key(1), chips=2, times=("1 day",)
        )
        assert scores.score.shape == (1, 2, 1)


class Stacked(nn.Module):
    @nn.compact
    def __call__(self, x):
        block = nn.scan(
            lambda layer, x, _: (layer(x), None), variable_axes={"params": 0}, split_rngs={"params": True}, length=2
        )
        return nn.Dense(16)(block(nn.Dense(16, name="stack"), x, None)[0])


def test_what_is_not_compressed_is_said():
    v = start(Stacked(), X)
    found = compress(Stacked(), v, X, LowRank(rank=2))
    assert found.uncompressed == {"stack": "it is a stack of layers (nn.scan, nn.vmap)"}
    np.testing.assert_array_equal(found.variables["params"]["stack"]["kernel"], v["params"]["stack"]["kernel"])
    assert run(found.model, found.variables).shape == X.shape


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda v: compress(Encoder(), v, X, 3), "must be a codec such as"),
        (lambda v: compress(Encoder(), v, None, FULL), "x = None"),
        (lambda v: compress(3, v, X, FULL), "must be a flax"),
        (lambda v: compress(convert(Encoder(), PCM), v, X, FULL), "compress the plain model, then convert"),
        (lambda v: compress(Encoder(), v, X, FULL, where="nowhere"), "no layer of the model is compressed"),
        (lambda v: compress(Encoder(), v, X, LowRank(max_params=9)), "query: LowRank: a budget of 9 numbers"),
        (lambda v: convert(Encoder(), PCM, codec=3), "must be a codec"),
        (lambda v: convert(Encoder(), PCM, codec=LowRank(rel_error=0.1)), "or convert the model that codecs.compress"),
        (lambda v: jax.eval_shape(convert(Encoder(), IDEAL, codec=LowRank(rank=90)).apply, v, X),
         "compresses no layer on hardware"),
        (lambda v: convert(compress(Encoder(), v, X, LowRank(rank=2)).model, PCM, codec=LowRank(rank=1)),
         "already compressed"),
        (lambda v: jax.eval_shape(compress(Encoder(), v, X, LowRank(rank=2)).model.apply, v, X),
         "these variables hold its kernel"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(variables, run, message):
    with pytest.raises(InputError, match=message):
        run(variables)


def as_before(model, x):
    """A model at full rank gives what it gave."""
    v = start(model, x)
    found = compress(model, v, x, FULL, only_smaller=False)
    np.testing.assert_allclose(run(found.model, found.variables, x), run(model, v, x), rtol=1e-4, atol=1e-5)
    return v, found


def test_axes_in_any_order_and_empty_batches():
    x = np.random.default_rng(0).normal(size=(3, 2, 8)).astype(np.float32)
    model = nn.DenseGeneral(4, axis=(-1, -2))
    v, found = as_before(model, x)
    direct = convert(model, IDEAL, codec=LowRank(rank=2))
    assert run(direct, v, x[:0]).shape == run(found.model, found.variables, x[:0]).shape == (0, 4)
    plain = nnx.LinearGeneral((2, 8), 4, axis=(-1, -2), rngs=nnx.Rngs(0))
    full = compress(plain, codec=FULL, only_smaller=False).model
    exact = call(plain, x)
    np.testing.assert_allclose(call(full, x), exact, rtol=1e-4, atol=1e-5)
    assert call(full, x[:0]).shape == (0, 4)
    np.testing.assert_allclose(nnx.jit(lambda model: model(inputs=x))(full), exact, rtol=1e-4, atol=1e-5)


class Named(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(32)(inputs=x)


def test_inputs_may_be_named_and_have_no_batch():
    x = np.ones((2, 16), np.float32)
    v, _ = as_before(Named(), x)
    assert run(convert(Named(), IDEAL, codec=LowRank(max_fraction=0.5)), v, x).shape == (2, 32)
    as_before(Named(), x[0])


def promoted(*args, **options):
    return nn.dtypes.promote_dtype(*args, **options)


def test_what_cores_would_not_honour_stays_dense():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.WeightNorm(nn.Dense(16, name="normed"))(nn.Dense(16, promote_dtype=promoted, name="own")(x))
            return nn.Dense(16, name="small")(nn.Dense(2, name="last")(x))

    x = np.ones((2, 16), np.float32)
    v = start(Model(), x)
    codec = TensorTrain(rank=4, modes_in=(4, 4), modes_out=(2, 1))
    found = compress(Model(), v, x, codec, only_smaller=False)
    assert set(found.layers) == {"last"}
    assert found.uncompressed["own"] == "it has a custom promote_dtype"
    assert "WeightNorm" in next(why for path, why in found.uncompressed.items() if "normed" in path)
    assert "multiplies to 16, the matrix has 2 inputs" in found.uncompressed["small"]
    np.testing.assert_allclose(run(found.model, found.variables, x), run(Model(), v, x), rtol=1e-4, atol=1e-5)
    direct = convert(Model(), [(".*normed", None), (".*", IDEAL)], codec=codec)
    with pytest.raises(InputError, match="the codec does not fit it"):  # cores of that rank are no fewer numbers
        jax.eval_shape(direct.apply, v, x)

    def hook(*args, **options):
        return jax.lax.dot_general(*args, **options)

    class Other(nnx.Module):
        def __init__(self, rngs):
            self.hooked = nnx.Linear(16, 16, dot_general=hook, rngs=rngs)
            self.own = nnx.Linear(16, 16, promote_dtype=lambda *a, **k: nnx.nn.dtypes.promote_dtype(*a, **k), rngs=rngs)
            self.normed = nnx.WeightNorm(nnx.Linear(16, 16, rngs=rngs), rngs=rngs)
            self.last = nnx.Linear(16, 16, rngs=rngs)

    found = compress(Other(nnx.Rngs(0)), codec=LowRank(rank=2))
    assert set(found.layers) == {"last"}
    assert "hook" in found.uncompressed["hooked"]
    assert found.uncompressed["own"] == "it has a custom promote_dtype"
    assert "WeightNorm" in next(why for path, why in found.uncompressed.items() if "normed" in path)


def test_rules_by_type_see_a_core_as_its_layer():
    v = start(nn.Dense(16), X)
    found = compress(nn.Dense(16), v, X, LowRank(rank=2))
    model = convert(found.model, [(nn.Dense, PCM)])
    assert {row.hardware.name for row in analogsim.summary(model, found.variables, X)} == {"pcm"}
    with pytest.raises(InputError, match="DenseGeneral decides about no layer"):
        analogsim.summary(convert(found.model, [(nn.DenseGeneral, None), (".*", PCM)]), found.variables, X)
    other = compress(plain_nnx(), codec=LowRank(rank=2)).model
    model = convert(other, [(nnx.Linear, PCM), (nnx.LinearGeneral, None)], rngs=nnx.Rngs(1))
    on = {row.path: row.hardware and row.hardware.name for row in analogsim.summary(model)}
    assert on["first/core_0"] == on["head/core_1"] == "pcm"
    assert on["attention/out/core_0"] is None


def test_a_layer_may_be_called_attend():
    """Only the product of ``Embed.attend`` has such a path without being a layer that could be compressed."""

    class LinenModel(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(16, name="attend")(x)

    class NNXModel(nnx.Module):
        def __init__(self):
            self.attend = nnx.Linear(16, 16, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.attend(x)

    x = jnp.ones((2, 16))
    linen = LinenModel()
    for model, variables in ((linen, linen.init(jax.random.key(0), x)), (NNXModel(), None)):
        assert "attend" in compress(model, variables, x, LowRank(rank=2)).layers
