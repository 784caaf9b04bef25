"""Whole models converted: exact when ideal, nothing silent."""

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import nnx

import analogsim
from analogsim import InputError, convert, preset, summary
from analogsim.models.bound import programmed_leaves
from tests.support.flax_models import Encoder, EncoderBlock
from tests.support.models import CNN, PlainMLP

IDEAL, PCM = preset("ideal"), preset("pcm")


KEY = jax.random.key(0)
RNGS = {"analog": KEY}


def normal(*shape):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def held(model, variables, *x):
    """Hardware of every programmed layer, ``{path: name}``; found from shapes, nothing is compiled."""
    cells = jax.eval_shape(lambda v: analogsim.program(model, v, KEY, *x).cells, variables)
    return {path: programmed.hardware.name for path, programmed in programmed_leaves(cells)}


@pytest.fixture(scope="module")
def images():
    return normal(3, 8, 8, 2)


@pytest.fixture(scope="module")
def variables(images):
    return jax.jit(CNN().init)(jax.random.key(1), images)


def value_and_gradient(model, variables, x):
    return jax.jit(jax.value_and_grad(lambda v: (model.apply(v, x) ** 2).sum()))(variables)


@pytest.fixture(scope="module")
def exact(images, variables):
    return value_and_gradient(CNN(), variables, images)


@pytest.mark.parametrize("rows", [65536, 5])
def test_ideal_conversion_is_the_model_forward_and_gradient(images, variables, exact, rows):
    analog = convert(CNN(), preset("ideal", rows=rows))
    assert jax.tree.structure(jax.eval_shape(analog.init, KEY, images)) == jax.tree.structure(variables)
    (mine, gradient), (plain, plain_gradient) = value_and_gradient(analog, variables, images), exact
    np.testing.assert_allclose(mine, plain, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), gradient, plain_gradient)


def test_every_matrix_layer_is_programmed(images, variables):
    attention = "MultiHeadDotProductAttention_0/"
    assert set(held(convert(CNN(), PCM), variables, images)) == {
        "Conv_0", "Conv_1", "Dense_0", "Dense_1",
        *(attention + name for name in ("query", "key", "value", "out")),
    }  # fmt: skip


def test_rules_choose_by_path_and_first_match_wins(images, variables):
    hardware = held(convert(CNN(), [("Conv_0", None), ("Dense_.*", IDEAL), (".*", PCM)]), variables, images)
    assert "Conv_0" not in hardware
    assert hardware["Dense_1"] == "ideal"
    assert hardware["Conv_1"] == "pcm"


def test_training_with_batch_statistics(images, variables):
    """Their values are compared with a plain model's in test_real_models."""
    model = convert(CNN(), PCM)
    out, state = jax.eval_shape(
        lambda v, x: model.apply(v, x, train=True, rngs=RNGS, mutable=["batch_stats"]), variables, images
    )
    assert out.shape == (3, 3)
    assert set(state) == {"batch_stats"}


def test_a_compiled_block_inside_the_model_is_converted_too(images):
    class Inner(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.jit(PlainMLP)()(x)

    x = images.reshape(3, -1)[:, :8]
    v = jax.jit(Inner().init)(KEY, x)
    exact = Inner().apply(v, x)  # nothing around it is compiled: nn.jit keeps what it compiles by itself
    coarse = convert(Inner(), preset("int8", **{"store.bits": 2})).apply(v, x)
    fine = convert(Inner(), preset("int8", **{"store.bits": 12, "dac.bits": 16})).apply(v, x)
    assert np.abs(coarse - exact).max() > 0.05
    np.testing.assert_allclose(fine, exact, atol=2e-3)
    np.testing.assert_array_equal(Inner().apply(v, x), exact)


def test_other_entry_points_and_layers_already_analog():
    class Model(nn.Module):
        def setup(self):
            self.encoder = nn.Dense(4)
            self.head = analogsim.linen.AnalogDense(2, hardware=IDEAL)

        def __call__(self, x):
            return self.head(self.encode(x))

        def encode(self, x):
            return self.encoder(x)

    x, analog = np.ones((2, 3), np.float32), convert(Model(), preset("int8"))
    v = jax.eval_shape(Model().init, KEY, x)
    encoded = jax.eval_shape(lambda v: analog.apply(v, x, method=lambda m, x: m(x, method="encode")), v)
    assert encoded.shape == (2, 4)
    assert held(analog, v, x) == {"encoder": "int8", "head": "ideal"}


def test_layers_given_as_attributes_keep_their_own_paths():
    """Linen moves such layers when scopes are shared; rules, chips and ranges must follow."""
    x = normal(20, 4)
    model = nn.Sequential([nn.Dense(8), nn.relu, nn.Sequential([nn.Dense(3)])])
    v = jax.jit(model.init)(jax.random.key(1), x)
    analog = convert(model, [("layers_0", None), ("layers_2/layers_0", PCM)])
    calibrated = analogsim.calibrate(analog, v, x)
    assert set(calibrated["ranges"]) == {"sample", "layers_2"}
    assert list(held(analog, calibrated)) == ["layers_2/layers_0"]
    wide = jax.tree.map(lambda a: a, calibrated)
    wide["ranges"]["layers_2"]["layers_0"]["analog"]["output"] = 1e4  # an ADC step of 80: everything reads zero
    y = jax.jit(lambda v: analog.apply(v, x, rngs=RNGS))(wide)
    np.testing.assert_allclose(y, np.broadcast_to(v["params"]["layers_2"]["layers_0"]["bias"], (20, 3)), atol=1e-6)


class Awkward(nn.Module):
    """A product outside of any layer."""

    @nn.compact
    def __call__(self, x):
        x = nn.ConvLocal(4, (3,))(x)
        return nn.Dense(2)(x @ self.param("mixing", nn.initializers.normal(), (4, 3)))


def test_what_cannot_be_converted_is_named():
    x = normal(2, 5, 3)
    remedy = r"; keep it digital with a first rule \('{}', None\), or pass strict=False"
    message = (
        r"layer mixing \(parameter\) cannot run on analog hardware: the model multiplies with this parameter "
        r"outside of any known layer, and not with analogsim\.linen\.analog_einsum"
    )
    v = jax.jit(Awkward().init)(jax.random.key(1), x)
    half = convert(Awkward(), [("ConvLocal_0", None), (".*", PCM)])
    with pytest.raises(InputError, match=message + remedy.format("mixing")):
        jax.eval_shape(lambda v: half.apply(v, x, rngs=RNGS), v)
    lenient = convert(Awkward(), [(".*", IDEAL)], strict=False)
    np.testing.assert_allclose(*jax.jit(lambda v: [m.apply(v, x) for m in (lenient, Awkward())])(v), atol=1e-5)
    assert list(held(convert(Awkward(), PCM, strict=False), v, x)) == ["ConvLocal_0", "Dense_0"]


@pytest.mark.parametrize("layers", ["plain", "remat", "scan"])
def test_every_module_that_holds_a_layer_selects_it(layers):
    """Transformations run copies of modules that have no parent."""
    model, ids = Encoder(depth=1, layers=layers), np.ones((1, 6), int)
    v = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), jax.eval_shape(model.init, KEY, ids))
    rows = analogsim.summary(convert(model, IDEAL, where=Encoder), v, ids)
    assert len(rows) == 8
    assert not rows.digital

    within = {}
    analogsim.summary(convert(model, IDEAL, where=lambda layer: not within.update({layer.path: layer.within})), v, ids)
    attention, block, whole = within[next(path for path in within if path.endswith("/query"))]
    assert isinstance(attention, nn.MultiHeadDotProductAttention)
    assert isinstance(block, EncoderBlock)
    assert isinstance(whole, Encoder)


def test_a_rule_that_matches_nothing_is_an_error(images, variables):
    for rules, message in (
        ([("Dense_7", PCM), (".*", IDEAL)], r"rule 'Dense_7' decides about no layer.*Conv_0, Conv_1, Dense_0"),
        ([(".*", IDEAL), ("Conv_0", None)], r"rule 'Conv_0' decides about no layer"),  # shadowed by the first
    ):
        with pytest.raises(InputError, match=message):
            jax.eval_shape(convert(CNN(), rules).apply, variables, images)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pcm",), "must be a Hardware or a sequence of"),
        (([("(", PCM)],), "not a regular expression"),
        (([("x", "pcm")],), "must be a Hardware such as"),
        ((["pcm"],), "must be a pair"),
    ],
)
def test_bad_rules(arguments, message):
    with pytest.raises(InputError, match=message):
        convert(CNN(), *arguments)
    with pytest.raises(InputError, match="must be a flax"):
        convert(3, PCM)


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(2, 4, (3, 3), strides=2, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 64, 8, rngs=rngs, decode=False)
        self.head = nnx.Linear(64, 3, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.conv(x)).reshape(x.shape[0], 1, -1)
        return self.head(self.attention(x))[:, 0]


def test_nnx_models(images):
    run = nnx.jit(lambda model, x: model(x))
    plain = nnx.jit(Nnx)(nnx.Rngs(0))
    exact = run(plain, images)
    ideal = convert(plain, IDEAL)
    np.testing.assert_allclose(run(ideal, images), exact, rtol=1e-5, atol=1e-5)
    chip = analogsim.program(ideal, key=KEY)
    assert set(chip.cells) == {"conv", "head", *(f"attention/{n}" for n in ("query", "key", "value", "out"))}
    np.testing.assert_allclose(run(analogsim.nnx.on_chip(ideal, chip), images), exact, rtol=1e-5, atol=1e-5)

    ideal.head.kernel[...] = np.zeros_like(ideal.head.kernel[...])
    np.testing.assert_array_equal(run(plain, images), exact)  # the original keeps its own parameters
    with pytest.raises(InputError, match="decides about no layer"):
        convert(plain, [("nowhere", PCM), (".*", PCM)])
    first = convert(plain, [("conv", None), (".*", PCM)], rngs=nnx.Rngs(1))
    assert set(analogsim.nnx.analog_ops(first)) == set(chip.cells) - {"conv"}


def test_converters_that_a_chip_of_groups_was_fabricated_with_are_its_own():
    """Every tile has ADCs of its own; groups on tiles apart, too. Without mismatch they would all be alike."""
    adc = analogsim.converters.SARADC(bits=6, capacitor_mismatch=0.1)
    hardware = preset("ideal", rows=6, columns=4).replace(adc=adc, dac=analogsim.DAC(bits=8))
    layer, x = nn.Conv(8, (3,), feature_group_count=4), np.tile(normal(4, 6, 2), 4)
    kernel = np.tile(normal(3, 2, 2), (1, 1, 4))  # all groups alike
    variables = {"params": {"kernel": kernel, "bias": np.zeros(8, np.float32)}}
    model = convert(layer, hardware)
    calibrated = analogsim.calibrate(model, variables, x)
    chip = analogsim.program(model, calibrated, jax.random.key(2))
    y, exact = (
        np.asarray(a) for a in jax.jit(lambda v, w: (model.apply(v, x), layer.apply(w, x)))(chip.variables, variables)
    )
    groups = y.reshape(4, 6, 4, 2)
    assert np.abs(groups - groups[:, :, :1]).max() > 0.01
    assert np.abs(y - exact).max() < 0.3 * np.abs(exact).max()


def test_layers_that_are_called_attend_are_listed_as_layers():
    class Stacked(nn.Module):
        @nn.compact
        def __call__(self, x):
            scan = nn.scan(Body, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
            return scan(name="body")(x, None)[0]

    class Body(nn.Module):
        @nn.compact
        def __call__(self, x, _):
            return nn.Dense(4, name="attend")(x), None

    x = jax.ShapeDtypeStruct((1, 4), "float32")
    variables = jax.eval_shape(Stacked().init, jax.random.key(0), x)
    (row,) = summary(Stacked(), variables, x)
    assert (row.path, row.copies) == ("body/attend", 3)
    model = nnx.Sequential(nnx.Linear(4, 4, rngs=nnx.Rngs(0)))
    model.attend = nnx.Linear(4, 4, rngs=nnx.Rngs(1))
    assert {row.path for row in summary(model)} == {"layers/0", "attend"}
