"""Linen layers: drop-in for the digital ones, and right in each of their modes."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import analogsim
from analogsim import InputError, Prices, preset, program
from analogsim.devices.random import stream
from analogsim.linen import AnalogConv, AnalogDense
from analogsim.tiles import Reading
from tests.models import MLP, PlainMLP, SmallCNN

PCM = preset("pcm")
NOISELESS = preset(
    "pcm", **{"store.cell.programming_noise": 0.0, "store.cell.read_noise": 0.0, "adc": None, "dac": None}
)


@pytest.fixture(scope="module")
def x():
    return jax.random.normal(jax.random.key(0), (5, 8))


@pytest.fixture(scope="module")
def variables(x):
    return PlainMLP().init(jax.random.key(1), x)


def test_parameters_are_the_digital_models(x, variables):
    mine = MLP(PCM).init(jax.random.key(1), x)
    assert jax.tree.structure(mine) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, mine, variables)


@pytest.mark.parametrize("rows", [65536, 3])
def test_ideal_hardware_is_the_plain_layer(x, variables, rows):
    analog, plain = MLP(preset("ideal", rows=rows)), PlainMLP()
    np.testing.assert_allclose(analog.apply(variables, x), plain.apply(variables, x), rtol=2e-6, atol=2e-6)

    def loss(model):
        return lambda v, x: (model.apply(v, x) ** 2).sum()

    mine = jax.jit(jax.grad(loss(analog), argnums=(0, 1)))(variables, x)
    plains = jax.jit(jax.grad(loss(plain), argnums=(0, 1)))(variables, x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), mine, plains)


def test_ideal_hardware_under_vmap(x, variables):
    model = MLP(preset("ideal"))
    one_by_one = jax.vmap(lambda row: model.apply(variables, row))(x)
    np.testing.assert_allclose(one_by_one, PlainMLP().apply(variables, x), rtol=2e-6, atol=2e-6)


def test_digital_mode_is_exact_also_after_an_analog_compilation(x, variables):
    run = jax.jit(lambda v, x, k: MLP(PCM).apply(v, x, rngs={"analog": k}))
    noisy = run(variables, x, jax.random.key(3))
    with analogsim.digital():
        exact = run(variables, x, jax.random.key(3))
    again = run(variables, x, jax.random.key(3))
    np.testing.assert_array_equal(exact, jax.jit(PlainMLP().apply)(variables, x))
    np.testing.assert_array_equal(noisy, again)
    assert float(jnp.abs(noisy - exact).max()) > 1e-3


def test_training_draws_a_fresh_chip_for_every_key_and_layer(x, variables):
    model = MLP(PCM)
    outputs = jax.vmap(lambda k: model.apply(variables, x, rngs={"analog": k}))(jax.random.split(jax.random.key(2), 40))
    assert len(np.unique(np.asarray(outputs[:, 0, 0]))) == 40
    same = model.apply(variables, x, rngs={"analog": jax.random.split(jax.random.key(2), 40)[7]})
    np.testing.assert_allclose(same, outputs[7], rtol=1e-5, atol=1e-5)


def test_training_noise_has_the_published_size():
    """One weight of 1 on an otherwise ideal PCM pair: y = (g+ - g-)/g_max, each cell with its programming spread."""
    hw = NOISELESS.replace(**{"store.cell.programming_noise": 1.0, "store.cell.drift": 0.0}, drift_compensation="none")
    layer = nn.Dense(1, use_bias=False, dot_general_cls=analogsim.linen.dot_general_hook(hw))
    kernel = {"params": {"kernel": jnp.ones((1, 1))}}
    keys = jax.random.split(jax.random.key(0), 4000)
    y = np.asarray(jax.vmap(lambda k: layer.apply(kernel, jnp.ones((1, 1)), rngs={"analog": k}))(keys)).ravel()
    sigma_on = (0.26348 + 1.9650 - 1.1731) / 25  # the plus cell at g_max
    sigma_off = 0.26348 / 25  # the minus cell at 0, cut off at 0: mean s/sqrt(2 pi), variance s^2 (1/2 - 1/(2 pi))
    mean = 1 - sigma_off / np.sqrt(2 * np.pi)
    std = np.sqrt(sigma_on**2 + sigma_off**2 * (0.5 - 0.5 / np.pi))
    assert abs(y.mean() - mean) < 4 * std / np.sqrt(4000)
    assert abs(y.std() / std - 1) < 4 / np.sqrt(2 * 4000)


def test_gradients_pass_straight_through_a_chip(x, variables):
    """Without converters and noise the chip's layer has d(sum y)/dW = sum of inputs, whatever the cells hold."""
    layer = AnalogDense(3, hardware=NOISELESS)
    v = layer.init(jax.random.key(0), x)
    chip = program(layer, v, jax.random.key(1), x)

    def loss(params):
        out = layer.apply({**chip.at("1 year").variables, "params": params}, x, rngs={"analog": jax.random.key(0)})
        return out.sum()

    grads = jax.grad(loss)(v["params"])
    np.testing.assert_allclose(grads["kernel"], np.broadcast_to(x.sum(0)[:, None], (8, 3)), rtol=1e-5)


def test_a_chip_is_one_trajectory(x, variables):
    model = MLP(NOISELESS.replace(drift_compensation="none"))
    chip = program(model, variables, jax.random.key(4), x)
    times = ["1 day", "1 s", "1 year", "1 day"]
    outs = [model.apply(chip.at(t).variables, x, rngs={"analog": jax.random.key(0)}) for t in times]
    np.testing.assert_array_equal(outs[0], outs[3])
    np.testing.assert_allclose(
        model.apply(chip.variables, x, rngs={"analog": jax.random.key(0)}),
        PlainMLP().apply(variables, x),
        rtol=1e-4,
        atol=1e-5,
    )


def test_the_same_key_gives_the_same_chip_alone_or_in_a_stack(x, variables):
    model = MLP(PCM)
    keys = jax.random.split(jax.random.key(5), 3)
    stack = program(model, variables, keys, x).at("1 day")
    single = program(model, variables, keys[1], x).at("1 day")
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(np.asarray(a)[1], b, rtol=1e-5, atol=1e-12),
        stack.readings,
        single.readings,
    )


def test_a_stack_of_chips_is_mapped_over_in_one_call(x, variables):
    model, keys = MLP(PCM), jax.random.split(jax.random.key(5), 3)

    def run(chip):
        return model.apply(chip.at("1 day").variables, x, rngs={"analog": jax.random.key(1)})

    stack = program(model, variables, keys, x)
    together = jax.jit(lambda chips: jax.vmap(run, in_axes=(chips.axes,))(chips))(stack)
    alone = run(program(model, variables, keys[2], x))
    np.testing.assert_allclose(together[2], alone, rtol=1e-4, atol=1e-4)


def test_inputs_of_every_kind(x, variables):
    model, rngs = MLP(PCM), {"analog": jax.random.key(0)}
    assert model.apply(variables, jnp.ones((0, 8)), rngs=rngs).shape == (0, 3)
    assert model.apply(variables, jnp.ones(8), rngs=rngs).shape == (3,)
    assert model.apply(variables, jnp.ones((2, 8), int), rngs=rngs).dtype == jnp.float32


def test_jit_and_eager_agree(x, variables):
    model, key = MLP(PCM), jax.random.key(8)
    chip = program(model, variables, key, x).at("1 h")
    eager = model.apply(chip.variables, x, rngs={"analog": key})
    jitted = jax.jit(lambda v: model.apply(v, x, rngs={"analog": key}))(chip.variables)
    np.testing.assert_allclose(eager, jitted, rtol=1e-4, atol=1e-4)


def test_one_compilation_for_a_sweep_over_noise_levels(x, variables):
    traces = []

    @jax.jit
    def error(hardware, key):
        traces.append(1)
        y = MLP(hardware).apply(variables, x, rngs={"analog": key})
        return jnp.abs(y - PlainMLP().apply(variables, x)).mean()

    errors = [
        error(PCM.replace(**{"store.cell.programming_noise": s, "adc.noise": 0.01 * s}), jax.random.key(0))
        for s in (0.5, 1.0, 2.0, 4.0)
    ]
    assert len(traces) == 1
    assert errors[0] < errors[3]

    levels = jnp.array([0.5, 1.0, 2.0, 4.0])
    swept = jax.vmap(
        lambda s: error.__wrapped__(
            PCM.replace(**{"store.cell.programming_noise": s, "adc.noise": 0.01 * s}), jax.random.key(0)
        )
    )(levels)
    np.testing.assert_allclose(swept, jnp.stack(errors), rtol=1e-4)


def test_gradient_with_respect_to_the_hardware_is_its_sensitivity(x, variables):
    """More programming noise must cost: the slope agrees with finite differences on the same draws."""

    def loss(scale):
        hw = NOISELESS.replace(**{"store.cell.programming_noise": scale})
        y = MLP(hw).apply(variables, x, rngs={"analog": jax.random.key(3)})
        return ((y - PlainMLP().apply(variables, x)) ** 2).sum()

    slope = jax.grad(loss)(1.0)
    finite = (loss(1.0 + 1e-2) - loss(1.0 - 1e-2)) / 2e-2
    assert slope > 0
    np.testing.assert_allclose(slope, finite, rtol=5e-2)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_low_precision_inputs_keep_their_dtype_and_the_physics(x, variables, dtype):
    fine = PCM.replace(**{"adc.bits": 16, "dac.bits": 16})
    layer32, layer16 = AnalogDense(3, hardware=fine), AnalogDense(3, hardware=fine, dtype=dtype)
    v = layer32.init(jax.random.key(0), x)
    y = layer16.apply(v, x.astype(dtype), rngs={"analog": jax.random.key(1)})
    assert y.dtype == dtype
    reference = layer32.apply(v, x, rngs={"analog": jax.random.key(1)})
    # The same chip and noise; what differs is the rounding of inputs and weights to the dtype's 2^-8, eight terms.
    assert float(jnp.abs(y.astype(jnp.float32) - reference).max()) < 8 * 2**-8


def test_convolution_with_many_tiles_equals_one_tile():
    x = jax.random.normal(jax.random.key(0), (2, 6, 6, 3))
    v = SmallCNN().init(jax.random.key(1), x)
    plain = SmallCNN().apply(v, x)
    for rows in (65536, 7):
        np.testing.assert_allclose(SmallCNN(preset("ideal", rows=rows)).apply(v, x), plain, rtol=1e-5, atol=1e-5)


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
    v = model.init(jax.random.key(0), x)
    assert model.apply(v, x, rngs={"analog": jax.random.key(1)}).shape == (5, 8)
    chip = program(model, v, jax.random.key(2), x).at("1 day")
    y = model.apply(chip.variables, x, rngs={"analog": jax.random.key(1)})
    with analogsim.digital():
        exact = model.apply(v, x)
    shapes = {r.mean.shape for r in jax.tree.leaves(chip.readings, is_leaf=lambda n: isinstance(n, Reading))}
    assert shapes == {(3, 1, 1, 8, 8), (1, 1, 8, 8)}  # three scanned layers, one shared one
    assert float(jnp.abs(y - exact).max()) < 0.6


def test_sharding_chips_over_devices_changes_nothing(x, variables):
    mesh = jax.make_mesh((4,), ("chips",), axis_types=(jax.sharding.AxisType.Auto,))
    keys = jax.random.split(jax.random.key(0), 8)
    sharded = jax.device_put(keys, jax.NamedSharding(mesh, jax.sharding.PartitionSpec("chips")))

    @jax.jit
    def run(keys):
        return jax.vmap(lambda k: MLP(PCM).apply(variables, x, rngs={"analog": k}))(keys)

    np.testing.assert_allclose(run(sharded), run(keys), rtol=1e-5, atol=1e-5)


def test_calibrated_ranges_are_used_and_never_mix_with_parameters(x, variables):
    calibrated = analogsim.calibrate(MLP(PCM), variables, x)
    assert set(calibrated) == {"params", "ranges"}
    assert float(calibrated["ranges"]["Dense_0"]["analog"]["input"]) == pytest.approx(
        float(jnp.quantile(jnp.abs(x), 0.9998)), rel=1e-5
    )
    narrow = jax.tree.map(lambda a: a, calibrated)
    narrow["ranges"]["Dense_0"]["analog"]["input"] = jnp.float32(1e-3)
    y = MLP(PCM).apply(narrow, x, rngs={"analog": jax.random.key(0)})
    wide = MLP(PCM).apply(calibrated, x, rngs={"analog": jax.random.key(0)})
    bias = variables["params"]["Dense_1"]["bias"]
    assert float(jnp.abs(y - bias).max()) < 0.2 < float(jnp.abs(wide - bias).max())


def test_program_needs_no_input_after_calibration(x, variables):
    calibrated = analogsim.calibrate(MLP(PCM), variables, x)
    with_x = program(MLP(PCM), calibrated, jax.random.key(0), x)
    without = program(MLP(PCM), calibrated, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, with_x.cells, without.cells)


def test_bfloat16_model_programs_float32_cells(x):
    layer = AnalogDense(3, hardware=PCM, dtype=jnp.bfloat16)
    v = layer.init(jax.random.key(0), x)
    chip = program(layer, v, jax.random.key(1), x)
    assert {str(a.dtype) for a in jax.tree.leaves(chip.cells["analog"]["array"].state)} == {"float32"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda v, x: MLP(PCM).apply(v, x), "layer Dense_0 runs on 'pcm' hardware and needs a random key"),
        (lambda v, x: program(MLP(PCM), v, None, x), "key = None: must be a random key"),
        (lambda v, x: program(MLP(PCM), v, 7, x), "key = 7: must be a random key"),
        (lambda v, x: program(MLP(PCM), v, jax.random.key(0)), "x = None: a Linen model is programmed from the shape"),
        (lambda v, x: program(MLP(PCM), v, jax.random.key(0), x[:, :5]), "the input's width does not fit"),
        (lambda v, x: program(MLP(None), v, jax.random.key(0), x), "the model has no analog layer"),
        (lambda v, x: program(MLP(PCM), {"weights": 1}, jax.random.key(0), x), "must be a Linen model's variables"),
        (lambda v, x: program("model", v, jax.random.key(0), x), "must be a flax.linen or flax.nnx module"),
        (
            lambda v, x: program(MLP(PCM), jax.tree.map(lambda a: a / 0, v), jax.random.key(0), x),
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


def test_a_chip_of_other_hardware_or_shape_is_refused(x, variables):
    chip = program(MLP(PCM), variables, jax.random.key(0), x)
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


def test_times_are_checked(x, variables):
    chip = program(MLP(PCM), variables, jax.random.key(0), x)
    for bad, message in ((-1, "time = -1: must be finite and at least 0"), ("3 parsec", "unknown unit 'parsec'")):
        with pytest.raises(InputError, match=message):
            chip.at(bad)
    with pytest.raises(InputError, match="did you mean 'global'"):
        chip.at(1, compensation="globl")
    short = program(MLP(preset("reram")), variables, jax.random.key(0), x)
    short.at("2 days")
    with pytest.raises(InputError, match="data only from 0 to 172800"):
        short.at("3 days")


def test_streams_are_independent_of_each_other():
    """Switching read noise off must not change what was fabricated."""
    key = jax.random.key(0)
    assert not bool(jnp.array_equal(stream(key, "read noise"), stream(key, "programming noise")))
    x, v = jnp.ones((1, 8)), PlainMLP().init(jax.random.key(1), jnp.ones((1, 8)))
    loud = program(MLP(PCM), v, key, x).cells["Dense_0"]["analog"]["array"].state.cells
    silent = (
        program(MLP(PCM.replace(**{"store.cell.read_noise": 0.0})), v, key, x)
        .cells["Dense_0"]["analog"]["array"]
        .state.cells
    )
    np.testing.assert_array_equal(loud.conductance, silent.conductance)
    np.testing.assert_array_equal(loud.drift_exponent, silent.drift_exponent)


def test_prices_are_part_of_the_hardware():
    assert PCM.replace(prices=Prices(read_voltage_v="300 mV")).prices.read_voltage_v == 0.3


# --- one chip, one value, one key ------------------------------------------------------------------------------------


def test_a_stack_of_chips_is_refused_without_vmap(x, variables):
    rngs = {"analog": jax.random.key(1)}
    chips = program(MLP(PCM), variables, jax.random.split(jax.random.key(0), 3), x)
    for stack in (chips, chips.at("1 day")):
        with pytest.raises(InputError, match=r"layer Dense_\d: these readings are a stack of 3, .*chips\.axes"):
            MLP(PCM).apply(stack.variables, x, rngs=rngs)
    run = jax.vmap(lambda chip: MLP(PCM).apply(chip.variables, x, rngs=rngs), in_axes=(chips.axes,))
    assert run(chips).shape == (3, 5, 3)


def test_a_swept_number_is_refused_without_vmap(x, variables):
    rngs = {"analog": jax.random.key(1)}
    swept = MLP(preset("pcm", **{"adc.bits": np.array([4, 8])}))
    with pytest.raises(InputError, match=r"ADC.bits: an array of shape \(2,\): a layer takes one value; .*jax\.vmap"):
        swept.apply(variables, x, rngs=rngs)
    with pytest.raises(InputError, match=r"ADC\.bits: an array"):
        program(swept, variables, jax.random.key(0), x)
    chip = program(MLP(PCM), variables, jax.random.key(0), x)
    with pytest.raises(InputError, match=r"ADC\.bits: an array"):  # the converters are the layer's
        swept.apply(chip.variables, x, rngs=rngs)

    def outputs(bits):
        return MLP(preset("pcm", **{"adc.bits": bits})).apply(variables, x, rngs=rngs)

    assert jax.vmap(outputs)(jnp.array([4, 8])).shape == (2, 5, 3)


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
def test_read_noise_is_true_or_false(x, variables, read_noise):
    chip = program(MLP(PCM), variables, jax.random.key(0), x)
    with pytest.raises(InputError, match=r"read_noise = .*: must be True or False"):
        chip.at(1, read_noise=read_noise)


def test_no_chip_is_read_after_the_end_of_time(x, variables):
    chip = program(MLP(PCM), variables, jax.random.key(0), x)
    with pytest.raises(InputError, match=r"time = 1e\+30: must be at most 1e\+12, that is 31700 years"):
        chip.at(1e30)
