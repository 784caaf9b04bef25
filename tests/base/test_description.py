"""Hardware descriptions: frozen, validated, and JAX pytrees."""

import copy
import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import ADC, DAC, EnergyTable, FreshChip, Hardware, InputError, devices, preset, presets
from analogsim.base.description import check_one_value
from analogsim.base.field_rules import rule_of
from analogsim.devices import (
    PCM,
    Crossbar,
    Description,
    Differential,
    DigitalMemory,
    ReRAM,
    describe,
    field,
    static,
)  # fmt: skip

ALL = [ADC, DAC, Hardware, EnergyTable, PCM, ReRAM, Crossbar, Differential, DigitalMemory]


class Wire(Description):
    """As a user would write one."""

    resistance: float = field(default=2.93, unit="ohm", gt=0, le=1e6, doc="one segment")
    noise: float | None = field(default=None, ge=0, lt=1, optional=True, doc="a share")
    taps: tuple = field(default=(1.0, 2.0), unit="V", ge=-5, le=5, doc="two voltages")
    length: int = static(default=4, ge=1, le=64, integer=True, doc="segments")
    side: str = static(default="left", choices=("left", "right"), doc="where it is driven")


# --- names -----------------------------------------------------------------------------------------------------------


def test_an_unknown_preset_is_answered_with_the_nearest():
    with pytest.raises(
        InputError, match=r"unknown preset 'pmc'; did you mean 'pcm'\? \(known: ideal, int8, pcm, reram, mzi-mesh, "
    ):
        preset("pmc")
    with pytest.raises(InputError, match=r"unknown preset 'zzzz'; known: ideal, int8, pcm, reram"):
        preset("zzzz")
    with pytest.raises(InputError, match="unknown preset"):
        preset(None)


def test_a_preset_is_one_name_and_no_name_is_listed_twice():
    with pytest.raises(InputError, match=r"unknown preset \['pcm'\]: must be the name of one; known: ideal"):
        preset(["pcm"])
    with pytest.raises(InputError) as error:
        preset("zzzz")
    assert str(error.value).count("int8") == 1


def test_fields_without_their_name_are_refused():
    with pytest.raises(
        InputError, match=r"Hardware takes keyword arguments only, e\.g\. Hardware\(name=\.\.\.\); got 1"
    ):
        Hardware(3)
    with pytest.raises(InputError, match=r"Wire takes keyword arguments only, e\.g\. Wire\(resistance=\.\.\.\)"):
        Wire(2.0, length=3)


def test_a_month_is_printed_as_a_month():
    text = describe(preset("pcm", **{"training.time_s": "1 month"}))
    assert "time_s = 1 month " in text
    assert "read_time_s = 250 ns " in text  # short times keep their prefix


def test_several_values_a_field_are_for_vmap_only():
    for value in (np.array([4.0, 8.0]), jnp.ones((2, 3))):
        with pytest.raises(
            InputError, match=rf"Wire.resistance: an array of shape \({str(value.shape)[1:-1]}\): .*vmap"
        ):
            check_one_value(Wire(resistance=value))
    with pytest.raises(InputError, match=r"Wire\.taps: an array"):
        check_one_value(Wire(taps=(np.ones(3), 1.0)))
    swept = Wire(resistance=jnp.array([1.0, 2.0]), noise=jnp.array([0.1, 0.2]), taps=(jnp.ones(2), jnp.ones(2)))
    jax.vmap(check_one_value)(swept)  # inside, every field holds one value
    check_one_value(preset("pcm", **{"adc.bits": jnp.array(8)}))


def test_an_unknown_field_is_answered_with_the_nearest():
    with pytest.raises(InputError, match=r"Wire has no field 'resistence'; did you mean 'resistance'\?"):
        Wire(resistence=3)
    with pytest.raises(InputError, match=r"Hardware has no field 'stoer'; did you mean 'store'\?"):
        preset("pcm", stoer=1)
    with pytest.raises(InputError, match=r"PCM has no field 'gmax'; did you mean 'g_max'\?"):
        preset("pcm", **{"store.cell.gmax": 1})
    with pytest.raises(InputError, match=r"Hardware has no field 'stor'; did you mean 'store'\?"):
        preset("pcm", **{"stor.cell": 1})
    with pytest.raises(InputError, match=r"Hardware.adc = None has no fields \(requested: bits\)"):
        preset("ideal", **{"adc.bits": 8})
    with pytest.raises(InputError, match=r"PCM.g_max = 2.5e-05 has no fields \(requested: x\)"):
        preset("pcm", **{"store.cell.g_max.x": 1})


def test_a_missing_value_is_named():
    class Needy(Description):
        size: float = field(gt=0)

    with pytest.raises(InputError, match="Needy needs a value for 'size'"):
        Needy()
    assert Needy(size=1).size == 1.0


# --- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (dict(resistance=0), r"Wire.resistance = 0: must be greater than 0 and at most 1e\+06 \(unit: ohm\)"),
        (dict(resistance=-1), r"Wire.resistance = -1: must be greater than 0"),
        (dict(resistance=2e6), r"Wire.resistance = 2e\+06: must be"),
        (dict(resistance=math.nan), r"Wire.resistance = nan: must be"),
        (dict(resistance=math.inf), r"Wire.resistance = inf: must be"),
        (dict(resistance=None), r"Wire.resistance = None: must be a number"),
        (dict(resistance=True), r"Wire.resistance = True: must be a number"),
        (dict(resistance=1j), r"Wire.resistance = 1j: must be a number"),
        (dict(resistance=[1.0]), r"Wire.resistance = \[1.0\]: must be a number"),
        (dict(resistance="thick"), r"Wire.resistance = 'thick': expected a number such as '2.5 ohm'"),
        (dict(resistance="3 V"), r"Wire.resistance = '3 V': unknown unit 'V', expected ohm"),
        (dict(resistance="-3 ohm"), r"Wire.resistance = -3: must be greater than 0"),
        (dict(resistance=np.array([1.0, -2.0])), r"Wire.resistance = -2: must be greater than 0"),
        (dict(resistance=jnp.array([1.0, jnp.nan])), r"Wire.resistance = nan: must be greater than 0"),
        (dict(noise=-0.1), r"Wire.noise = -0.1: must be at least 0 and less than 1"),
        (dict(noise=1.0), r"Wire.noise = 1: must be at least 0 and less than 1"),
        (dict(taps=(1.0, 9.0)), r"Wire.taps = 9: must be at least -5 and at most 5 \(unit: V\)"),
        (dict(taps=(1.0, "2 A")), r"Wire.taps = '2 A': unknown unit 'A', expected V"),
        (dict(length=0), r"Wire.length = 0: must be an integer between 1 and 64"),
        (dict(length=2.5), r"Wire.length = 2.5: must be an integer"),
        (dict(side="up"), r"Wire.side = 'up': must be one of 'left', 'right'"),
    ],
)
def test_what_is_out_of_range_is_refused_with_field_value_range_and_unit(bad, message):
    with pytest.raises(InputError, match=message):
        Wire(**bad)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Hardware(rows=0), r"Hardware.rows = 0: must be an integer between 1"),
        (lambda: FreshChip(time_s="-1 day"), r"FreshChip.time_s = -86400: must be at least 0"),
        (lambda: FreshChip(time_s="1 uS"), r"FreshChip.time_s = '1 uS': unknown unit 'uS', expected s"),
        (lambda: Hardware(drift_compensation=True), r"Hardware.drift_compensation = True: must be one of 'none'"),
        (lambda: Hardware(store=PCM()), r"Hardware.store = PCM\(\): must be a description with program, read"),
        (lambda: Hardware(dac=8), r"Hardware.dac = 8: must be a DAC or None"),
        (
            lambda: Hardware(adc=DAC()),
            r"Hardware.adc = DAC\(\): must be a description with fabricate, .*, or None",
        ),
        (lambda: Hardware(name=3), r"Hardware.name = 3: must be a string"),
        (lambda: preset("pcm", **{"adc.noise": -0.04}), r"ADC.noise = -0.04: must be at least 0"),
        (
            lambda: preset("reram", **{"training.time_s": "3 days"}),
            r"Hardware.training: latest_s = 259200: the model of .* has data only from 0 to 172800 \(unit: s",
        ),
    ],
)
def test_bad_hardware_is_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()


def test_a_range_that_ends_before_it_begins_is_refused():
    with pytest.raises(InputError, match=r"PCM\.drift_mean_range = "):
        PCM(drift_mean_range=(0.1, 0.049))


@pytest.mark.parametrize("bad", [dict(rows=(4, 4)), dict(columns=jnp.array(4)), dict(rows=np.array([4]))])
def test_structure_is_one_plain_number(bad):
    with pytest.raises(InputError, match=rf"Hardware\.{next(iter(bad))} = "):
        Hardware(**bad)


def test_an_output_converter_is_no_input_converter():
    # Its range and noise would be ignored.
    with pytest.raises(InputError, match=r"Hardware\.dac = "):
        Hardware(dac=ADC(range=3.0, noise=0.1))


def test_half_a_store_is_refused():
    class Half:
        program = read = noise = cost = None  # what the protocol asks for, but not how long or with how many cells

    with pytest.raises(InputError, match=r"Hardware\.store = .*: must be a description with .*time_limit_s"):
        Hardware(store=Half())


def test_the_message_names_the_kind_of_number_once():
    with pytest.raises(InputError) as caught:
        DAC(bits=None)
    assert str(caught.value) == "DAC.bits = None: must be an integer between 2 and 24"


@pytest.mark.parametrize(
    ("item", "name", "expected"),
    [
        (PCM(g_max="25 uS"), "g_max", 25e-6),
        (PCM(g_max="25 µS"), "g_max", 25e-6),
        (PCM(g_max="0.025 mS"), "g_max", 25e-6),
        (PCM(g_max=2.5e-5), "g_max", 25e-6),
        (PCM(g_max=np.float64(2.5e-5)), "g_max", 25e-6),
        (PCM(read_time_s="250 ns"), "read_time_s", 250e-9),
        (PCM(drift_reference_s="20"), "drift_reference_s", 20.0),
        (FreshChip(time_s="1 day"), "time_s", 86400.0),
        (FreshChip(time_s=3), "time_s", 3.0),
        (Hardware(rows="256"), "rows", 256),
        (Hardware(rows=np.int32(256)), "rows", 256),
        (ADC(noise="0.04"), "noise", 0.04),
        (ADC(noise=None), "noise", None),
        (EnergyTable(read_voltage_v="200 mV"), "read_voltage_v", 0.2),
        (Wire(taps=("500 mV", 1)), "taps", (0.5, 1.0)),
    ],
)
def test_text_with_units_and_every_kind_of_number_is_accepted(item, name, expected):
    value = getattr(item, name)
    assert value == pytest.approx(expected) if expected is not None else value is None
    assert type(value) is type(expected)  # one type a field, so that equal values share a compilation


# --- immutability, equality, printing --------------------------------------------------------------------------------


def test_descriptions_are_frozen_and_keyword_only():
    wire = Wire()
    with pytest.raises(dataclasses.FrozenInstanceError):
        wire.resistance = 3.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        del wire.noise
    with pytest.raises(InputError, match="keyword arguments only"):
        Wire(3.0)


@pytest.mark.parametrize("name", presets())
def test_equal_hardware_is_equal_and_has_one_hash(name):
    a, b = preset(name), preset(name)
    assert a == b
    assert hash(a) == hash(b)
    assert a != a.replace(rows=7)
    for copied in (copy.deepcopy(a), a.replace()):
        assert copied == a


def test_the_way_a_value_was_written_does_not_matter():
    assert PCM(g_max="25 uS") == PCM(g_max=25e-6) == PCM()
    assert hash(DAC(bits=8)) == hash(DAC(bits="8"))
    assert preset("pcm", **{"adc.bits": 6}) == preset("pcm").replace(adc=preset("pcm").adc.replace(bits=6))


@pytest.mark.parametrize(
    "item",
    [
        *map(preset, presets()), Wire(), Wire(resistance="5 ohm", taps=(0.0, 1.0), side="right"), ReRAM(g_max="25 uS"),
        preset("pcm", **{"store.cell.read_noise": 0.5, "store.mapping.sides": 2, "rows": 64, "dac.bits": 6}),
    ],
)  # fmt: skip
def test_what_is_printed_can_be_evaluated_back(item):
    assert eval(repr(item), vars(devices) | globals()) == item


def test_printing_shows_only_what_differs():
    assert repr(Wire()) == "Wire()"
    assert repr(Wire(noise=0.5, length=3)) == "Wire(noise=0.5, length=3)"


@pytest.mark.parametrize("kind", ALL)
def test_describe_names_every_field_with_its_meaning(kind):
    text = describe(kind())
    for f in dataclasses.fields(kind):
        assert f.name in text
        assert rule_of(f).doc, f"{kind.__name__}.{f.name} has no doc"
        if not dataclasses.is_dataclass(getattr(kind(), f.name)):
            assert rule_of(f).doc in text


def test_describe_gives_values_with_their_units():
    lines = describe(preset("pcm")).splitlines()
    assert lines[0] == "Hardware"
    for expected in ("g_max = 25 µS ", "read_time_s = 250 ns ", "drift_reference_s = 20 s ", "noise = 0.04 ",
                     "rows = 512 ", "bits = 8 ", "drift_mean = (0.0244, -0.0155) "):  # fmt: skip
        assert sum(expected in line for line in lines) >= 1, expected
    assert str(preset("pcm")) == describe(preset("pcm"))
    assert "taps = (500 mV, 1 V)   two voltages" in describe(Wire(taps=(0.5, 1.0)))


def test_describe_gives_integers_whole():
    assert "rows = 65536 " in describe(preset("ideal"))


def test_every_default_of_the_physics_has_a_source():
    # Multipliers of what is published are one, by definition; extrapolating is off, and has no physics of its own.
    multipliers = {"programming_noise", "drift", "read_noise", "extrapolate"}
    for kind in (PCM, ReRAM):
        for f in dataclasses.fields(kind):
            assert rule_of(f).source or f.name in multipliers, f"{kind.__name__}.{f.name}"


# --- pytrees ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", presets())
def test_hardware_survives_jit_and_tree_map(name):
    hardware = preset(name)
    assert jax.tree.map(lambda leaf: leaf, hardware) == hardware
    leaves, structure = jax.tree.flatten(hardware)
    assert jax.tree.unflatten(structure, leaves) == hardware
    assert all(isinstance(leaf, (int, float)) for leaf in leaves)
    back = jax.jit(lambda h: h)(hardware)
    assert jax.tree.structure(back) == structure
    np.testing.assert_allclose(jax.tree.leaves(back), leaves, rtol=1e-6)
    assert (back.rows, back.scaling, back.name) == (hardware.rows, hardware.scaling, hardware.name)


def test_physics_is_leaves_and_structure_is_not():
    paths = {jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_leaves_with_path(preset("pcm"))}
    assert {".store.cell.g_max", ".store.cell.read_noise", ".adc.bits", ".adc.noise", ".dac.bits"} <= paths
    assert not any(name in path for path in paths for name in (".rows", ".columns", ".sides", ".scaling", ".name"))


def test_another_structure_is_another_pytree():
    base = jax.tree.structure(preset("pcm"))
    for change in (dict(rows=8), dict(scaling="tile"), {"store.mapping.sides": 2}, {"adc.noise": None}, dict(dac=None)):
        assert jax.tree.structure(preset("pcm", **change)) != base
    assert jax.tree.structure(preset("pcm", **{"adc.noise": 0.3, "store.cell.g_max": "20 uS"})) == base


def test_values_may_be_traced_and_swept():
    def total(noise):
        hardware = preset("pcm", **{"adc.noise": noise, "store.cell.drift": 2 * noise})
        return hardware.adc.noise + hardware.store.cell.drift

    sweep = jnp.array([0.1, 0.2, 0.5])
    np.testing.assert_allclose(jax.jit(jax.vmap(total))(sweep), 3 * sweep, rtol=1e-6)
    assert float(jax.grad(total)(0.3)) == pytest.approx(3.0)


def test_a_stack_of_hardware_can_be_mapped_over():
    stack = jax.tree.map(
        lambda *leaves: jnp.stack(leaves), *(Wire(resistance=r, taps=(r, -r)) for r in (1.0, 2.0, 4.0))
    )
    np.testing.assert_allclose(jax.vmap(lambda w: w.resistance * 2 + w.taps[1])(stack), [1.0, 2.0, 4.0])
    assert stack.length == 4


def test_an_array_of_allowed_values_is_a_value():
    wire = Wire(resistance=jnp.array([1.0, 2.0]))
    np.testing.assert_array_equal(wire.resistance, [1.0, 2.0])


# --- replace ---------------------------------------------------------------------------------------------------------


def test_dotted_names_reach_any_depth():
    base = preset("pcm")
    changed = base.replace(**{"store.cell.g_max": "20 uS", "store.mapping.sides": 2, "adc.noise": None, "rows": 64})
    assert changed.store.cell.g_max == pytest.approx(20e-6)
    assert (changed.store.mapping.sides, changed.adc.noise, changed.rows) == (2, None, 64)
    assert changed.store.cell.read_noise_fit == base.store.cell.read_noise_fit
    assert base == preset("pcm")  # untouched


def test_a_whole_part_and_its_fields_may_be_replaced_together():
    changed = preset("ideal").replace(**{"adc": ADC(bits=4), "adc.range": 3.0})
    assert (changed.adc.bits, changed.adc.range) == (4, 3.0)


def test_replaced_values_are_checked():
    with pytest.raises(InputError, match=r"PCM.g_min = 3e-05: must be less than g_max = 2.5e-05"):
        preset("pcm", **{"store.cell.g_min": "30 uS"})


# --- presets ---------------------------------------------------------------------------------------------------------


def test_presets_hold_the_published_choices():
    pcm, reram, int8 = preset("pcm"), preset("reram"), preset("int8")
    # Rasch et al., Nat. Commun. 14, 5282 (2023): 512 x 512, 8 bit, output noise 0.04. Their range of 10 is one for
    # their networks; here it is the layer's own.
    assert (pcm.rows, pcm.columns, pcm.dac.bits, pcm.adc.bits) == (512, 512, 8, 8)
    assert (pcm.adc.noise, pcm.drift_compensation) == (0.04, "global")
    assert pcm.store == Crossbar(cell=PCM(), mapping=Differential(sides=1))
    # Wan et al., Nature 608, 504 (2022): 256 x 256 arrays, 40 uS.
    assert (reram.rows, reram.columns, reram.store.cell.g_max) == (256, 256, 40e-6)
    assert (int8.store.bits, int8.dac.bits, int8.adc) == (8, 8, None)
    assert all(isinstance(text, str) and text for text in presets().values())
    assert all(preset(name).name == name for name in presets())
