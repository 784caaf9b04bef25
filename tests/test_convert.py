"""Whole models converted: exact when ideal, nothing silent."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import analogsim
from analogsim import InputError, convert, preset
from analogsim.models import programmed_leaves
from tests.flax_models import Encoder, EncoderBlock
from tests.models import CNN, PlainMLP

IDEAL, PCM = preset("ideal"), preset("pcm")


@pytest.fixture(scope="module")
def images():
    return jax.random.normal(jax.random.key(0), (3, 8, 8, 2))


@pytest.fixture(scope="module")
def variables(images):
    return CNN().init(jax.random.key(1), images)


@pytest.mark.parametrize("rows", [65536, 5])
def test_ideal_conversion_is_the_model_forward_and_gradient(images, variables, rows):
    analog = convert(CNN(), preset("ideal", rows=rows))
    assert jax.tree.structure(analog.init(jax.random.key(1), images)) == jax.tree.structure(variables)

    def loss(model):
        return jax.jit(jax.value_and_grad(lambda v: (model.apply(v, images) ** 2).sum()))

    (mine, slope), (plain, plain_slope) = loss(analog)(variables), loss(CNN())(variables)
    np.testing.assert_allclose(mine, plain, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), slope, plain_slope)


def test_every_matrix_layer_is_programmed(images, variables):
    chip = analogsim.program(convert(CNN(), PCM), variables, jax.random.key(0), images)
    attention = "MultiHeadDotProductAttention_0/"
    assert {path for path, _ in programmed_leaves(chip.cells)} == {
        "Conv_0", "Conv_1", "Dense_0", "Dense_1",
        *(attention + name for name in ("query", "key", "value", "out")),
    }  # fmt: skip


def test_rules_choose_by_path_and_first_match_wins(images, variables):
    rules = [("Conv_0", None), ("Dense_.*", IDEAL), (".*", PCM)]
    chip = analogsim.program(convert(CNN(), rules), variables, jax.random.key(0), images)
    hardware = {path: programmed.hardware.name for path, programmed in programmed_leaves(chip.cells)}
    assert "Conv_0" not in hardware
    assert hardware["Dense_1"] == "ideal"
    assert hardware["Conv_1"] == "pcm"


def test_training_with_batch_statistics(images, variables):
    out, state = convert(CNN(), PCM).apply(
        variables, images, train=True, rngs={"analog": jax.random.key(0)}, mutable=["batch_stats"]
    )
    assert out.shape == (3, 3)
    assert set(state) == {"batch_stats"}


def test_a_compiled_block_inside_the_model_is_converted_too(images):
    class Inner(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.jit(PlainMLP)()(x)

    x = images.reshape(3, -1)[:, :8]
    v = Inner().init(jax.random.key(0), x)
    exact = Inner().apply(v, x)
    coarse = convert(Inner(), preset("int8", **{"store.bits": 2})).apply(v, x)
    fine = convert(Inner(), preset("int8", **{"store.bits": 12, "dac.bits": 16})).apply(v, x)
    assert float(jnp.abs(coarse - exact).max()) > 0.05
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

    x = jnp.ones((2, 3))
    v = Model().init(jax.random.key(0), x)
    analog = convert(Model(), preset("int8"))
    encoded = analog.apply(v, x, method=lambda m, x: m(x, method="encode"))
    assert encoded.shape == (2, 4)
    chip = analogsim.program(analog, v, jax.random.key(0), x)
    assert {p: q.hardware.name for p, q in programmed_leaves(chip.cells)} == {"encoder": "int8", "head": "ideal"}


def test_layers_given_as_attributes_keep_their_own_paths():
    """Linen moves such layers when scopes are shared; rules, chips and ranges must follow."""
    x = jax.random.normal(jax.random.key(0), (20, 4))
    model = nn.Sequential([nn.Dense(8), nn.relu, nn.Sequential([nn.Dense(3)])])
    v = model.init(jax.random.key(1), x)
    analog = convert(model, [("layers_0", None), ("layers_2/layers_0", PCM)])
    calibrated = analogsim.calibrate(analog, v, x)
    assert set(calibrated["ranges"]) == {"sample", "layers_2"}
    chip = analogsim.program(analog, calibrated, jax.random.key(2))
    assert [path for path, _ in programmed_leaves(chip.cells)] == ["layers_2/layers_0"]
    wide = jax.tree.map(lambda a: a, calibrated)
    wide["ranges"]["layers_2"]["layers_0"]["analog"]["output"] = 1e4  # an ADC step of 80: everything reads zero
    y = analog.apply(wide, x, rngs={"analog": jax.random.key(3)})
    np.testing.assert_allclose(y, np.broadcast_to(v["params"]["layers_2"]["layers_0"]["bias"], (20, 3)), atol=1e-6)


class Awkward(nn.Module):
    """A layer with a matrix at every position, and a product outside of any layer."""

    @nn.compact
    def __call__(self, x):
        x = nn.ConvLocal(4, (3,))(x)
        return nn.Dense(2)(x @ self.param("mixing", nn.initializers.normal(), (4, 3)))


def test_what_cannot_be_converted_is_named():
    x = jax.random.normal(jax.random.key(0), (2, 5, 3))
    v = Awkward().init(jax.random.key(1), x)
    remedy = r"; keep it digital with a first rule \('{}', None\), or pass strict=False"
    message = (
        r"layer ConvLocal_0 \(ConvLocal\) cannot run on analog hardware: it has a matrix of its own at every position"
    )
    with pytest.raises(InputError, match=message + remedy.format("ConvLocal_0")):
        convert(Awkward(), PCM).init(jax.random.key(1), x)
    message = (
        r"layer mixing \(parameter\) cannot run on analog hardware: the model multiplies with this parameter "
        r"outside of any layer that is known"
    )
    with pytest.raises(InputError, match=message + remedy.format("mixing")):
        convert(Awkward(), [("ConvLocal_0", None), (".*", PCM)]).apply(v, x, rngs={"analog": jax.random.key(2)})
    lenient = convert(Awkward(), [(".*", IDEAL)], strict=False)
    np.testing.assert_allclose(lenient.apply(v, x), Awkward().apply(v, x), atol=1e-5)
    chip = analogsim.program(convert(Awkward(), PCM, strict=False), v, jax.random.key(0), x)
    assert [path for path, _ in programmed_leaves(chip.cells)] == ["Dense_0"]


@pytest.mark.parametrize("layers", ["plain", "remat", "scan"])
def test_every_module_that_holds_a_layer_selects_it(layers):
    """Transformations run copies of modules that have no parent."""
    model, ids = Encoder(depth=1, layers=layers), jnp.ones((1, 6), int)
    v = jax.tree.map(lambda a: jnp.zeros(a.shape), jax.eval_shape(model.init, jax.random.key(0), ids))
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
    with pytest.raises(InputError, match=r"rule 'Dense_7' decides about no layer.*Conv_0, Conv_1, Dense_0"):
        convert(CNN(), [("Dense_7", PCM), (".*", IDEAL)]).apply(variables, images)
    with pytest.raises(InputError, match=r"rule 'Conv_0' decides about no layer"):  # shadowed by the first
        convert(CNN(), [(".*", IDEAL), ("Conv_0", None)]).apply(variables, images)


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
    plain = Nnx(nnx.Rngs(0))
    exact = plain(images)
    ideal = convert(plain, IDEAL)
    np.testing.assert_allclose(ideal(images), exact, rtol=1e-5, atol=1e-5)
    chip = analogsim.program(ideal, key=jax.random.key(0))
    assert set(chip.cells) == {"conv", "head", *(f"attention/{n}" for n in ("query", "key", "value", "out"))}
    np.testing.assert_allclose(analogsim.nnx.on_chip(ideal, chip)(images), exact, rtol=1e-5, atol=1e-5)

    ideal.head.kernel[...] = jnp.zeros_like(ideal.head.kernel[...])
    np.testing.assert_array_equal(plain(images), exact)  # the original keeps its own parameters
    with pytest.raises(InputError, match="decides about no layer"):
        convert(plain, [("nowhere", PCM), (".*", PCM)])
    first = convert(plain, [("conv", None), (".*", PCM)], rngs=nnx.Rngs(1))
    assert set(analogsim.nnx.analog_ops(first)) == set(chip.cells) - {"conv"}


def test_converters_that_a_chip_of_groups_was_fabricated_with_are_its_own():
    """Every tile has ADCs of its own; groups on tiles apart, too. Without mismatch they would all be alike."""
    adc = analogsim.converters.SARADC(bits=6, capacitor_mismatch=0.1)
    hardware = preset("ideal", rows=6, columns=4).replace(adc=adc, dac=analogsim.DAC(bits=8))
    layer, x = nn.Conv(8, (3,), feature_group_count=4), jax.random.normal(jax.random.key(0), (4, 6, 8))
    kernel = jnp.tile(jax.random.normal(jax.random.key(1), (3, 2, 2)), (1, 1, 4))  # all groups alike
    variables = {"params": {"kernel": kernel, "bias": jnp.zeros(8)}}
    model = convert(layer, hardware)
    calibrated = analogsim.calibrate(model, variables, jnp.tile(x[..., :2], 4))
    chip = analogsim.program(model, calibrated, jax.random.key(2))
    y = model.apply(chip.variables, jnp.tile(x[..., :2], 4)).reshape(4, 6, 4, 2)
    assert float(jnp.abs(y - y[:, :, :1]).max()) > 0.01
    exact = layer.apply(variables, jnp.tile(x[..., :2], 4)).reshape(4, 6, 4, 2)
    assert float(jnp.abs(y - exact).max()) < 0.3 * float(jnp.abs(exact).max())
