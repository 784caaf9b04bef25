"""Equality and hash of descriptions and chips that hold arrays, and what counts as another structure of hardware.

Whether two values are equal is known by how they were made; nothing is compared with what the package says of them.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import ADC, DAC, EnergyTable, FreshChip, Hardware, InputError, preset, program
from analogsim.base.description import structure_difference
from analogsim.base.equality import equal, hash_of
from analogsim.devices import PCM, Crossbar, DigitalMemory, Offset
from analogsim.linen import AnalogDense
from tests.support.descriptions import MEASURED, every_description, example

KINDS = every_description()


def with_arrays(noise, kind=np.asarray, dtype=np.float32):
    """Hardware with an array in a field of its converter, as for a sweep."""
    return preset("pcm", **{"adc.noise": kind(np.array(noise, dtype))})


# --- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_description_is_equal_to_one_of_equal_values(kind):
    a, b = example(kind), example(kind)
    assert a == b
    assert hash(a) == hash(b)
    assert {a: 1}[b] == 1


def test_arrays_give_one_truth_value():
    a = with_arrays([0.1, 0.2])
    for same in (with_arrays([0.1, 0.2]), with_arrays([0.1, 0.2], jnp.asarray), a.replace()):
        assert (a == same) is True
        assert hash(a) == hash(same)
    others = [with_arrays([0.1, 0.3]), with_arrays([0.1]), with_arrays([[0.1, 0.2]]), preset("pcm"),
              with_arrays([0.1, 0.2], dtype=np.float64)]  # fmt: skip
    for other in others:
        assert (a == other) is False
        assert (other == a) is False
    changed = MEASURED.replace(sigma=MEASURED.sigma / 2)
    assert changed != MEASURED
    assert len({a, MEASURED, changed, *others}) == 8


def test_a_number_is_no_array_of_one_number_and_zero_has_no_sign():
    assert ADC(noise=0.5) != ADC(noise=np.array(0.5))
    assert ADC(noise=np.float32(0.1)) != ADC(noise=0.1)  # rounded to float32, then taken as a float
    assert DAC(bits=8) == DAC(bits=np.int32(8))
    plus, minus = np.array([0.0, 1.0]), np.array([-0.0, 1.0])
    assert equal(plus, minus)
    assert hash_of(plus) == hash_of(minus)
    assert equal(np.array([True]), np.array([True]))
    assert hash_of(np.array([True])) == hash_of(np.array([True]))
    assert not equal({"a": plus}, {"a": plus, "b": 1})
    assert hash_of({"a": plus, "b": 1}) == hash_of({"b": 1, "a": minus})


def test_a_traced_number_equals_itself_alone():
    def check(noise, other):
        hardware, apart = (preset("pcm", **{"adc.noise": v}) for v in (noise, other))
        same = hardware.replace(**{"dac.bits": 8})
        assert hardware == same
        assert hash(hardware) == hash(same)
        assert hardware != apart
        assert hardware != preset("pcm")
        return noise

    jax.eval_shape(check, 0.1, 0.1)


# --- chips -----------------------------------------------------------------------------------------------------------

X = np.ones((2, 4), np.float32)
WEIGHTS = {"params": {"kernel": np.arange(12, dtype=np.float32).reshape(4, 3) / 12 - 0.3}}


def layer(**fields):
    """A layer whose chips are cheap to program."""
    given = dict(store=DigitalMemory(bits=4), dac=DAC(bits=6), adc=ADC(bits=6, noise=None)) | fields
    return AnalogDense(3, hardware=Hardware(**given), use_bias=False)


@pytest.fixture(scope="module")
def chip():
    return program(layer(), WEIGHTS, jax.random.key(0), X)


def test_chips_are_equal_by_what_they_hold(chip):
    again = program(layer(), WEIGHTS, jax.random.key(0), X)
    assert (chip == again) is True
    assert hash(chip) == hash(again)
    other = dataclasses.replace(chip, time_s=1.0)
    assert chip != other
    cells = jax.tree.map(lambda a: a + 1, chip.cells)
    assert chip != dataclasses.replace(chip, cells=cells)
    assert chip != "a chip"


# --- structure -------------------------------------------------------------------------------------------------------


def test_what_no_array_depends_on_is_no_other_structure(chip):
    """A name, prices and what training computes on: the chip serves, and is written again under its new name."""
    expected = layer().apply(chip.variables, X)
    other = layer(
        name="another",
        energy_table=EnergyTable(columns_per_adc=8, cell_write_j=1e-12),
        training=FreshChip(until_s=10.0),
    )
    np.testing.assert_array_equal(other.apply(chip.variables, X), expected)
    again = program(other, WEIGHTS, jax.random.key(0), X, reprogram=chip)
    assert again.cells["analog"]["array"].hardware.name == "another"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (dict(store=Crossbar(cell=PCM())), r"store: DigitalMemory on the chip, Crossbar in the layer"),
        (dict(rows=100), r"rows: 512 on the chip, 100 in the layer"),
        (dict(adc=ADC(bits=6, noise=None, style="mid-rise")), r"adc.style: 'mid-tread' on the chip, 'mid-rise' in the"),
        (dict(adc=None), r"adc: ADC on the chip, None in the layer"),
        (dict(adc=ADC(noise=0.1)), r"adc.noise: None on the chip, .* in the layer"),
    ],
)
def test_a_refusal_names_the_field_and_both_values(chip, fields, words):
    model = layer(name="another", **fields)
    with pytest.raises(InputError, match=rf"hardware 'custom', the layer is on 'another' of another.*\({words}"):
        model.apply(chip.variables, X, rngs={"analog": jax.random.key(1)})
    with pytest.raises(InputError, match=rf"reprogram: .* 'custom', the layer is on 'another' of another .*\({words}"):
        program(model, WEIGHTS, jax.random.key(1), X, reprogram=chip)


def test_the_first_difference_of_structure_is_found_at_any_depth():
    a = preset("pcm")
    for numbers in ({"adc.bits": 3}, {"store.cell.read_noise": 0.0}, {"adc.noise": np.array([0.1, 0.2])}):
        assert structure_difference(a, a.replace(**numbers)) is None
    offset = Offset()
    assert structure_difference(a, a.replace(**{"store.mapping": offset})) == (
        "store.mapping", a.store.mapping, offset,
    )  # fmt: skip
    b = a.replace(**{"store.mapping.sides": 2, "scaling": "tile"})
    assert structure_difference(a, b)[0] == "store.mapping.sides"  # in the order of the fields
    codes = {k.__name__: k for k in KINDS}
    two = codes["Chain"](modifiers=(codes["Discretise"](bits=5),) * 2)
    three = codes["Chain"](modifiers=(codes["Discretise"](bits=5),) * 3)
    assert structure_difference(two, three) == ("modifiers", two.modifiers, three.modifiers)
    apart = codes["Chain"](modifiers=(codes["Discretise"](bits=5), codes["AdditiveNoise"](std=0.05)))
    assert structure_difference(two, apart)[0] == "modifiers[1]"
