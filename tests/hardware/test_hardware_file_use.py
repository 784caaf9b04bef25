"""What a hardware file may say, classes of a user in it, and the commands that read it."""

import math
import re
import subprocess
import sys

import jax
import numpy as np
import pytest
import typer.testing

import analogsim
from analogsim import ADC, DAC, EnergyTable, Hardware, InputError, from_toml, load_hardware, preset, presets, to_toml
from analogsim.cli.app import app
from analogsim.devices import PCM, Crossbar, DigitalMemory, field, static
from analogsim.hardware import weight_modifiers as modifiers
from analogsim.hardware.file import hardware_named
from tests.hardware.test_hardware_file import returns

# --- what a file may say ---------------------------------------------------------------------------------------------


def test_a_file_of_an_own_hardware(tmp_path):
    text = """
    name = "my pcm"
    rows = 256
    [store]
    kind = "Crossbar"
    [store.cell]
    kind = "PCM"
    g_max = "20 uS"
    [dac]
    bits = 6
    """
    file = tmp_path / "my.toml"
    file.write_text(text, encoding="utf-8")
    wanted = Hardware(name="my pcm", rows=256, store=Crossbar(cell=PCM(g_max=20e-6)), dac=DAC(bits=6))
    assert load_hardware(file) == load_hardware(str(file)) == hardware_named(str(file)) == wanted
    file.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())  # as an editor on Windows may write it
    assert load_hardware(file) == wanted


@pytest.mark.parametrize(
    "text",
    [
        '"adc.bits" = 6\n"store.cell.g_max" = "20 uS"',
        "adc.bits = 6\nstore.cell.g_max = 20e-6",
        '[adc]\nbits = 6\n[store.cell]\ng_max = "20 uS"',
        'adc = { bits = 6 }\n[store]\n"cell.g_max" = 2e-5',
        'kind = "Hardware"\n"adc.bits" = 6\nstore = { cell = { g_max = "20 uS" } }',
        '"store.cell.g_max" = "20 uS"\n[adc]\nbits = 6\n[store]\nfaults = "none"',
    ],
)
def test_a_preset_is_changed_by_names_or_tables(text):
    assert from_toml(f'preset = "pcm"\n{text}') == preset("pcm", **{"adc.bits": 6, "store.cell.g_max": "20 uS"})


def test_a_kind_starts_from_its_defaults_and_no_kind_from_what_is_there():
    assert from_toml('preset = "pcm"\n[adc]\nkind = "ADC"\nbits = 6').adc == ADC(bits=6)
    assert from_toml('preset = "pcm"\n[adc]\nbits = 6').adc == preset("pcm").adc.replace(bits=6)
    assert from_toml("[store]\nbits = 4").store == DigitalMemory(bits=4)
    assert from_toml("[energy_table]\nmac_j = 1e-13").energy_table == EnergyTable(mac_j=1e-13)


def test_none_is_a_word():
    hardware = from_toml('preset = "pcm"\nadc = "none"\ndac = "none"\ndrift_compensation = "none"')
    assert (hardware.adc, hardware.dac, hardware.drift_compensation) == (None, None, "none")
    assert from_toml('preset = "pcm"\nadc.noise = "none"').adc.noise is None


def test_modifiers_one_after_the_other():
    text = """
    [training]
    kind = "Chain"
    [[training.modifiers]]
    kind = "Discretise"
    bits = 5
    [[training.modifiers]]
    kind = "AdditiveNoise"
    std = 0.05
    """
    wanted = modifiers.Chain(modifiers=(modifiers.Discretise(bits=5), modifiers.AdditiveNoise(std=0.05)))
    assert from_toml(text).training == wanted
    of = 'modifiers = [{ kind = "Discretise", bits = 5 }, { kind = "AdditiveNoise", std = 0.05 }]'
    assert from_toml(f'[training]\nkind = "Chain"\n{of}').training == wanted
    assert "[[training.modifiers]]\nkind" in re.sub("  #.*", "", to_toml(Hardware(training=wanted)))


class MyCell(PCM):
    """A cell as a user would write one."""

    phase: complex = field(default=0j, doc="a complex number\nwith a \x00 in its meaning")
    anything: tuple = static(default=(), doc="")
    level: float = field(default=0.0, doc="without rules")
    maybe: str | None = field(default=None, optional=True)


class Holder(PCM):
    """A cell of cells."""

    parts: tuple = field(default=())


def test_classes_of_a_user_are_given():
    cell = MyCell(phase=1 - 2j, anything=("a", (1, 2.0), True, math.inf, 3j), level=math.nan, g_max="20 uS")
    hardware = Hardware(store=Crossbar(cell=cell))
    with pytest.raises(InputError, match=r"Crossbar.cell = a MyCell: is of a class that no hardware file knows; give "
                       r"kinds=\{'MyCell': MyCell\} here and to load_hardware"):  # fmt: skip
        to_toml(hardware)
    returns(hardware, kinds={"MyCell": MyCell})
    with pytest.raises(InputError, match=r"hardware, line \d+: Crossbar.cell.kind: unknown class 'MyCell'"):
        from_toml(to_toml(hardware, kinds={"MyCell": MyCell}))
    returns(Hardware(store=Crossbar(cell=Holder(parts=(PCM(), MyCell())))), kinds={"MyCell": MyCell, "Holder": Holder})


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ({"PCM": MyCell}, r"kinds\['PCM'\]: is the name of a class of analogsim"),
        ({"MyCell": dict}, r"kinds\['MyCell'\] = <class 'dict'>: must be a class made from analogsim.devices.Desc"),
        ([MyCell], r"kinds = \[<class .*MyCell'>\]: must be a dictionary of classes by name"),
    ],
)
def test_kinds_are_descriptions_with_names_of_their_own(kinds, message):
    with pytest.raises(InputError, match=message):
        from_toml("", kinds=kinds)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"adc.noise": np.array([0.1, 0.2])},
            r"ADC.noise: is an array of shape \(2,\); a file describes one set of hardware",
        ),
        ({"store.cell": MyCell(level=object())}, r"MyCell.level = <object .*>: cannot be written to a file"),
        ({"store.cell": MyCell(level=None)}, r"MyCell.level = None: cannot be written to a file"),
        ({"store.cell": MyCell(anything=((PCM(),),))}, r"MyCell.anything = PCM\(\): cannot be written to a file"),
        ({"store.cell": MyCell(maybe="none")}, r"MyCell.maybe = 'none': is the word that stands for None"),
        ({"name": "\ud800"}, r"has a lone surrogate, which a TOML file cannot hold"),
    ],
)
def test_what_a_file_cannot_hold_is_not_written(change, message):
    with pytest.raises(InputError, match=message):
        to_toml(preset("pcm", **change), kinds={"MyCell": MyCell})


def test_only_hardware_outside_of_jit_is_written():
    with pytest.raises(InputError, match=r"ADC.noise: is traced; a file is written outside of jax.jit"):
        jax.jit(lambda noise: len(to_toml(preset("pcm", **{"adc.noise": noise}))))(0.1)
    with pytest.raises(InputError, match=r"to_toml writes Hardware, not PCM\(\)"):
        to_toml(PCM())
    with pytest.raises(InputError, match=r"from_toml reads a string, not b''; a file is read by load_hardware"):
        from_toml(b"")


# --- the command line ------------------------------------------------------------------------------------------------


def run(*arguments):
    return typer.testing.CliRunner().invoke(app, list(map(str, arguments)))


@pytest.mark.parametrize("name", presets())
def test_show_prints_a_file(name, tmp_path):
    done = run("show", name, "--toml")
    assert (done.exit_code, done.output) == (0, to_toml(preset(name), all_fields=True))
    file = tmp_path / "my.toml"
    file.write_text(done.output.replace(f'name = "{name}"', 'name = "mine"'), encoding="utf-8")
    assert run("show", file).output == str(preset(name).replace(name="mine")) + "\n"
    assert run("show", file, "--toml").output == to_toml(preset(name).replace(name="mine"), all_fields=True)


def test_commands_that_take_a_preset_take_a_file(tmp_path):
    file = tmp_path / "my.TOML"
    file.write_text('preset = "pcm"\n"store.cell.g_max" = "20 uS"\n', encoding="utf-8")
    cited = run("cite", file)
    assert cited.exit_code == 0, cited.output
    assert "20 µS" in cited.output
    typical = []
    for hardware in (file, "pcm"):
        priced = run("energy", "--model", "mlp", "--hardware", hardware, "--json")
        assert priced.exit_code == 0, priced.output
        typical.append(float(re.search(r'"energy_typical_j": ([\d.e-]+)', priced.output)[1]))
    assert typical[0] < typical[1]  # cells that conduct less
    for arguments in (("show", "no.toml"), ("cite", "no.toml"), ("energy", "--hardware", "no.toml")):
        error = run(*arguments).exception
        assert isinstance(error, InputError)
        assert str(error) == "no.toml: there is no such file"


def test_import_stays_light_and_the_functions_are_at_the_top():
    code = "import sys, analogsim; assert 'analogsim.hardware.file' not in sys.modules; print(analogsim.load_hardware)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "load_hardware" in done.stdout, done.stderr
    assert analogsim.to_toml is to_toml
    assert {"to_toml", "from_toml", "load_hardware"} <= set(dir(analogsim))
