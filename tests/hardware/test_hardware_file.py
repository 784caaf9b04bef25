"""Hardware files: read back to the last bit, refused with the line, and never more than data."""

import dataclasses
import tomllib

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import (
    DAC,
    DynamicRange,
    EnergyTable,
    FreshChip,
    Hardware,
    InputError,
    LearnedRange,
    TrackedRange,
    devices,
    from_toml,
    preset,
    presets,
    to_toml,
)
from analogsim.base.field_rules import Choice, Nested, rule_of
from analogsim.converters import SARADC, BitSerialDAC, CyclicADC, PipelineADC, PulseWidthDAC, RampADC
from analogsim.devices import (
    CELLS,
    PCM,
    BitSlices,
    Crossbar,
    Description,
    Differential,
    Faults,
    MultiCell,
    Offset,
    Wires,
    WriteVerify,
)  # fmt: skip
from analogsim.hardware import weight_modifiers as modifiers
from analogsim.hardware.kinds import KINDS, fitting
from analogsim.hardware.toml_writer import is_default
from tests.support.descriptions import MEASURED, every_description, example


def same(a, b):
    """Equal to the last bit, arrays included, with values of the same types."""
    leaves, others = jax.tree.leaves(a), jax.tree.leaves(b)
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(leaves, others, strict=True):
        assert type(x) is type(y)
        assert repr(x) == repr(y)
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def returns(hardware, **options):
    """Both forms of the file give the hardware back."""
    for all_fields in (False, True):
        text = to_toml(hardware, all_fields=all_fields, **options)
        assert max(map(len, text.splitlines())) <= 120 or "MeasuredCell" in text
        same(from_toml(text, **options), hardware)
    return text


# --- round trips -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", presets())
def test_every_preset_is_read_back(name):
    text = returns(preset(name))
    assert f'name = "{name}"' in text
    same(from_toml(f'preset = "{name}"'), preset(name))


@pytest.mark.parametrize("name", [name for name in CELLS if name != "measured"])
def test_every_cell_is_read_back(name):
    returns(Hardware(store=Crossbar(cell=CELLS[name]())))


#: How a class gets into hardware, by its place.
PLACES = {
    "store": lambda item: Hardware(store=item),
    "cell": lambda item: Hardware(store=Crossbar(cell=item)),
    "mapping": lambda item: Hardware(store=Crossbar(mapping=item)),
    "slices": lambda item: Hardware(store=Crossbar(mapping=Offset(slices=item))),
    "dac": lambda item: Hardware(dac=item),
    "adc": lambda item: Hardware(adc=item),
    "training": lambda item: Hardware(training=item),
    "input_range": lambda item: Hardware(dac=DAC(), input_range=item),
    "medium": lambda item: Hardware(
        store=devices.FadingLight(medium=item, rate_hz=1e4), training=FreshChip(time_s=1e-9)
    ),
}
#: Classes with one place.
PARTS = {
    "Branches": lambda item: Hardware(store=Crossbar(cell=devices.HermesPCM(read_noise_fit=item))),
    "Faults": lambda item: Hardware(store=Crossbar(faults=item)),
    "WriteVerify": lambda item: Hardware(store=Crossbar(write_verify=item)),
    "Wires": lambda item: Hardware(store=Crossbar(wires=item)),
    "EnergyTable": lambda item: Hardware(energy_table=item),
    "Ring": lambda item: Hardware(store=devices.RingBank(ring=item)),
    "OpticalPCM": lambda item: Hardware(store=devices.PhotonicTensorCore(film=item)),
    "PhaseShifter": lambda item: Hardware(store=devices.MZIMesh(shifter=item)),
    "Photodiode": lambda item: Hardware(store=devices.RingBank(detector=item)),
    "Homodyne": lambda item: Hardware(store=devices.MZIMesh(detector=item)),
    "AmplitudeRegister": lambda item: Hardware(store=devices.AmplitudeStore(register=item)),
    "Qubit": lambda item: Hardware(store=devices.AmplitudeStore(register=devices.AmplitudeRegister(qubit=item))),
}
#: Descriptions that no hardware is made of.
ALONE = {"FockQudit", "MultiLevelCell", "LowRank", "TensorTrain"}


def rules():
    """The rules of all fields that take descriptions, by the fields' names."""
    return {
        f.name: rule_of(f)
        for kind in (Hardware, *KINDS.values())
        for f in dataclasses.fields(kind)
        if isinstance(rule_of(f), Nested)
    }


@pytest.mark.parametrize("name", [name for name in KINDS if name not in ALONE])
def test_every_class_is_read_back_in_its_place(name):
    places = [PARTS[name]] if name in PARTS else []
    places += [PLACES[field] for field, rule in rules().items() if field in PLACES and name in fitting(rule, KINDS)]
    assert places
    item = example(KINDS[name])
    for place in places:
        assert f'kind = "{name}"' in returns(place(item))


def test_every_description_of_the_package_is_known():
    bases = {"Hardware", "Circuit", "WeightModifier", "RangeRule", "Codec"}
    sections = {"Data", "Model", "Digital", "Aware", "Evaluate", "Sweep"}  # of recipes and sweeps
    for kind in every_description():
        if kind.__name__ not in bases | sections | ALONE:
            assert KINDS.get(kind.__name__) is kind, kind


def varied(draw, item, depth=0):
    """A description with some numbers changed at random, or itself where its own checks refuse them."""
    changes = {}
    for f in dataclasses.fields(item):
        rule, value = rule_of(f), getattr(item, f.name)
        if isinstance(value, Description):
            changes[f.name] = varied(draw, value, depth + 1)
        elif isinstance(rule, Choice):
            changes[f.name] = draw(st.sampled_from(rule.choices))
        elif isinstance(value, float) and draw(st.booleans()):
            low = max(rule.ge if rule.ge is not None else rule.gt or 0.0, value / 4)
            changes[f.name] = draw(
                st.floats(low, max(low, value)) | st.integers(1, 999).map(lambda n, v=value: v * n / 1000)
            )
        elif rule.takes_none and not isinstance(rule, Nested) and draw(st.booleans()):
            changes[f.name] = None
    try:
        return item.replace(**changes)
    except InputError:
        return item


@hypothesis.given(st.data())
@hypothesis.settings(max_examples=60, suppress_health_check=[hypothesis.HealthCheck.too_slow])
def test_any_hardware_is_read_back(data):
    base = preset(data.draw(st.sampled_from(list(presets()))))
    name = data.draw(st.text(st.characters(codec="utf-8")))
    returns(varied(data.draw, base).replace(name=name))


@hypothesis.given(st.floats(0, 1e-3), st.floats(-1e-3, 1e-3), st.floats(1e-300, 1e6), st.floats(0, 1e12))
def test_numbers_are_exact_with_and_without_units(sigma, mean, reference, time_s):
    cell = PCM(drift_reference_s=reference, programming_sigma=(sigma, mean, 0.0))
    returns(Hardware(store=Crossbar(cell=cell), training=FreshChip(time_s=time_s)))


def test_numbers_have_the_unit_that_reads_best():
    hardware = preset("pcm", **{"training.time_s": "1 month", "store.cell.g_max": 2.5e-5 / 3})
    text = to_toml(hardware, all_fields=True)
    for line in (
        'time_s = "1 month" ',
        'read_time_s = "250 ns" ',
        "g_max = 8.333333333333334e-06 ",
        'network_j_per_bit = "81 fJ/bit" ',
        'adc_area_m2 = "1200 um2" ',
        'node_nm = "28 nm" ',
        "# S: largest programmed conductance",
        '# "analog" or "digital"; subtraction of a pair',
        "# or Offset\n",
    ):
        assert line in text, line


def test_what_is_the_default_is_left_out():
    # A file without a word about the hardware is refused, so that its name stands in it.
    assert [line for line in to_toml(Hardware()).splitlines() if line and line[0] != "#"] == ['name = "custom"']
    text = to_toml(preset("reram"))
    assert "g_max" not in text
    assert "rows = 256" in text
    assert not is_default(-0.0, dataclasses.fields(Faults)[0])  # 0.0, but not to the last bit
    full = to_toml(Hardware(), all_fields=True)
    for f in dataclasses.fields(EnergyTable):
        assert f"\n{f.name} = " in full
        assert " ".join(rule_of(f).doc.split()) in full.replace("\n# ", " ")


def test_other_types_of_numbers_become_plain_ones():
    written = to_toml(
        preset("pcm", **{"adc.range": np.float32(0.1), "adc.bits": jnp.array(6), "store.cell.drift": jnp.array(0.5)})
    )
    back = from_toml(written)
    assert (back.adc.range, back.adc.bits, back.store.cell.drift) == (float(np.float32(0.1)), 6, 0.5)
    table = MEASURED.replace(**{n: jnp.asarray(getattr(MEASURED, n)) for n in ("conductance", "time_s", "sigma")})
    read = from_toml(to_toml(Hardware(store=Crossbar(cell=table)))).store.cell
    assert isinstance(read.sigma, np.ndarray)
    np.testing.assert_array_equal(read.sigma, np.asarray(table.sigma, np.float64))


def test_tables_of_measurements_take_units():
    text = """
    [store]
    kind = "Crossbar"
    [store.cell]
    kind = "MeasuredCell"
    conductance = ["5 uS", 25e-6]
    time_s = [1, "1 day"]
    sigma = [["0.2 uS", "0.9 uS"], ["0.3 uS", "1.2 uS"]]
    """
    cell = from_toml(text).store.cell
    np.testing.assert_allclose(cell.time_s, [1, 86400])
    np.testing.assert_array_equal(cell.sigma, [[2e-7, 9e-7], [3e-7, 1.2e-6]])
    assert cell.conductance.dtype == np.float64


def test_everything_at_once():
    hardware = Hardware(
        name='a "name" \\ with\nlines, 25 µS and ünïcode',
        store=Crossbar(
            cell=CELLS["generic"](g_max="30 uS", g_min="1 nS", error="inverse", spectrum="1/f"),
            mapping=Differential(slices=BitSlices(widths=(4, 3, 1)), subtraction="digital"),
            faults=Faults(stuck_off=0.01, device_variation=0.1, spare_columns=8),
            write_verify=WriteVerify(window="0.4 uS", read_noise=1e-9),
            wires=Wires(word_line_ohm=1.0, bit_line_ohm=2.93, source_ohm="10 ohm"),
        ),
        dac=BitSerialDAC(bits=6, slice_bits=2),
        adc=SARADC(bits=8, capacitor_mismatch=0.02, sharing=8),
        training=modifiers.DeviceNoise(time_s=0.1, until_s="1 month"),
        input_range=TrackedRange(quantile=0.99),
        output_range=LearnedRange(rule="gradient"),
    )
    returns(hardware)
    assert isinstance(from_toml(to_toml(hardware)).store.mapping.slices.widths, tuple)
    for change in (
        {"dac": PulseWidthDAC(bits=7)}, {"adc": RampADC()}, {"adc": PipelineADC(bits=9)}, {"adc": CyclicADC(sharing=2)},
        {"input_range": DynamicRange()}, {"store.mapping": Offset(slices=MultiCell(significance=(4.0, 1.0, 3)))},
    ):  # fmt: skip
        returns(hardware.replace(**change))
    assert tomllib.loads(to_toml(hardware))["name"] == hardware.name
