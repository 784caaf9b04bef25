"""What restore refuses, by name: another model or hardware, and what is damaged or newer."""

import json
import os
import shutil

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
from checkpoint_models import MODEL, PCM, Net, Wide, apply, assert_equal, edited
from flax import nnx

from analogsim import InputError, preset, restore
from analogsim.chips.checkpoint.folder import read_manifest
from analogsim.nnx import AnalogLinear, on_chip
from tests.support.models import MLP, PlainMLP


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
            MLP(PCM.replace(**{"store.cell.g_max": 2.4999999e-5})),
            "with store.cell.g_max = 2.5e-05, this model's has store.cell.g_max = 2.4999999e-05",
        ),
        (
            MLP(PCM.replace(**{"store.cell.drift_mean": (0.0244, -0.01)})),
            r"store.cell.drift_mean\[1\] = -0.0155, this model's has store.cell.drift_mean\[1\] = -0.01",
        ),
        (MLP(PCM.replace(**{"energy_table.supply_v": 0.8})), "with energy_table.supply_v = 0.9, this model's has"),
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


def test_a_name_is_a_label_and_a_newer_field_counts_as_its_default(tmp_path, kept, chip):
    renamed = MLP(PCM.replace(name="lab 3"))
    found = restore(kept, renamed)
    np.testing.assert_array_equal(apply(renamed, found.chip.variables), apply(MODEL, chip.variables))

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
        (nn.Conv(3, (2, 2, 2)), r"cannot be called with inputs of the saved shapes \(1, 8\)"),
        (Net(PCM, nnx.Rngs(0)), "holds a Linen model, this is an NNX model"),
        (3, "model = int: must be a flax.linen or flax.nnx module"),
    ],
)
def test_another_model_is_refused(kept, model, message):
    with pytest.raises(InputError, match=message):
        restore(kept, model)


def test_another_nnx_model_is_refused(kept_net, net, net_chip):
    for model, message in (
        (Net(PCM, nnx.Rngs(0, dropout=0), hidden=7), r"hidden/bias: saved with shape \(6,\), the model's is \(7,\)"),
        (Net(PCM.replace(rows=9), nnx.Rngs(0, dropout=0)), "layers hidden, out: .* rows = 512, .* rows = 9"),
        (Net(None, nnx.Rngs(0, dropout=0)), "layers hidden, out: saved on hardware 'pcm', this model's is digital"),
        (AnalogLinear(8, 6, hardware=PCM, rngs=nnx.Rngs(0)), "layers hidden, out are in the checkpoint, not in the"),
        (on_chip(net, net_chip), r"model: layer hidden is on a chip \(on_chip\)"),
        (MODEL, "holds an NNX model, this is a Linen model"),
    ):
        with pytest.raises(InputError, match=message):
            restore(kept_net, model)
    with pytest.raises(InputError, match="train: an NNX model takes no call options"):
        restore(kept_net, net, train=True)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    for folder, message in (
        (tmp_path / "none", "does not exist"),
        (tmp_path, "is not a checkpoint of analogsim.save: it has no analogsim.json"),
        (3, "folder = 3: must be the path of a folder"),
        ("", "folder = '': must be the path"),
        ("gs://bucket/a", "must be on a local disk"),
        (__file__, "is a file"),
    ):
        with pytest.raises(InputError, match=message):
            restore(folder, MODEL)


def _of_newer_format(text):
    text["format"] = 5
    text["leaves"] = "arranged in another way"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            _of_newer_format,
            "has format 5, written by analogsim .*; this version reads formats up to 4; update analogsim",
        ),
        (lambda t: t.update(format="1"), "has no format number; it is damaged"),
        (lambda t: t.pop("layers"), "'layers' in analogsim.json is missing or invalid; it is damaged"),
        (lambda t: t.update(layers=[1]), "'layers' in"),
        (lambda t: t["layers"]["Dense_0"].pop("matrix"), "'layers' in"),
        (lambda t: t["layers"]["Dense_0"].update(hardware=3), "'layers' in"),
        (lambda t: t["layers"]["Dense_0"].update(hardware={}), "layer Dense_0: saved on hardware with class = "),
        (lambda t: t.update(front_end="torch"), "'front_end' in"),
        (lambda t: t.update(files={"../../secret": [1, 2]}), "'files' in"),
        (lambda t: t.update(inputs=[{"shape": "8", "dtype": "float32"}]), "'inputs' in"),
        (lambda t: t.update(inputs=[{"shape": [8], "dtype": "float"}, 3]), "'inputs' in"),
        (lambda t: t.update(inputs=None), "cannot be called with inputs of the saved shapes"),
        (lambda t: t.update(chip={"stack": [0]}), "'chip' in"),
        (lambda t: t.update(chip={"stack": [2]}), r"chip: .*: shape \(.*\) on the chip, \(2, .*\) in the model"),
        (
            lambda t: t.update(files={}),
            "'files' in analogsim.json is empty, but variables/.* is an array; it is damaged",
        ),
        (lambda t: t["files"].popitem(), "arrays/.* is not listed in 'files' of analogsim.json; it is damaged"),
        (lambda t: t.update(more=1), "has 'more', which no checkpoint of format 4 has; it is damaged"),
        (
            lambda t: t.update(chip=None),
            "'leaves' in analogsim.json has chip/.*, which is not part of the saved model or chip",
        ),
        (
            lambda t: t["leaves"].update({"chip/time_s": {"kind": "int", "value": "-5"}}),
            "chip/time_s = -5: must be finite",
        ),
        (
            lambda t: t["leaves"].update({"chip/time_s": {"kind": "float", "value": "nan"}}),
            "chip/time_s = nan: must be",
        ),
        (
            lambda t: t["leaves"].update({"chip/time_s": {"kind": "bool", "value": "True"}}),
            "chip/time_s = True: must be",
        ),
        (
            lambda t: t["leaves"].update({"chip/time_s": {"kind": "float", "value": "1e300"}}),
            "time = 1e\\+300: must be at",
        ),
        (lambda t: t["leaves"].update(a={"kind": "pickle"}), "'leaves' in"),
        (lambda t: t["leaves"].update(a={"same_as": "b"}), "'leaves' in analogsim.json has no b"),
        (lambda t: t["leaves"].pop("chip/time_s"), "'leaves' in analogsim.json has no chip/time_s"),
        (lambda t: t["leaves"].pop("variables/params/Dense_0/bias"), "has no variables/params/Dense_0/bias"),
        (
            lambda t: t["leaves"].pop("chip/cells/Dense_0/analog/array/reference"),
            "reference is in the model, not on the chip",
        ),
        (
            lambda t: t["leaves"]["variables/ranges/Dense_0/analog/input"].update(shape=[2]),
            "input has another shape or dtype than in analogsim.json",
        ),
        (lambda t: t["leaves"]["variables/ranges/Dense_0/analog/input"].update(dtype="x"), "'leaves' in"),
    ],
)
def test_a_damaged_or_newer_text_is_refused(tmp_path, kept, change, message):
    with pytest.raises(InputError, match=message):
        restore(edited(tmp_path / "a", kept, change), MODEL)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t["leaves"].update({"chip/time_s": {"kind": "float", "value": "-5"}}),
        lambda t: t["leaves"].update({"chip/time_s": {"kind": "float", "value": "2.0"}}),
        lambda t: t.update(files={}),
        lambda t: t["layers"]["Dense_0"]["hardware"].update(name="another"),
        lambda t: t.update(analogsim="9.9"),
        lambda t: t.update(built_with={"a": "float16"}),
        lambda t: t.update(checksum="sha256:0"),
    ],
)
def test_every_word_of_the_text_is_covered(tmp_path, kept, change):
    with pytest.raises(InputError, match=r"analogsim.json does not match its checksum; it is damaged"):
        restore(edited(tmp_path / "a", kept, change, seal=False), MODEL)


def test_every_byte_of_the_text_is_covered(tmp_path, kept):
    """A flipped bit anywhere is refused, or is in the layout, which says nothing."""
    raw, read = (kept / "analogsim.json").read_bytes(), read_manifest
    expected, unseen = read(kept), 0
    for i in range(0, len(raw), 29):
        flipped = bytearray(raw)
        flipped[i] ^= 1
        (tmp_path / "analogsim.json").write_bytes(flipped)
        try:
            assert read(tmp_path) == expected
            unseen += 1
        except InputError:
            pass
    assert not unseen  # a flipped space is "!", a flipped line break a control character: no JSON
    laid_out = json.dumps(json.loads(raw), indent=4)
    (tmp_path / "analogsim.json").write_text(laid_out)
    assert read(tmp_path) == expected
    for twice in (
        laid_out.replace('"format": 4', '"format": 4, "format": 4'),
        laid_out.replace('"chip":', '"chip": NaN, "b":'),
    ):
        (tmp_path / "analogsim.json").write_text(twice)
        with pytest.raises(InputError, match=r"cannot be read .*; it is damaged"):
            read(tmp_path)
    del expected["checksum"]
    (tmp_path / "analogsim.json").write_text(json.dumps(expected))
    with pytest.raises(InputError, match=r"'checksum' in analogsim\.json is missing"):
        read(tmp_path)


def test_a_checkpoint_of_the_first_version_is_read_with_a_warning(tmp_path, kept, variables, chip):
    def of_first_version(text):
        text["format"], text["analogsim"] = 1, "0.1.0"
        del text["checksum"]

    old = edited(tmp_path / "old", kept, of_first_version)
    with pytest.warns(
        UserWarning, match=r"has format 1, written by analogsim 0\.1\.0, without a checksum of analogsim\.json"
    ):
        found = restore(old, MODEL)
    assert_equal(found.chip, chip)
    assert_equal(found.variables, variables)

    def switched_off(text):
        of_first_version(text)
        text["files"] = {}

    def younger(text):
        of_first_version(text)
        text["leaves"]["chip/time_s"] = {"kind": "float", "value": "-5"}

    for i, (change, message) in enumerate(
        ((switched_off, "'files' in analogsim.json is empty, but"), (younger, "chip/time_s = -5: must be finite"))
    ):
        with pytest.warns(UserWarning, match="has format 1"), pytest.raises(InputError, match=message):
            restore(edited(tmp_path / str(i), kept, change), MODEL)
    with pytest.raises(InputError, match="has 'checksum', which no checkpoint of format 1 has"):
        restore(edited(tmp_path / "both", kept, lambda t: t.update(format=1), seal=False), MODEL)


def test_ranges_of_no_layer_are_refused(tmp_path, kept_net, net):
    def renamed(text):
        leaves = text["leaves"]
        leaves["ranges/hidden/inputs"] = leaves.pop("ranges/hidden/input")

    with pytest.raises(InputError, match="ranges/hidden/inputs is in the checkpoint, but is not a range of the model"):
        restore(edited(tmp_path / "a", kept_net, renamed), net)


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
        with pytest.raises(
            InputError, match=rf"the {how} of {data} differs from the one in analogsim.json; it is damaged"
        ):
            restore(folder, MODEL)

    def one_more(text):
        text["leaves"]["variables/more/a"] = {"kind": "array", "shape": [2], "dtype": "float32"}

    with pytest.raises(InputError, match="its arrays cannot be read"):
        restore(edited(tmp_path / "more", kept, one_more), MODEL)
