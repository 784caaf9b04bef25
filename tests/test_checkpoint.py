"""save and restore: everything comes back bit for bit, and what is of another model or hardware is refused by name."""

import dataclasses
import json
import os
import pathlib
import pickletools
import re
import shutil

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from models import MLP, PlainMLP

import analogsim
from analogsim import Hardware, InputError, calibrate, convert, preset, program, restore, save
from analogsim.converters import SARADC
from analogsim.devices import BitSlices, Crossbar, Differential, Faults, MeasuredCell, WriteVerify
from analogsim.linen import AnalogDense
from analogsim.models import map_programmed
from analogsim.nnx import AnalogLinear, on_chip

PCM = preset("pcm")
MODEL = MLP(PCM)
KEY = jax.random.key(0)
RNGS = {"analog": jax.random.key(4)}
X = jax.random.normal(jax.random.key(1), (20, 8))


class Net(nnx.Module):
    """8-6-3 with normalisation, dropout, and state that is no parameter."""

    def __init__(self, hardware, rngs, hidden=6):
        self.hidden = AnalogLinear(8, hidden, hardware=hardware, rngs=rngs)
        self.norm = nnx.BatchNorm(hidden, use_running_average=True, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, deterministic=True, rngs=rngs)
        self.out = AnalogLinear(hidden, 3, hardware=hardware, rngs=rngs)
        self.steps = nnx.data(3)

    def __call__(self, x):
        return self.out(self.dropout(nnx.relu(self.norm(self.hidden(x)))))


@pytest.fixture(scope="module")
def variables():
    return calibrate(MODEL, MODEL.init(KEY, X), X)


@pytest.fixture(scope="module")
def chip(variables):
    return program(MODEL, variables, jax.random.key(2)).at("1 year")


@pytest.fixture(scope="module")
def chips(variables):
    return program(MODEL, variables, jax.random.split(KEY, 3)).at("1 day")


@pytest.fixture(scope="module")
def kept(tmp_path_factory, variables, chip):
    """A checkpoint that no test changes."""
    folder = tmp_path_factory.mktemp("kept") / "mlp"
    save(folder, MODEL, variables, chip)
    return folder


@pytest.fixture(scope="module")
def net():
    model = Net(PCM, nnx.Rngs(0, dropout=1))
    calibrate(model, None, X)
    return model


@pytest.fixture(scope="module")
def kept_net(tmp_path_factory, net):
    folder = tmp_path_factory.mktemp("kept") / "net"
    save(folder, net)
    return folder


def assert_equal(found, expected):
    """Structures, types and bits."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    pairs = zip(jax.tree.leaves(found), jax.tree_util.tree_leaves_with_path(expected), strict=True)
    for a, (path, b) in pairs:
        where = jax.tree_util.keystr(path)
        assert type(a) is type(b), where
        if hasattr(b, "dtype"):
            assert (a.dtype, getattr(a, "weak_type", None)) == (b.dtype, getattr(b, "weak_type", None)), where
            if jnp.issubdtype(b.dtype, jax.dtypes.prng_key):
                a, b = jax.random.key_data(a), jax.random.key_data(b)
            assert np.shape(a) == np.shape(b), where
            assert np.asarray(a).tobytes() == np.asarray(b).tobytes(), where
        else:
            assert a == b, where


def edited(folder, source, change):
    """A copy of a checkpoint whose text was changed."""
    shutil.copytree(source, folder)
    text = json.loads((folder / "analogsim.json").read_text())
    change(text)
    (folder / "analogsim.json").write_text(json.dumps(text))
    return folder


# What comes back


def test_a_linen_model_its_ranges_and_its_aged_chip_come_back(kept, variables, chip):
    found = restore(kept, MODEL)
    assert_equal(found.variables, variables)
    assert_equal(found.chip, chip)
    assert found.model is MODEL
    y = MODEL.apply(chip.variables, X, rngs=RNGS)
    np.testing.assert_array_equal(MODEL.apply(found.chip.variables, X, rngs=RNGS), y)
    assert_equal(found.chip.at("10 years"), chip.at("10 years"))  # the cells age on as they would have
    assert_equal(program(MODEL, found.variables, KEY).cells, program(MODEL, variables, KEY).cells)
    again = program(MODEL, found.variables, KEY, onto=found.chip)
    assert_equal(again, program(MODEL, variables, KEY, onto=chip))


def test_variables_alone_and_x_in_the_place_of_a_calibration(tmp_path, variables):
    bare = {"params": variables["params"]}
    with pytest.raises(InputError, match="pass x"):
        save(tmp_path / "a", MODEL, bare)
    assert not os.listdir(tmp_path)
    save(tmp_path / "a", MODEL, bare, x=X)
    found = restore(tmp_path / "a", MODEL)
    assert found.chip is None
    assert_equal(found.variables, bare)
    save(tmp_path / "b", MODEL, bare, program(MODEL, bare, KEY, X), x=X)
    assert_equal(restore(tmp_path / "b", MODEL).chip.cells, program(MODEL, bare, KEY, X).cells)


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

    def outputs(chips):
        return jax.vmap(lambda chip: MODEL.apply(chip.variables, X, rngs=RNGS), in_axes=(chips.axes,))(chips)

    np.testing.assert_array_equal(outputs(found), outputs(chips))
    assert json.loads((tmp_path / "a" / "analogsim.json").read_text())["chip"] == {"stack": [3]}


def test_a_chip_keeps_the_digital_part_that_it_was_programmed_with(tmp_path, variables, chip, kept):
    trained = {**variables, "params": jax.tree.map(lambda a: a + 1, variables["params"])}
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
        faults=Faults(stuck_off=0.05, device_spread=0.1, spare_columns=1),
        write_verify=WriteVerify(window="2 uS", pulse_noise_floor="0.5 uS", max_pulses=2),
    ),
    rows=5,
    adc=SARADC(bits=6, capacitor_mismatch=0.02),
)


@pytest.mark.parametrize("hardware", [WHOLE, Hardware(store=Crossbar(cell=MEASURED)), preset("int8")])
def test_every_part_of_the_hardware(tmp_path, hardware):
    layer = AnalogDense(3, hardware=hardware)
    variables = calibrate(layer, layer.init(KEY, X), X)
    chip = program(layer, variables, KEY).at(60.0)
    save(tmp_path / "a", layer, variables, chip)
    found = restore(tmp_path / "a", layer)
    assert_equal(found.chip, chip)
    y = layer.apply(chip.variables, X, rngs=RNGS)
    np.testing.assert_array_equal(layer.apply(found.chip.variables, X, rngs=RNGS), y)
    assert found.chip.writing == chip.writing


class Normal(nn.Module):
    """A plain model whose call has an option, and state beside its parameters."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train)(nn.Conv(4, (3,))(x[..., None]))
        return nn.Dense(3)(nn.Dense(4)(x.reshape(x.shape[0], -1)))


def test_a_converted_model_with_other_collections_and_call_options(tmp_path):
    model = convert(Normal(), [("Dense_1", None), (".*", PCM)])
    variables = model.init(KEY, X, train=False)
    variables = variables | {"extra": {"seen": 3, "key": jax.random.key(7)}}
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
    variables = calibrate(model, model.init(KEY, X), X)
    chip = program(model, variables, KEY)
    save(tmp_path / "a", model, variables, chip)
    found = restore(tmp_path / "a", model)
    assert_equal(found.variables, variables)
    assert_equal(found.chip, chip)
    with pytest.raises(InputError, match=r"kernel: saved with shape \(3, 8, 8\), the model's is \(2, 8, 8\)"):
        restore(tmp_path / "a", Scanned(2))


def test_an_nnx_model_comes_back_in_a_copy(tmp_path, net, kept_net):
    other = Net(PCM, nnx.Rngs(5, dropout=6))
    before = jax.tree.map(lambda a: a, nnx.state(other))
    found = restore(kept_net, other)
    assert found.variables is None
    assert_equal(nnx.state(other), before)  # the model given is left as it is
    assert_equal(nnx.state(found.model), nnx.state(net))
    assert repr(found.model.hidden.dot_general.hardware) == repr(PCM)
    copies = [nnx.clone(model) for model in (found.model, net)]
    for _ in range(2):  # the noise streams go on where they were
        np.testing.assert_array_equal(copies[0](X), copies[1](X))

    chip = program(net, key=KEY).at("1 month")
    save(tmp_path / "a", net, chip=chip)
    found = restore(tmp_path / "a", other)
    assert_equal(found.chip, chip)
    y = on_chip(net, chip, key=KEY)(X)
    np.testing.assert_array_equal(on_chip(found.model, found.chip, key=KEY)(X), y)


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
    numbers = PCM.replace(**{"store.cell.g_max": jnp.float32(2.0**-15)})
    model = AnalogLinear(8, 3, hardware=numbers, rngs=nnx.Rngs(0))
    save(tmp_path / "a", model)
    other = AnalogLinear(8, 3, hardware=PCM.replace(**{"store.cell.g_max": 2.0**-15}), rngs=nnx.Rngs(1))
    found = restore(tmp_path / "a", other).model  # the same by value
    np.testing.assert_array_equal(found.kernel[...], model.kernel[...])
    assert type(found.dot_general.hardware.store.cell.g_max) is float
    assert_equal(nnx.state(restore(tmp_path / "a", model).model), nnx.state(model))


def test_stacked_nnx_layers(tmp_path):
    model = Stack(nnx.Rngs(0))
    calibrate(model, None, X)
    chip = program(model, key=KEY)
    save(tmp_path / "a", model, chip=chip)
    found = restore(tmp_path / "a", Stack(nnx.Rngs(1)))
    assert_equal(found.chip, chip)
    assert_equal(nnx.state(found.model), nnx.state(model))


def test_dtypes_and_kinds_of_leaves(tmp_path):
    layer = AnalogDense(3, hardware=PCM, param_dtype=jnp.bfloat16)
    variables = layer.init(KEY, X)
    variables["odd"] = {
        "a/b~c.d": jnp.array([jnp.nan, -0.0, jnp.inf]),
        "half": jnp.ones(2, jnp.float16),
        "small": jnp.ones(3, jnp.int4),
        "eight": jnp.ones(3, jnp.float8_e4m3fn),
        "keys": jax.random.split(jax.random.key(3, impl="rbg"), 2),
        "raw": jax.random.PRNGKey(1),
        "wide": np.array([1 / 3]),
        "one": np.float64(1 / 3),
        "weak": jnp.asarray(0.1),
        "empty": jnp.zeros((0, 4), jnp.int32),
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
        variables = layer.init(KEY, X) | {"wide": {"a": jnp.ones(2, jnp.float64)}}
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
    save(tmp_path / "a", layer, variables, x=X)
    assert_equal(restore(tmp_path / "a", layer).variables, variables)


def test_parameters_that_were_cast_come_back_cast(tmp_path, variables):
    cast = {"params": jax.tree.map(lambda a: a.astype(jnp.bfloat16), variables["params"])}
    save(tmp_path / "a", MODEL, cast, x=X)
    assert_equal(restore(tmp_path / "a", MODEL).variables, cast)


# What is refused at restoring


def rows(n):
    return MLP(PCM.replace(rows=n))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (rows(256), "layers Dense_0, Dense_1: saved on hardware with rows = 512, this model's has rows = 256"),
        (MLP(preset("pcm", **{"adc.bits": 6})), "with adc.bits = 8, this model's has adc.bits = 6"),
        (MLP(PCM.replace(dac=None)), "with dac = DAC, this model's has dac = None"),
        (MLP(PCM.replace(scaling="tile")), "with scaling = 'column', this model's has scaling = 'tile'"),
        (
            MLP(PCM.replace(**{"store.cell.g_max": 2.5000001e-5})),
            "with store.cell.g_max = 2.5e-05, this model's has store.cell.g_max = 2.5000001e-05",
        ),
        (
            MLP(PCM.replace(**{"store.cell.drift_mean": (0.0244, -0.01)})),
            r"store.cell.drift_mean\[1\] = -0.0155, this model's has store.cell.drift_mean\[1\] = -0.01",
        ),
        (MLP(PCM.replace(**{"prices.supply_v": 0.8})), "with prices.supply_v = 0.9, this model's has"),
        (
            MLP(preset("reram")),
            r"with store.cell = PCM, this model's has store.cell = ReRAM; .*; and \d+ more$",
        ),
        (MLP(), "layer Dense_0: saved on hardware 'pcm', this model's is digital|layers Dense_0, Dense_1: saved on"),
    ],
)
def test_another_hardware_is_refused_by_the_field(kept, model, message):
    with pytest.raises(InputError, match=message):
        restore(kept, model)


def test_arrays_in_the_hardware_are_compared_by_value(tmp_path):
    other = MeasuredCell.from_rows([(0.0, 1e-7, 1.0), (2e-5, 6e-7, 1.0), (0.0, 2e-7, 3600.0), (2e-5, 9e-7, 3600.0)])
    layers = [AnalogDense(3, hardware=Hardware(store=Crossbar(cell=cell))) for cell in (MEASURED, other)]
    save(tmp_path / "a", layers[0], layers[0].init(KEY, X), x=X)
    text = r"layer \(the model itself\): .* store.cell.sigma\[0\]\[1\] = 5e-07, .* store.cell.sigma\[0\]\[1\] = 6e-07"
    with pytest.raises(InputError, match=text):
        restore(tmp_path / "a", layers[1])


def test_a_name_is_a_label_and_a_newer_field_counts_as_its_default(tmp_path, kept, chip):
    renamed = MLP(PCM.replace(name="lab 3"))
    found = restore(kept, renamed)
    np.testing.assert_array_equal(
        renamed.apply(found.chip.variables, X, rngs=RNGS), MODEL.apply(chip.variables, X, rngs=RNGS)
    )

    def older(text):
        for layer in text["layers"].values():
            del layer["hardware"]["sampling"]
            del layer["hardware"]["store"]["cell"]["g_max"]

    folder = edited(tmp_path / "a", kept, older)
    assert_equal(restore(folder, MODEL).chip, chip)
    with pytest.raises(InputError, match=r"with store.cell.g_max = 2.5e-05, this model's has store.cell.g_max = 2e-05"):
        restore(folder, MLP(PCM.replace(**{"store.cell.g_max": 2e-5})))

    def of_another_version(text):
        text["layers"]["Dense_0"]["hardware"]["temperature_k"] = 300.0

    with pytest.raises(InputError, match="with temperature_k = 300, this model's has temperature_k = no such field"):
        restore(edited(tmp_path / "b", kept, of_another_version), MODEL)


class Wide(nn.Module):
    """8-6-4-3: one layer more."""

    sizes: tuple = (6, 4, 3)
    dtype: object = jnp.float32

    @nn.compact
    def __call__(self, x):
        for size in self.sizes:
            x = AnalogDense(size, hardware=PCM, param_dtype=self.dtype)(x)
        return x


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Wide((6, 3, 3)), "layer Dense_2 is in the model, not in the checkpoint$"),
        (Wide((6,)), "layer Dense_1 is in the checkpoint, not in the model$"),
        (Wide((6, 4)), r"params/Dense_1/kernel: saved with shape \(6, 3\), the model's is \(6, 4\)"),
        (Wide((6, 3), jnp.bfloat16), "params/Dense_0/bias: saved with dtype float32, the model's is bfloat16; "),
        (
            nn.Sequential([nn.Dense(6), nn.Dense(3)]),
            "layers Dense_0, Dense_1 are in the checkpoint, not in the model; params/",
        ),
        (PlainMLP(), "this model's is digital"),
        (nn.Conv(3, (2, 2, 2)), r"cannot be called with inputs as saved, of shape \(1, 8\)"),
        (Net(PCM, nnx.Rngs(0)), "holds a Linen model, this is an NNX model"),
        (3, "model = int: must be a flax.linen or flax.nnx module"),
    ],
)
def test_another_model_is_refused(kept, model, message):
    with pytest.raises(InputError, match=message):
        restore(kept, model)


def test_another_nnx_model_is_refused(kept_net, net):
    for model, message in (
        (Net(PCM, nnx.Rngs(0, dropout=0), hidden=7), r"hidden/bias: saved with shape \(6,\), the model's is \(7,\)"),
        (Net(PCM.replace(rows=9), nnx.Rngs(0, dropout=0)), "layers hidden, out: .* rows = 512, .* rows = 9"),
        (Net(None, nnx.Rngs(0, dropout=0)), "layers hidden, out: saved on hardware 'pcm', this model's is digital"),
        (AnalogLinear(8, 6, hardware=PCM, rngs=nnx.Rngs(0)), "layers hidden, out are in the checkpoint, not in the"),
        (on_chip(net, program(net, key=KEY)), r"model: layer hidden is on a chip \(on_chip\)"),
        (MODEL, "holds an NNX model, this is a Linen model"),
    ):
        with pytest.raises(InputError, match=message):
            restore(kept_net, model)
    with pytest.raises(InputError, match="train: an NNX model takes no call options"):
        restore(kept_net, net, train=True)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    for folder, message in (
        (tmp_path / "none", "does not exist"),
        (tmp_path, "is no checkpoint of analogsim.save: it has no analogsim.json"),
        (3, "folder = 3: must be the path of a folder"),
        ("", "folder = '': must be the path"),
        ("gs://bucket/a", "must be on a local disk"),
        (__file__, "is a file"),
    ):
        with pytest.raises(InputError, match=message):
            restore(folder, MODEL)


def _of_newer_format(text):
    text["format"] = 2
    text["leaves"] = "arranged in another way"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_of_newer_format, "has format 2, of analogsim .*; this version reads up to format 1: update it"),
        (lambda t: t.update(format="1"), "has no format number; it is damaged"),
        (lambda t: t.pop("layers"), "'layers' in analogsim.json is missing or not what it should be; it is damaged"),
        (lambda t: t.update(layers=[1]), "'layers' in"),
        (lambda t: t["layers"]["Dense_0"].pop("matrix"), "'layers' in"),
        (lambda t: t["layers"]["Dense_0"].update(hardware=3), "'layers' in"),
        (lambda t: t["layers"]["Dense_0"].update(hardware={}), "layer Dense_0: saved on hardware with class = "),
        (lambda t: t.update(front_end="torch"), "'front_end' in"),
        (lambda t: t.update(files={"../../secret": [1, 2]}), "'files' in"),
        (lambda t: t.update(inputs=[{"shape": "8", "dtype": "float32"}]), "'inputs' in"),
        (lambda t: t.update(inputs=[{"shape": [8], "dtype": "float"}, 3]), "'inputs' in"),
        (lambda t: t.update(inputs=None), "cannot be called with inputs as saved"),
        (lambda t: t.update(chip={"stack": [0]}), "'chip' in"),
        (lambda t: t.update(chip={"stack": [2]}), r"chip: .*: shape \(.*\) on the chip, \(2, .*\) by the model"),
        (lambda t: t["leaves"].update(a={"kind": "pickle"}), "'leaves' in"),
        (lambda t: t["leaves"].update(a={"same_as": "b"}), "'leaves' in analogsim.json has no b"),
        (lambda t: t["leaves"].pop("chip/time_s"), "'leaves' in analogsim.json has no chip/time_s"),
        (lambda t: t["leaves"].pop("variables/params/Dense_0/bias"), "has no variables/params/Dense_0/bias"),
        (lambda t: t["leaves"].pop("chip/cells/Dense_0/analog/array/reference"), "reference is only in one of both"),
        (lambda t: t["leaves"]["variables/ranges/Dense_0/analog/input"].update(shape=[2]), "input is not the array"),
        (lambda t: t["leaves"]["variables/ranges/Dense_0/analog/input"].update(dtype="x"), "'leaves' in"),
    ],
)
def test_a_damaged_or_newer_text_is_refused(tmp_path, kept, change, message):
    with pytest.raises(InputError, match=message):
        restore(edited(tmp_path / "a", kept, change), MODEL)


def test_cut_texts_and_missing_arrays_are_refused(tmp_path, kept):
    whole = (kept / "analogsim.json").read_bytes()
    for i, raw in enumerate((b"", whole[: len(whole) // 2], b"[]", b"\xff\x00", b"null")):
        folder = tmp_path / str(i)
        shutil.copytree(kept, folder)
        (folder / "analogsim.json").write_bytes(raw)
        with pytest.raises(InputError, match="it is damaged"):
            restore(folder, MODEL)
    for i, part in enumerate(("", "d", "manifest.ocdbt", "_METADATA")):
        folder = tmp_path / f"arrays{i}"
        shutil.copytree(kept, folder)
        gone = folder / "arrays" / part
        (shutil.rmtree if gone.is_dir() else os.remove)(gone)
        with pytest.raises(InputError, match=rf"arrays/{part}.* is missing; it is damaged"):
            restore(folder, MODEL)
    data = next((kept / "arrays" / "d").iterdir()).relative_to(kept)
    flipped = bytearray((kept / data).read_bytes())
    flipped[len(flipped) // 2] ^= 1
    for i, (raw, how) in enumerate(((flipped, "CRC"), (flipped[:-1], "length"))):
        folder = tmp_path / f"changed{i}"
        shutil.copytree(kept, folder)
        (folder / data).write_bytes(raw)
        with pytest.raises(InputError, match=rf"{data} is not what was written, by its {how}; it is damaged"):
            restore(folder, MODEL)

    def one_more(text):
        text["leaves"]["variables/more/a"] = {"kind": "array", "shape": [2], "dtype": "float32"}

    with pytest.raises(InputError, match="its arrays cannot be read"):
        restore(edited(tmp_path / "more", kept, one_more), MODEL)


# What is refused at saving


def test_chips_of_another_model_are_refused(tmp_path, variables, chip, chips, net):
    other = MLP(PCM.replace(**{"store.cell.g_max": 2e-5}))
    wide = Wide((6, 4, 3))
    for model, v, c, message in (
        (other, variables, chip, r"layer Dense_0 was programmed on hardware with store.cell.g_max = 2.5e-05, this"),
        (MLP(preset("reram")), variables, chip, "with store.cell = PCM, this model's has store.cell = ReRAM"),
        (wide, wide.init(KEY, X), chip, "chip: layer Dense_2 is on the model, not on the chip"),
        (MODEL, variables, program(net, key=KEY), "chip: layer hidden is on the chip, not on the model"),
        (MODEL, variables, 3, "chip = int: must be a chip"),
        (MODEL, chip, None, r"variables: this is a chip; pass it by name"),
        (MODEL, chip.variables, None, r"variables: hold a chip's readings \('analog'\)"),
    ):
        with pytest.raises(InputError, match=message):
            save(tmp_path / "a", model, v, c, x=X)
    swept = jnp.array([2.5e-5, 2.5e-5, 2e-5])

    def of_swept_cells(held):
        return dataclasses.replace(held, hardware=held.hardware.replace(**{"store.cell.g_max": swept}))

    odd = dataclasses.replace(chips, cells=map_programmed(of_swept_cells, chips.cells))
    with pytest.raises(InputError, match=r"store.cell.g_max\[2\] = 2e-05, this model's has store.cell.g_max\[2\] ="):
        save(tmp_path / "a", MODEL, variables, odd)
    assert not os.listdir(tmp_path)


def test_variables_that_do_not_fit_or_cannot_be_saved_are_refused(tmp_path, variables, net):
    params = variables["params"]
    narrow = {"params": params | {"Dense_1": {"kernel": jnp.ones((6, 2)), "bias": params["Dense_1"]["bias"]}}}
    for v, message in (
        (narrow, r"variables: params/Dense_1/kernel: with shape \(6, 2\), the model's is \(6, 3\)"),
        ({"params": {"Dense_0": params["Dense_0"]}}, "params/Dense_1/bias is in the model, not in the variables"),
        ({"params": params | {"a": jnp.ones(2)}}, "params/a is in the variables, not in the model"),
        (variables | {"sown": {"y": (jnp.ones(2),)}}, r"sown/y is a tuple; .* only dictionaries of arrays"),
        (variables | {"odd": {"y": np.array([None])}}, "odd/y: a ndarray cannot be saved"),
        (variables | {"odd": {"y": "text"}}, "odd/y: a str cannot be saved"),
        (variables | {"odd": {"y": abs}}, "odd/y: a builtin_function_or_method cannot be saved"),
        (None, "variables = None: must be a Linen model's variables"),
    ):
        with pytest.raises(InputError, match=message):
            save(tmp_path / "a", MODEL, v, x=X)
    with pytest.raises(InputError, match=r"run outside of jax\.jit"):
        jax.jit(lambda v: save(tmp_path / "a", MODEL, v, x=X))({"params": params})
    with pytest.raises(InputError, match="x: what an NNX model is made of is known"):
        save(tmp_path / "a", net, x=X)
    with pytest.raises(InputError, match="variables: an NNX model carries its own"):
        save(tmp_path / "a", net, variables)
    with pytest.raises(InputError, match=r"layer hidden is on a chip \(on_chip\)"):
        save(tmp_path / "a", on_chip(net, program(net, key=KEY)))
    assert not os.listdir(tmp_path)


# The folder


def test_a_folder_is_overwritten_only_when_asked_and_only_if_it_is_a_checkpoint(tmp_path, variables, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    save("a", MODEL, variables)  # an empty folder, a relative path
    with pytest.raises(InputError, match=r"is not empty; choose another, or pass overwrite=True"):
        save("a", MODEL, variables)
    doubled = jax.tree.map(lambda a: 2 * a, variables)
    save("a", MODEL, doubled, overwrite=True)
    assert_equal(restore("a", MODEL).variables, doubled)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="holds something else than a checkpoint and is not overwritten"):
        save("mine", MODEL, variables, overwrite=True)
    with pytest.raises(InputError, match="is a file"):
        save("mine/thesis.tex", MODEL, variables)
    save("new/deep/a", MODEL, variables)
    assert sorted(os.listdir()) == ["a", "mine", "new"]


def test_an_interrupted_save_leaves_what_was_there(tmp_path, variables, monkeypatch):
    import orbax.checkpoint as ocp

    save(tmp_path / "a", MODEL, variables)

    def interrupted(self, path, *args, **kwargs):
        pathlib.Path(path).mkdir()
        (pathlib.Path(path) / "half").write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(ocp.Checkpointer, "save", interrupted)
    for name in ("a", "b"):
        with pytest.raises(KeyboardInterrupt):
            save(tmp_path / name, MODEL, jax.tree.map(lambda a: 2 * a, variables), overwrite=True)
    assert os.listdir(tmp_path) == ["a"]
    assert_equal(restore(tmp_path / "a", MODEL).variables, variables)


def test_a_rename_that_fails_puts_the_old_checkpoint_back(tmp_path, variables, monkeypatch):
    save(tmp_path / "a", MODEL, variables)
    rename = pathlib.Path.rename

    def failing(self, target):
        if self.name.endswith(".partial"):
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(pathlib.Path, "rename", failing)
    with pytest.raises(InputError, match=r"cannot be written \(Input/output error\)"):
        save(tmp_path / "a", MODEL, jax.tree.map(lambda a: 2 * a, variables), overwrite=True)
    assert os.listdir(tmp_path) == ["a"]
    assert_equal(restore(tmp_path / "a", MODEL).variables, variables)


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path, variables, monkeypatch):
    def read_only(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pathlib.Path, "mkdir", read_only)
    with pytest.raises(InputError, match=r"^[^ ]*/a: cannot be written \(Permission denied\)$"):
        save(tmp_path / "a", MODEL, variables)


def test_nothing_is_pickled(kept):
    files = [path for path in kept.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"analogsim.json", "manifest.ocdbt"}
    for path in files:
        assert path.suffix not in (".pkl", ".pickle", ".npy", ".npz", ".pt")
        with pytest.raises(ValueError):  # noqa: PT011  # whatever stands there is no sequence of pickle's operations
            list(pickletools.genops(path.read_bytes()))
    for source in pathlib.Path(analogsim.checkpoint.__file__).parent.glob("*.py"):
        assert not re.search(
            r"import pickle|pickle\.|eval\(|importlib|__import__", re.sub(r"jax\.eval", "", source.read_text())
        )


def test_the_text_is_for_people(kept):
    text = (kept / "analogsim.json").read_text()
    assert '"matrix": [8, 6]' in text
    assert '"programming_sigma": [2.6348e-07, 1.965e-06, -1.1731e-06]' in text
    assert json.loads(text)["layers"]["Dense_0"]["hardware"]["adc"]["bits"] == 8
    assert str(kept) not in text
