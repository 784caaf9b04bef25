"""Linen layers: drop-in for the digital ones, and right in each of their modes."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import analogsim
from analogsim import EnergyTable, InputError, preset, program
from analogsim.base import stream
from analogsim.linen import AnalogConv, AnalogDense
from analogsim.signal_path import Reading
from tests.support.models import MLP, PlainMLP, SmallCNN

PCM = preset("pcm")
# No staircase that would turn a difference of rounding between two programs into a whole code.
FINE = PCM.replace(**{"adc.bits": 24, "dac.bits": 24})
NOISELESS = preset(
    "pcm", **{"store.cell.programming_noise": 0.0, "store.cell.read_noise": 0.0, "adc": None, "dac": None}
)


KEY = jax.random.key(0)
KEYS = jax.random.split(jax.random.key(2), 40)


@pytest.fixture(scope="module")
def x():
    return jax.random.normal(KEY, (5, 8))


@pytest.fixture(scope="module")
def variables(x):
    return jax.jit(PlainMLP().init)(jax.random.key(1), x)


@pytest.fixture(scope="module")
def kernel(variables):
    return variables["params"]["Dense_0"]["kernel"]


@pytest.fixture(scope="module")
def chip(x, variables):
    return program(MLP(PCM), variables, KEY, x)


@pytest.fixture(scope="module")
def stack(x, variables):
    """Three chips."""
    return program(MLP(PCM), variables, KEYS[:3], x)


@pytest.fixture(scope="module")
def calibrated(x, variables):
    return analogsim.calibrate(MLP(PCM), variables, x)


@jax.jit
def forward(hardware, variables, x, key):
    return MLP(hardware).apply(variables, x, rngs={"analog": key})


@jax.jit
def dense(hardware, kernel, x, key):
    """The first layer alone, for what one layer shows as well."""
    return nn.Dense(6, use_bias=False, dot_general_cls=analogsim.linen.dot_general_hook(hardware)).apply(
        {"params": {"kernel": kernel}}, x, rngs={"analog": key}
    )


plain = jax.jit(PlainMLP().apply)
many = jax.jit(jax.vmap(dense, in_axes=(None, None, None, 0)))


def test_parameters_are_the_digital_models(x):
    mine, plains = jax.jit(lambda k, x: (MLP(PCM).init(k, x), PlainMLP().init(k, x)))(jax.random.key(1), x)
    assert jax.tree.structure(mine) == jax.tree.structure(plains)
    jax.tree.map(np.testing.assert_array_equal, mine, plains)


@pytest.mark.parametrize("rows", [65536, 3])
def test_ideal_hardware_is_the_plain_layer(x, variables, rows):
    """Outputs of a batch, of rows one by one under vmap, and gradients."""
    analog = MLP(preset("ideal", rows=rows))

    def with_gradients(model, v, x):
        def loss(v, x):
            y = model.apply(v, x)
            return (y**2).sum(), y

        return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(v, x)

    @jax.jit
    def run(v, x):
        one_by_one = jax.vmap(lambda row: analog.apply(v, row))(x)
        return with_gradients(analog, v, x), with_gradients(PlainMLP(), v, x), one_by_one

    ((_, y), mine), ((_, exact), plains), one_by_one = run(variables, x)
    np.testing.assert_allclose(y, exact, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(one_by_one, exact, rtol=2e-6, atol=2e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), mine, plains)


def test_digital_mode_is_exact_also_after_an_analog_compilation(x, variables):
    noisy = forward(PCM, variables, x, jax.random.key(3))
    with analogsim.digital():
        exact = forward(PCM, variables, x, jax.random.key(3))
    again = forward(PCM, variables, x, jax.random.key(3))
    np.testing.assert_array_equal(exact, plain(variables, x))
    np.testing.assert_array_equal(noisy, again)
    assert np.abs(noisy - exact).max() > 1e-3


def test_training_draws_a_fresh_chip_for_every_key(x, kernel):
    outputs = np.asarray(many(FINE, kernel, x, KEYS))
    assert len(np.unique(outputs[:, 0, 0])) == 40
    np.testing.assert_allclose(dense(FINE, kernel, x, KEYS[7]), outputs[7], rtol=1e-5, atol=1e-5)


def test_equal_layers_of_a_model_are_different_chips(x, kernel):
    class Twins(nn.Module):
        @nn.compact
        def __call__(self, x):
            return [AnalogDense(6, use_bias=False, hardware=FINE, name=name)(x) for name in ("one", "other")]

    variables = {"params": {name: {"kernel": kernel} for name in ("one", "other")}}
    outputs = jax.jit(lambda key: Twins().apply(variables, x, rngs={"analog": key}))(KEY)
    one, other = (np.ravel(np.asarray(y) - np.asarray(x) @ np.asarray(kernel)) for y in outputs)
    assert min(np.abs(one).max(), np.abs(other).max()) > 1e-3  # both are wrong,
    assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(one.size)  # each by its own errors


def test_training_noise_has_the_published_size():
    """One weight of 1 on an otherwise ideal PCM pair: y = (g+ - g-)/g_max, each cell with its programming spread."""
    hw = NOISELESS.replace(**{"store.cell.programming_noise": 1.0, "store.cell.drift": 0.0}, drift_compensation="none")
    layer = nn.Dense(1, use_bias=False, dot_general_cls=analogsim.linen.dot_general_hook(hw))
    kernel, one = {"params": {"kernel": np.ones((1, 1), np.float32)}}, np.ones((1, 1), np.float32)

    @jax.jit
    def draw(key):
        return jax.vmap(lambda k: layer.apply(kernel, one, rngs={"analog": k}))(jax.random.split(key, 4000))

    y = np.asarray(draw(KEY)).ravel()
    sigma_on = (0.26348 + 1.9650 - 1.1731) / 25  # the plus cell at g_max
    sigma_off = 0.26348 / 25  # the minus cell at 0, cut off at 0: mean s/sqrt(2 pi), variance s^2 (1/2 - 1/(2 pi))
    mean = 1 - sigma_off / np.sqrt(2 * np.pi)
    std = np.sqrt(sigma_on**2 + sigma_off**2 * (0.5 - 0.5 / np.pi))
    assert abs(y.mean() - mean) < 4 * std / np.sqrt(4000)
    assert abs(y.std() / std - 1) < 4 / np.sqrt(2 * 4000)


def test_gradients_pass_straight_through_a_chip(x, variables):
    """Without converters and noise the chip's layer has d(sum y)/dW = sum of inputs, whatever the cells hold."""
    layer, v = AnalogDense(6, hardware=NOISELESS), {"params": variables["params"]["Dense_0"]}
    chip = program(layer, v, jax.random.key(1), x).at("1 year")

    @jax.jit
    @jax.grad
    def gradient(params):
        return layer.apply({**chip.variables, "params": params}, x, rngs={"analog": KEY}).sum()

    kernel = gradient(v["params"])["kernel"]
    # Sums of five numbers of about 1 in float32.
    np.testing.assert_allclose(kernel, np.broadcast_to(np.asarray(x).sum(0)[:, None], (8, 6)), rtol=1e-5, atol=1e-6)


def test_a_chip_is_one_trajectory(x, variables):
    hardware = NOISELESS.replace(drift_compensation="none")
    chip = program(MLP(hardware), variables, jax.random.key(4), x)
    outs = [forward(hardware, chip.at(t).variables, x, KEY) for t in ("1 day", "1 s", "1 year", "1 day")]
    np.testing.assert_array_equal(outs[0], outs[3])
    fresh = forward(hardware, chip.variables, x, KEY)
    np.testing.assert_allclose(fresh, plain(variables, x), rtol=1e-4, atol=1e-5)


def test_the_same_key_gives_the_same_chip_alone_or_in_a_stack(x, variables, stack):
    alone = program(MLP(PCM), variables, KEYS[1], x).at("1 day")
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(np.asarray(a)[1], b, rtol=1e-5, atol=1e-12),
        stack.at("1 day").readings,
        alone.readings,
    )


def test_a_stack_of_chips_is_mapped_over_in_one_call(x, variables, stack):
    def run(chip):
        return MLP(PCM).apply(chip.at("1 day").variables, x, rngs={"analog": jax.random.key(1)})

    together = jax.jit(lambda chips: jax.vmap(run, in_axes=(chips.axes,))(chips))(stack)
    assert together.shape == (3, 5, 3)
    alone = program(MLP(PCM), variables, KEYS[2], x).at("1 day")
    one = forward(PCM, alone.variables, x, jax.random.key(1))
    np.testing.assert_allclose(np.asarray(together)[2], one, rtol=1e-4, atol=1e-4)


def test_inputs_of_every_kind(variables):
    def output(x):
        return jax.eval_shape(forward, PCM, variables, x, KEY)

    assert output(np.ones((0, 8), np.float32)).shape == (0, 3)
    assert output(np.ones(8, np.float32)).shape == (3,)
    assert output(np.ones((2, 8), int)).dtype == jnp.float32


def test_jit_and_eager_agree(x, chip):
    aged = chip.at("1 h").variables
    eager = MLP(PCM).apply(aged, x, rngs={"analog": KEY})
    np.testing.assert_allclose(eager, forward(PCM, aged, x, KEY), rtol=1e-4, atol=1e-4)


def test_one_compilation_for_a_sweep_over_noise_levels(x, kernel):
    traces, exact, levels = [], np.asarray(x) @ np.asarray(kernel), (0.5, 1.0, 2.0, 4.0)

    def error(level):
        return of_hardware(FINE.replace(**{"store.cell.programming_noise": level, "adc.noise": 0.01 * level}))

    @jax.jit
    def of_hardware(hardware):
        traces.append(1)
        return jnp.abs(dense(hardware, kernel, x, KEY) - exact).mean()

    errors = [error(level) for level in levels]
    assert len(traces) == 1
    assert errors[0] < errors[3]
    np.testing.assert_allclose(jax.jit(jax.vmap(error))(np.array(levels, np.float32)), np.stack(errors), rtol=1e-4)


def test_gradient_with_respect_to_the_hardware_is_its_sensitivity(x, kernel):
    """More programming noise must cost: the gradient agrees with finite differences on the same draws."""
    exact = np.asarray(x) @ np.asarray(kernel)

    @jax.jit
    @jax.value_and_grad
    def loss(scale):
        hw = NOISELESS.replace(**{"store.cell.programming_noise": scale})
        return ((dense(hw, kernel, x, jax.random.key(3)) - exact) ** 2).sum()

    (above, _), (below, _), (_, gradient) = (loss(scale) for scale in (1.0 + 1e-2, 1.0 - 1e-2, 1.0))
    assert gradient > 0
    np.testing.assert_allclose(gradient, (above - below) / 2e-2, rtol=5e-2)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_low_precision_inputs_keep_their_dtype_and_the_physics(x, kernel, dtype):
    layer = AnalogDense(6, use_bias=False, hardware=FINE, dtype=dtype)
    v, rngs = {"params": {"kernel": kernel}}, {"analog": jax.random.key(1)}
    y = jax.jit(lambda x: layer.apply(v, x, rngs=rngs))(x.astype(dtype))
    assert y.dtype == dtype
    reference = np.asarray(dense(FINE, kernel, x, jax.random.key(1)))
    # The same chip and noise; what differs is the rounding of inputs and weights to the dtype's 2^-8, eight terms.
    assert np.abs(np.asarray(y, np.float32) - reference).max() < 8 * 2**-8


def test_convolution_with_many_tiles_equals_one_tile():
    @jax.jit
    def outputs(x):
        v = SmallCNN().init(jax.random.key(1), x)
        return [SmallCNN(hw).apply(v, x) for hw in (None, preset("ideal"), preset("ideal", rows=7))]

    exact, one, several = outputs(np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32))
    np.testing.assert_allclose(one, exact, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(several, exact, rtol=1e-5, atol=1e-5)


def test_remat_scan_and_a_layer_used_twice(x):
    class Block(nn.Module):
        @nn.compact
        def __call__(self, carry, _):
            return nn.tanh(AnalogDense(8, hardware=PCM)(carry)), None

    class Deep(nn.Module):
        @nn.compact
        def __call__(self, x):
            scanned = nn.scan(
                nn.remat(Block),
                variable_axes={"params": 0, "analog": 0},
                split_rngs={"params": True, "analog": True},
                length=3,
            )
            x, _ = scanned()(x, None)
            shared = AnalogDense(8, hardware=PCM)
            return shared(shared(x))

    model = Deep()
    v = jax.jit(model.init)(KEY, x)
    chip = program(model, v, jax.random.key(2), x).at("1 day")
    run = jax.jit(lambda v: model.apply(v, x, rngs={"analog": jax.random.key(1)}))
    assert jax.eval_shape(run, v).shape == (5, 8)
    y = run(chip.variables)
    with analogsim.digital():
        exact = run(v)
    arrays = jax.tree.leaves(chip.readings, is_leaf=lambda node: isinstance(node, Reading))
    shapes = {reading.mean.shape for reading in arrays if isinstance(reading, Reading)}
    assert shapes == {(3, 1, 1, 8, 8), (1, 1, 8, 8)}  # three scanned layers, one shared one
    assert np.abs(y - exact).max() < 0.6


def test_sharding_chips_over_devices_changes_nothing(x, kernel):
    mesh = jax.make_mesh((4,), ("chips",), axis_types=(jax.sharding.AxisType.Auto,))
    sharded = jax.device_put(KEYS, jax.NamedSharding(mesh, jax.sharding.PartitionSpec("chips")))
    np.testing.assert_allclose(many(FINE, kernel, x, sharded), many(FINE, kernel, x, KEYS), rtol=1e-5, atol=1e-5)


def test_calibrated_ranges_are_used_and_never_mix_with_parameters(x, variables, calibrated):
    assert set(calibrated) == {"params", "ranges"}
    assert float(calibrated["ranges"]["Dense_0"]["analog"]["input"]) == pytest.approx(
        np.quantile(np.abs(x), 0.9998), rel=1e-5
    )
    narrow = jax.tree.map(lambda a: a, calibrated)
    narrow["ranges"]["Dense_0"]["analog"]["input"] = jnp.float32(1e-3)
    y, wide = (np.asarray(forward(PCM, v, x, KEY)) for v in (narrow, calibrated))
    bias = np.asarray(variables["params"]["Dense_1"]["bias"])
    assert np.abs(y - bias).max() < 0.2 < np.abs(wide - bias).max()


def test_program_needs_no_input_after_calibration(x, calibrated):
    with_x = program(MLP(PCM), calibrated, KEY, x)
    without = program(MLP(PCM), calibrated, KEY)
    jax.tree.map(np.testing.assert_array_equal, with_x.cells, without.cells)


def test_bfloat16_model_programs_float32_cells(x, variables):
    layer = AnalogDense(6, hardware=PCM, dtype=jnp.bfloat16)
    cells = jax.eval_shape(lambda v: program(layer, v, KEY, x).cells, {"params": variables["params"]["Dense_0"]})
    assert {str(a.dtype) for a in jax.tree.leaves(cells["analog"]["array"].state)} == {"float32"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda v, x: MLP(PCM).apply(v, x), "layer Dense_0 runs on 'pcm' hardware and needs a random key"),
        (lambda v, x: program(MLP(PCM), v, None, x), "key = None: must be a random key"),
        (lambda v, x: program(MLP(PCM), v, 7, x), "key = 7: must be a random key"),
        (
            lambda v, x: program(MLP(PCM), v, jax.random.key(0)),
            "x = None: the layers of a Linen model are known from the shape",
        ),
        (lambda v, x: program(MLP(PCM), v, jax.random.key(0), x[:, :5]), "the input's width does not fit"),
        (lambda v, x: program(MLP(None), v, jax.random.key(0), x), "the model has no analog layer"),
        (lambda v, x: program(MLP(PCM), {"weights": 1}, jax.random.key(0), x), "must be a Linen model's variables"),
        (lambda v, x: program("model", v, jax.random.key(0), x), "must be a flax.linen or flax.nnx module"),
        (
            lambda v, x: program(MLP(PCM), jax.tree.map(lambda a: np.full_like(a, np.nan), v), jax.random.key(0), x),
            "hold NaN or infinity",
        ),
        (lambda v, x: AnalogDense(3, hardware="pcm"), "must be a Hardware such as preset('pcm')"),
        (lambda v, x: AnalogConv(3, (3,), hardware=3), "must be a Hardware such as preset('pcm')"),
        (lambda v, x: analogsim.calibrate(MLP(PCM), v, x, quantile=0.1), "quantile = 0.1: must be at least 0.5"),
    ],
)
def test_bad_input_is_one_clear_sentence(variables, x, call, message):
    with pytest.raises(InputError, match=r".*") as error:
        call(variables, x)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_chip_of_other_hardware_or_shape_is_refused(x, variables, chip):
    rngs = {"analog": jax.random.key(1)}
    with pytest.raises(InputError, match="programmed for hardware 'pcm', the layer is on 'reram'"):
        MLP(preset("reram")).apply(chip.variables, x, rngs=rngs)
    with pytest.raises(InputError, match="needs a random key"):
        MLP(PCM).apply(chip.variables, x)
    wrong = dataclasses.replace(chip, readings={**chip.readings, "Dense_1": chip.readings["Dense_0"]})
    with pytest.raises(InputError, match="holds a 8 x 6 matrix, the model's is 6 x 3"):
        MLP(PCM).apply(wrong.variables, x, rngs=rngs)
    with pytest.raises(InputError, match=r"not a reading; pass chip\.variables"):
        MLP(PCM).apply({**variables, "analog": chip.cells}, x, rngs=rngs)


def test_times_are_checked(x, variables, chip):
    for bad, message in (
        (-1, "time = -1: must be finite and at least 0"),
        ("3 parsec", "unknown unit 'parsec'"),
        (1e30, r"time = 1e\+30: must be at most 1e\+12, that is 31700 years"),
    ):
        with pytest.raises(InputError, match=message):
            chip.at(bad)
    with pytest.raises(InputError, match="did you mean 'global'"):
        chip.at(1, compensation="globl")
    layer = AnalogDense(6, hardware=preset("reram"))
    short = program(layer, {"params": variables["params"]["Dense_0"]}, KEY, x)
    short.at("2 days")
    with pytest.raises(InputError, match="data only from 0 to 172800"):
        short.at("3 days")


def test_streams_are_independent_of_each_other(x, variables, chip):
    """Switching read noise off must not change what was fabricated."""
    read, write = (jax.random.key_data(stream(KEY, name)) for name in ("read noise", "programming noise"))
    assert not np.array_equal(read, write)
    quiet = program(MLP(PCM.replace(**{"store.cell.read_noise": 0.0})), variables, KEY, x)
    loud, silent = (c.cells["Dense_0"]["analog"]["array"].state.cells for c in (chip, quiet))
    np.testing.assert_array_equal(loud.conductance, silent.conductance)
    np.testing.assert_array_equal(loud.drift_exponent, silent.drift_exponent)


def test_prices_are_part_of_the_hardware():
    assert PCM.replace(energy_table=EnergyTable(read_voltage_v="300 mV")).energy_table.read_voltage_v == 0.3


# --- one chip, one value, one key ------------------------------------------------------------------------------------


def test_a_stack_of_chips_is_refused_without_vmap(x, stack):
    """Mapped over with vmap it runs: see above."""
    for chips in (stack, stack.at("1 day")):
        with pytest.raises(InputError, match=r"layer Dense_\d: these readings are a stack of 3, .*chips\.axes"):
            MLP(PCM).apply(chips.variables, x, rngs={"analog": jax.random.key(1)})


def test_a_swept_number_is_refused_without_vmap(x, variables, chip):
    rngs = {"analog": jax.random.key(1)}
    swept = MLP(preset("pcm", **{"adc.bits": np.array([4, 8])}))
    with pytest.raises(InputError, match=r"ADC.range: an array of shape \(2,\): a layer takes one value"):
        MLP(preset("pcm", **{"adc.range": np.array([4.0, 8.0])})).apply(variables, x, rngs=rngs)
    with pytest.raises(InputError, match=r"ADC.bits: an array of shape \(2,\): a layer takes one value; .*jax\.vmap"):
        swept.apply(variables, x, rngs=rngs)
    with pytest.raises(InputError, match=r"ADC\.bits: an array"):
        program(swept, variables, KEY, x)
    with pytest.raises(InputError, match=r"ADC\.bits: an array"):  # the converters are the layer's
        swept.apply(chip.variables, x, rngs=rngs)

    def outputs(bits):
        return MLP(preset("pcm", **{"adc.bits": bits})).apply(variables, x, rngs=rngs)

    assert jax.eval_shape(jax.vmap(outputs), np.array([4, 8])).shape == (2, 5, 3)


@pytest.mark.parametrize("shape", [(2, 2), (0,)])
def test_a_chip_takes_one_key_or_a_row_of_them(x, variables, shape):
    keys = jax.random.split(jax.random.key(0), shape)
    with pytest.raises(
        InputError, match=r"key: an array of keys of shape \(.*\): must be one key, or a row of n_chips"
    ):
        program(MLP(PCM), variables, keys, x)


def test_swapped_arguments_are_named_in_one_short_sentence(x, variables):
    with pytest.raises(InputError, match=r"the order is program\(model, variables, key, x\)"):
        program(MLP(PCM), jax.random.key(0), variables, x)
    with pytest.raises(InputError) as error:
        program(MLP(PCM), variables, variables, x)
    assert str(error.value) == "key = a dict: must be a random key, for example jax.random.key(0)"


@pytest.mark.parametrize("read_noise", ["no", 0, None])
def test_read_noise_is_true_or_false(chip, read_noise):
    with pytest.raises(InputError, match=r"read_noise = .*: must be True or False"):
        chip.at(1, read_noise=read_noise)
