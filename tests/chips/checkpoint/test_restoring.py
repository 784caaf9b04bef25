"""save and restore: everything comes back bit for bit."""

import json
import os

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkpoint_models import KEY, MODEL, PCM, RNGS, Net, X, apply, assert_equal, run_nnx
from flax import nnx

from analogsim import Hardware, InputError, calibrate, convert, preset, program, restore, save
from analogsim.base import stream
from analogsim.converters import SARADC
from analogsim.devices import BitSlices, Crossbar, Differential, Faults, MeasuredCell, WriteVerify
from analogsim.linen import AnalogDense
from analogsim.nnx import AnalogLinear, on_chip
from tests.support.models import drawn


def test_a_linen_model_its_ranges_and_its_aged_chip_come_back(kept, variables, chip):
    found = restore(kept, MODEL)
    assert_equal(found.variables, variables)
    assert_equal(found.chip, chip)
    assert found.model is MODEL
    np.testing.assert_array_equal(apply(MODEL, found.chip.variables), apply(MODEL, chip.variables))
    assert_equal(found.chip.at("10 years"), chip.at("10 years"))  # the cells age on as they would have
    assert_equal(program(MODEL, found.variables, KEY).cells, program(MODEL, variables, KEY).cells)
    again = program(MODEL, found.variables, KEY, reprogram=found.chip)
    assert_equal(again, program(MODEL, variables, KEY, reprogram=chip))


def test_variables_alone_and_x_in_the_place_of_a_calibration(tmp_path, variables):
    bare = {"params": variables["params"]}
    with pytest.raises(InputError, match="pass x"):
        save(tmp_path / "a", MODEL, bare)
    assert not os.listdir(tmp_path)
    save(tmp_path / "a", MODEL, bare, x=X)
    found = restore(tmp_path / "a", MODEL)
    assert found.chip is None
    assert_equal(found.variables, bare)
    chip = program(MODEL, bare, KEY, X)
    save(tmp_path / "b", MODEL, bare, chip, x=X)
    assert_equal(restore(tmp_path / "b", MODEL).chip.cells, chip.cells)


@pytest.mark.parametrize(
    "how",
    [
        dict(time="1 h", read_noise=False),
        dict(time=jnp.float32(60), compensation="none"),
        dict(time=0, compensation="column"),
    ],
)
def test_chips_read_in_any_way(tmp_path, variables, chip, how):
    read = chip.at(**how)
    save(tmp_path / "a", MODEL, variables, read)
    assert_equal(restore(tmp_path / "a", MODEL).chip, read)


def test_a_stack_of_chips(tmp_path, variables, chips):
    save(tmp_path / "a", MODEL, variables, chips)
    found = restore(tmp_path / "a", MODEL).chip
    assert_equal(found, chips)

    @jax.jit
    def outputs(chips):
        return jax.vmap(lambda chip: MODEL.apply(chip.variables, X, rngs=RNGS), in_axes=(chips.axes,))(chips)

    np.testing.assert_array_equal(outputs(found), outputs(chips))
    assert json.loads((tmp_path / "a" / "analogsim.json").read_text())["chip"] == {"stack": [3]}


def test_a_chip_keeps_the_digital_part_that_it_was_programmed_with(tmp_path, variables, chip, kept):
    trained = {**variables, "params": jax.tree.map(jnp.negative, variables["params"])}
    save(tmp_path / "a", MODEL, trained, chip)
    found = restore(tmp_path / "a", MODEL)
    assert_equal(found.variables, trained)
    assert_equal(found.chip, chip)
    leaves = json.loads((kept / "analogsim.json").read_text())["leaves"]
    kernel = "params/Dense_0/kernel"
    assert leaves[f"chip/digital/{kernel}"] == {"same_as": f"variables/{kernel}"}  # elsewhere it is written once


MEASURED = MeasuredCell.from_rows([(0.0, 1e-7, 1.0), (2e-5, 5e-7, 1.0), (0.0, 2e-7, 3600.0), (2e-5, 9e-7, 3600.0)])
WHOLE = Hardware(
    store=Crossbar(
        cell=PCM.store.cell,
        mapping=Differential(slices=BitSlices(widths=(3, 3))),
        faults=Faults(stuck_off=0.05, device_variation=0.1, spare_columns=1),
        write_verify=WriteVerify(window="2 uS", pulse_noise_floor="0.5 uS", max_pulses=2),
    ),
    rows=5,
    adc=SARADC(bits=6, capacitor_mismatch=0.02),
)


@pytest.mark.parametrize("hardware", [WHOLE, Hardware(store=Crossbar(cell=MEASURED)), preset("int8")])
def test_every_part_of_the_hardware(tmp_path, hardware):
    layer = AnalogDense(3, hardware=hardware)
    variables = calibrate(layer, drawn(layer, X), X)
    chip = program(layer, variables, KEY).at(60.0)
    save(tmp_path / "a", layer, variables, chip)
    found = restore(tmp_path / "a", layer)
    assert_equal(found.chip, chip)
    np.testing.assert_array_equal(apply(layer, found.chip.variables), apply(layer, chip.variables))
    assert found.chip.write_statistics == chip.write_statistics


class Normal(nn.Module):
    """A plain model whose call has an option, and state beside its parameters."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train)(nn.Conv(4, (3,))(x[..., None]))
        return nn.Dense(3)(nn.Dense(4)(x.reshape(x.shape[0], -1)))


def test_a_converted_model_with_other_collections_and_call_options(tmp_path):
    model = convert(Normal(), [("Dense_1", None), (".*", PCM)])
    variables = drawn(model, X, train=False) | {"extra": {"seen": 3, "key": jax.random.key(7)}}
    chip = program(model, variables, KEY, X, train=False)
    save(tmp_path / "a", model, variables, chip, x=X, train=False)
    found = restore(tmp_path / "a", model, train=False)
    assert_equal(found.variables, variables)
    assert_equal(found.chip, chip)
    with pytest.raises(InputError, match=r"layer Dense_1: saved digital, this model's is on hardware 'pcm'"):
        restore(tmp_path / "a", convert(Normal(), PCM), train=False)


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return nn.tanh(AnalogDense(8, hardware=PCM)(x)), None


class Scanned(nn.Module):
    length: int = 3

    @nn.compact
    def __call__(self, x):
        axes, split = {"params": 0, "analog": 0, "ranges": 0}, {"params": True, "analog": True}
        return nn.scan(Block, variable_axes=axes, split_rngs=split, length=self.length)()(x, None)[0]


def test_scanned_layers(tmp_path):
    model = Scanned()
    variables = calibrate(model, drawn(model, X), X)
    chip = program(model, variables, KEY)
    save(tmp_path / "a", model, variables, chip)
    found = restore(tmp_path / "a", model)
    assert_equal(found.variables, variables)
    assert_equal(found.chip, chip)
    with pytest.raises(InputError, match=r"kernel: saved with shape \(3, 8, 8\), the model's is \(2, 8, 8\)"):
        restore(tmp_path / "a", Scanned(2))


def test_an_nnx_model_comes_back_in_a_copy(tmp_path, net, net_chip, kept_net):
    other = Net(PCM, nnx.Rngs(5, dropout=6))
    before = jax.tree.map(lambda a: a, nnx.state(other))
    found = restore(kept_net, other)
    assert found.variables is None
    assert_equal(nnx.state(other), before)  # the model given is left as it is
    assert_equal(nnx.state(found.model), nnx.state(net))
    assert repr(found.model.hidden.dot_general.hardware) == repr(PCM)
    copies = [nnx.clone(model) for model in (found.model, net)]
    for _ in range(2):  # the noise streams go on where they were
        np.testing.assert_array_equal(run_nnx(copies[0]), run_nnx(copies[1]))

    chip = net_chip.at("1 month")
    save(tmp_path / "a", net, chip=chip)
    found = restore(tmp_path / "a", other)
    assert_equal(found.chip, chip)
    y = run_nnx(on_chip(net, chip, key=KEY))
    np.testing.assert_array_equal(run_nnx(on_chip(found.model, found.chip, key=KEY)), y)


def test_an_nnx_model_that_was_not_calibrated_takes_no_ranges_from_the_one_given(tmp_path, net):
    save(tmp_path / "a", Net(PCM, nnx.Rngs(0, dropout=1)))
    found = restore(tmp_path / "a", net).model
    assert found.hidden.dot_general.input_range is None
    assert net.hidden.dot_general.input_range is not None


class Stack(nnx.Module):
    def __init__(self, rngs):
        @nnx.split_rngs(splits=3)
        @nnx.vmap(in_axes=(0,), out_axes=0)
        def make(rngs):
            return AnalogLinear(8, 8, hardware=PCM, rngs=rngs)

        self.layers = make(rngs)

    def __call__(self, x):
        return nnx.scan(lambda x, layer: layer(x), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)(x, self.layers)


def test_arrays_in_the_hardware_of_an_nnx_model_are_the_models_own(tmp_path):
    numbers = PCM.replace(**{"store.cell.g_max": jnp.float32(2.0**-16)})
    model = AnalogLinear(8, 3, hardware=numbers, rngs=nnx.Rngs(0))
    save(tmp_path / "a", model)
    other = AnalogLinear(8, 3, hardware=PCM.replace(**{"store.cell.g_max": 2.0**-16}), rngs=nnx.Rngs(1))
    found = restore(tmp_path / "a", other).model  # the same by value
    np.testing.assert_array_equal(found.kernel[...], model.kernel[...])
    assert type(found.dot_general.hardware.store.cell.g_max) is float
    assert_equal(nnx.state(restore(tmp_path / "a", model).model), nnx.state(model))


def test_stacked_nnx_layers(tmp_path):
    make = nnx.jit(Stack)
    model = make(nnx.Rngs(0))
    calibrate(model, None, X)
    chip = program(model, key=KEY)
    save(tmp_path / "a", model, chip=chip)
    found = restore(tmp_path / "a", make(nnx.Rngs(1)))
    assert_equal(found.chip, chip)
    assert_equal(nnx.state(found.model), nnx.state(model))


def test_dtypes_and_kinds_of_leaves(tmp_path):
    layer = AnalogDense(3, hardware=PCM, param_dtype=jnp.bfloat16)
    variables = drawn(layer, X)
    variables["odd"] = {
        "a/b~c.d": jnp.asarray(np.array([np.nan, -0.0, np.inf], np.float32)),
        "half": jnp.asarray(np.ones(2, np.float16)),
        "small": jnp.asarray(np.ones(3, jnp.int4)),
        "eight": jnp.asarray(np.ones(3, jnp.float8_e4m3fn)),
        "keys": jax.random.split(jax.random.key(3, impl="rbg"), 2),
        "own_key": stream(KEY, "of the library's own generator"),
        "raw": jax.random.PRNGKey(1),
        "wide": np.array([1 / 3]),
        "one": np.float64(1 / 3),
        "weak": jnp.asarray(0.1),
        "empty": jnp.asarray(np.zeros((0, 4), np.int32)),
        "no_keys": jax.random.split(KEY, 2)[:0],
        "number": 0.1,
        "count": 2**30,
        "yes": True,
        "complex": 1 - 2j,
    }
    save(tmp_path / "a", layer, variables, x=X)
    assert_equal(restore(tmp_path / "a", layer).variables, variables)


def test_wide_numbers_need_a_jax_that_has_them(tmp_path):
    layer = AnalogDense(3, hardware=PCM)
    with jax.enable_x64(True):
        variables = drawn(layer, X) | {"wide": {"a": jnp.asarray(np.ones(2))}}
        chip = program(layer, variables, KEY, X).at("1 day")
        save(tmp_path / "a", layer, variables, chip, x=X)
        found = restore(tmp_path / "a", layer)
        assert_equal(found.variables, variables)
        assert_equal(found.chip, chip)
        assert_equal(found.chip.at(60.0), chip.at(60.0))  # weak dtypes are kept, and with them the dtype of results
    with pytest.raises(InputError, match=r"chip: time_s|chip: .*dtype float64|needs jax.config.update"):
        restore(tmp_path / "a", layer)


def test_boxed_parameters(tmp_path):
    layer = AnalogDense(3, hardware=PCM, kernel_init=nn.with_partitioning(nn.initializers.lecun_normal(), (None, "x")))
    variables = layer.init(KEY, X)
    assert isinstance(variables["params"]["kernel"], nn.Partitioned)
    save(tmp_path / "a", layer, variables, x=X)
    assert_equal(restore(tmp_path / "a", layer).variables, variables)


def test_parameters_that_were_cast_come_back_cast(tmp_path, variables):
    cast = {"params": jax.tree.map(lambda a: a.astype(jnp.bfloat16), variables["params"])}
    save(tmp_path / "a", MODEL, cast, x=X)
    assert_equal(restore(tmp_path / "a", MODEL).variables, cast)


def test_arrays_in_the_hardware_are_compared_by_value(tmp_path):
    other = MeasuredCell.from_rows([(0.0, 1e-7, 1.0), (2e-5, 6e-7, 1.0), (0.0, 2e-7, 3600.0), (2e-5, 9e-7, 3600.0)])
    layers = [AnalogDense(3, hardware=Hardware(store=Crossbar(cell=cell))) for cell in (MEASURED, other)]
    save(tmp_path / "a", layers[0], drawn(layers[0], X), x=X)
    text = r"layer \(the model itself\): .* store.cell.sigma\[0\]\[1\] = 5e-07, .* store.cell.sigma\[0\]\[1\] = 6e-07"
    with pytest.raises(InputError, match=text):
        restore(tmp_path / "a", layers[1])
