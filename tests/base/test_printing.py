"""What is printed is short, names are found as people write them, and a file says at least one thing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import DAC, Hardware, InputError, from_toml, load_hardware, preset, presets, program, to_toml
from analogsim.base import Description
from analogsim.base.equality import in_short
from analogsim.base.errors import nearest, nearest_of
from analogsim.devices import MeasuredCell
from analogsim.linen import AnalogDense
from analogsim.models import bind
from analogsim.training import FineTuned

# --- repr ------------------------------------------------------------------------------------------------------------

X = np.ones((2, 40), np.float32)
MODEL = AnalogDense(30, hardware=Hardware(name="mine", rows=16, columns=16, dac=DAC(bits=6)))
VARIABLES = {"params": {"kernel": np.ones((40, 30), np.float32), "bias": np.zeros(30, np.float32)}}


def test_a_chip_is_one_line():
    # 40 inputs on tiles of 16 rows: 3; 30 outputs on 16 columns: 2.
    chip = program(MODEL, VARIABLES, jax.random.key(0), X)
    assert repr(chip) == "Chip(1 layer, 1,200 weights on 6 tiles of 'mine', at 0 s)"
    assert repr(chip.at("1 day")).endswith("'mine', at 1 day)")
    held = chip.cells["analog"]["array"]
    assert repr(held) == "ProgrammedTiles(40 x 30 on 3 x 2 tiles of 'mine')"
    array = chip.readings["analog"]["array"]
    assert repr(array) == "ChipArray(40 x 30 on 3 x 2 tiles of 'mine', at 0 s)"
    assert repr(array.reading) == "Reading(40 x 30 on 3 x 2 tiles, at 0 s)"
    stack = program(MODEL, VARIABLES, jax.random.split(jax.random.key(0), 5), X)
    assert repr(stack) == "Chip(1 layer, 6,000 weights on 30 tiles of 'mine', at 0 s)"
    assert repr(stack.cells["analog"]["array"]) == "ProgrammedTiles(5 of 40 x 30 on 3 x 2 tiles of 'mine')"
    assert len(repr(chip.axes)) < 100
    printed = []
    jax.eval_shape(lambda t: printed.append(repr(chip.at(t))), 1.0)
    assert printed[0].endswith("at a traced time)")


def test_what_holds_arrays_prints_their_sizes():
    arrays = np.zeros((300, 40), np.float32)
    assert in_short(arrays) == "<float32[300, 40]>"
    assert in_short({"a": arrays, "b": {"c": jnp.zeros(3)}}) == "<dict with 2 arrays of 12,003 numbers>"
    assert in_short(np.float32([1, 2])) == "array([1., 2.], dtype=float32)"
    assert len(repr(bind(MODEL, VARIABLES, X, {}))) < 500
    tuned = FineTuned(variables=VARIABLES, model=None, loss=arrays[0], accuracy=arrays[0], noise_scale=arrays[0],
                      clipping_before=None, clipping=None)  # fmt: skip
    assert "variables=<dict with 2 arrays of 1,230 numbers>, model=None, loss=<float32[40]>" in repr(tuned)
    cell = MeasuredCell(conductance=np.linspace(0, 1e-5, 500), time_s=np.array([1.0]), sigma=np.zeros((1, 500)))
    assert "conductance=<float64[500]>" in repr(cell)
    assert "noise=<float64[99]>" in repr(preset("pcm", **{"adc.noise": np.linspace(0, 0.1, 99)}))


def test_descriptions_are_printed_as_they_are_written():
    class Table(Description):
        """Of the user's own."""

    assert repr(Table()) == "Table()"
    hardware = preset("pcm", **{"adc.bits": 6})
    assert "ADC(bits=6, noise=0.04)" in repr(hardware)


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [("PCM", "pcm"), ("Pcm", "pcm"), ("INT8", "int8"), ("ring bank", "ring-bank"), ("Ring_Bank", "ring-bank"),
     ("READ NOISE", "read_noise"), ("ReRam", "reram"), ("pmc", "pcm")],
)  # fmt: skip
def test_names_are_found_as_people_write_them(written, meant):
    known = [*presets(), "read_noise", "ReRAM2"]
    assert nearest(written, known) == f"did you mean '{meant}'?"
    assert nearest_of(written, known).startswith(f"did you mean '{meant}'? (known: ")


def test_of_names_that_differ_in_case_alone_each_is_found():
    assert nearest("PCM", ["pcm", "PCM"]) == "did you mean 'PCM'?"
    assert nearest("pcm", ["pcm", "PCM"]) == "did you mean 'pcm'?"
    assert nearest("nothing like it", ["pcm"]) == "known: pcm"


def test_a_preset_in_other_letters_is_hinted_at():
    with pytest.raises(InputError, match=r"unknown preset 'PCM'; did you mean 'pcm'\?"):
        preset("PCM")


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "\n \n", "# only a comment\n", 'kind = "Hardware"', "\ufeff", "\ufeff\n"])
def test_a_file_that_says_nothing_is_refused(text, tmp_path):
    words = r'says nothing about the hardware; must have a field or a preset: preset = "pcm"'
    with pytest.raises(InputError, match=words):
        from_toml(text)
    (tmp_path / "empty.toml").write_bytes(text.encode())
    with pytest.raises(InputError, match=rf"empty\.toml.*{words}"):
        load_hardware(tmp_path / "empty.toml")


def test_all_defaults_are_a_file_too():
    assert from_toml(to_toml(Hardware())) == Hardware()
    assert from_toml('preset = "ideal"') == preset("ideal")
    assert from_toml("rows = 512") == Hardware()


def test_a_byte_order_mark_says_nothing(tmp_path):
    text = 'preset = "pcm"\n"adc.bits" = 99'
    assert from_toml('\ufeffpreset = "pcm"') == preset("pcm")
    (tmp_path / "marked.toml").write_text(text, encoding="utf-8-sig")
    with pytest.raises(InputError, match=r"marked\.toml, line 2: ADC.bits = 99"):
        load_hardware(tmp_path / "marked.toml")
    with pytest.raises(InputError, match=r"hardware, line 2: ADC.bits = 99"):
        from_toml("\ufeff" + text)
