"""Every field of every description takes its limits and refuses what lies outside, by its own name.

The limits, units and choices are those that the fields state; whether a limit is right is for the tests of its class,
as are rules that join fields. Nothing is compiled.
"""

import dataclasses
import math

import jax
import numpy as np
import pytest

from analogsim import InputError
from analogsim.base.errors import brief
from analogsim.base.field_rules import Choice, Nested, Number, Rule, String, rule_of
from tests.support.descriptions import NEEDED, every_description, example

KINDS = every_description()

#: Fields without a rule of their own: their classes check them, or nothing can be wrong.
WITHOUT_RULE = {
    "Aware.training",
    "BitSlices.widths",
    *(f"{codec}.{name}" for codec in ("Codec", "LowRank", "TensorTrain")
      for name in ("rel_error", "rank", "max_params", "max_fraction")),
    "MultiCell.significance",
    "Data.name",
    "Evaluate.compensation",
    "Evaluate.times",
    "Model.name",
    "Chain.modifiers",
    "TensorTrain.cores",
    "TensorTrain.modes_in",
    "TensorTrain.modes_out",
}  # fmt: skip

#: Limits and choices that a rule of several fields refuses beside the other defaults, with words of that rule.
JOINT = {
    ("BitSerialDAC.slice_bits", "highest"): "at most bits - 1",
    ("Crossbar.polarities", "interleaved"): "without wires",
    **{(f"{adc}.middle", end): "must be None unless range is set"
       for adc in ("ADC", "Circuit", "CyclicADC", "PipelineADC", "RampADC", "SARADC") for end in ("lowest", "highest")},
    ("DeviceNoise.until_s", "lowest"): "less than until_s",
    ("ECRAM.bounds", "lowest"): "one below and one above 0",
    ("ECRAM.g_max", "lowest"): "within window",
    ("ECRAM.g_max", "highest"): "within window",
    ("ECRAM.g_min", "lowest"): "within window",
    ("ECRAM.g_min", "highest"): "within window",
    ("ECRAM.window", "lowest"): "begin with its smaller end",
    ("FadingLight.rate_hz", "highest"): "the bandwidth of the RecirculatingLoop",
    ("FeFET.g_max", "lowest"): "within window",
    ("FeFET.g_max", "highest"): "within window",
    ("FeFET.g_min", "lowest"): "within window",
    ("FeFET.g_min", "highest"): "within window",
    ("FeFET.window", "lowest"): "begin with its smaller end",
    ("FreshChip.until_s", "lowest"): "less than until_s",
    ("GenericCell.error", "inverse"): "if error = 'inverse'",
    ("Hardware.bound_management", "iterative"): "where no ADC overflows",
    ("HermesPCM.fit_g_max", "lowest"): "at most fit_g_max",
    ("HermesPCM.g_max", "highest"): "at most fit_g_max",
    ("MeasuredCell.conductance", "lowest"): "must be ascending",
    ("MeasuredCell.conductance", "highest"): "must be ascending",
    ("MeasuredCell.time_s", "lowest"): "must be ascending",
    ("MeasuredCell.time_s", "highest"): "must be ascending",
    ("OpticalPCM.k_amorphous", "highest"): "at most k_crystalline",
    ("OpticalPCM.k_crystalline", "lowest"): "at most k_crystalline",
    ("OpticalPCM.spacing", "log"): "must be at most",
    ("PCM.drift_mean_range", "lowest"): "must begin",
    ("PCM.drift_std_range", "lowest"): "must begin",
    ("PCM.fit_g_max", "lowest"): "at most fit_g_max",
    ("PCM.g_max", "highest"): "at most fit_g_max",
    ("Qubit.t1_s", "lowest"): "twice t1_s",
    ("Qubit.t2_s", "highest"): "twice t1_s",
    ("RingBank.channels", "highest"): "the free spectral range",
    ("RingBank.spacing_m", "lowest"): "a spacing wider",
    ("RingBank.spacing_m", "highest"): "the free spectral range",
}  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_is_compiled(caplog):
    with jax.log_compiles():
        yield
    assert not [record for record in caplog.get_records("call") if "Compiling" in record.getMessage()]


def kind_of_rule(f: dataclasses.Field) -> str:
    """By what a field is checked."""
    return {Choice: "choices", Nested: "nested", String: "text", Number: "number", Rule: "none"}[type(rule_of(f))]


def fields(kind, *rules):
    """The fields of a class that are checked by one of these."""
    return [f for f in dataclasses.fields(kind) if kind_of_rule(f) in rules]


every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def usual(kind, f):
    """A value that the field takes."""
    return getattr(example(kind), f.name)


def with_number(kind, f, number):
    """The field's value with this number in it: itself, the last of several, or everywhere in an array."""
    value = usual(kind, f)
    if getattr(rule_of(f), "length", None):
        return (*value[:-1], number)
    return np.full_like(value, number) if isinstance(value, np.ndarray) else number


def message(kind, **values):
    """The message of the refusal; a failure tells what was taken."""
    with pytest.raises(InputError) as caught:
        print(f"{kind.__name__} takes {values}: {example(kind, **values)!r}")
    assert caught.value.field[0] in values  # a file's reader finds the line by it
    return str(caught.value)


def lowest_and_highest(rule):
    """The smallest and the largest number that a field takes, where it has such limits.

    Beside a limit that is left out the next number of float32, in which everything is computed.
    """
    found = {}
    for side, within, beyond, step in (("lowest", "ge", "gt", 1), ("highest", "le", "lt", -1)):
        if getattr(rule, within) is not None:
            found[side] = getattr(rule, within)
        elif (end := getattr(rule, beyond)) is not None:
            next_float = float(np.nextafter(np.float32(end), np.float32(step * math.inf)))
            found[side] = end + step if rule.integer else next_float
    return found


def numbers_outside(rule):
    """The nearest numbers beyond the limits, what is not finite, and between integers where they are asked for."""
    found = [math.nan, math.inf, -math.inf]
    for within, beyond, step in (("ge", "gt", -1), ("le", "lt", 1)):
        if (end := getattr(rule, beyond)) is not None:
            found += [end, end + step]
        elif (end := getattr(rule, within)) is not None:
            nearest = end + step if rule.integer else math.nextafter(end, step * math.inf)
            found += [nearest, end + step * max(1, abs(end) // 1000)]  # 1e18 + 1 is 1e18
    return found + [limit + 0.5 for limit in lowest_and_highest(rule).values() if rule.integer]


# --- numbers ---------------------------------------------------------------------------------------------------------


@every_kind
def test_numbers_outside_are_refused_with_field_value_range_and_unit(kind):
    for f in fields(kind, "number"):
        rule = rule_of(f)
        for number in numbers_outside(rule):
            found = message(kind, **{f.name: with_number(kind, f, number)})
            assert found.startswith(f"{kind.__name__}.{f.name} = {number:.6g}: must be "), found
            words = {"gt": "greater than", "ge": "at least", "lt": "less than", "le": "at most"}
            if rule.integer and rule.ge is not None and rule.le is not None:
                words |= {"ge": "between", "le": "and"}
            for bound, word in words.items():
                end = getattr(rule, bound)
                assert end is None or f"{word} {end if isinstance(end, int) else f'{end:g}'}" in found, found
            assert ("an integer" in found) == rule.integer, found
            assert not rule.unit or found.endswith(f"(unit: {rule.unit})"), found


@every_kind
def test_one_bad_number_of_an_array_is_refused(kind):
    for f in fields(kind, "number"):
        bad = numbers_outside(rule_of(f))[-1]
        array = np.array([lowest_and_highest(rule_of(f))["lowest"], bad])
        found = message(kind, **{f.name: with_number(kind, f, array) if rule_of(f).length else array})
        shown = "" if rule_of(f).is_static else f"{bad:.6g}: must be "  # of structure no array at all is taken
        assert found.startswith(f"{kind.__name__}.{f.name} = {shown}"), found


@every_kind
def test_what_is_no_number_is_refused(kind):
    for f in fields(kind, "number"):
        wrong = [True, np.True_, 1j, object(), int, {}] + [None] * (not rule_of(f).optional)
        wrong += [[None]] if rule_of(f).is_table else [[1.0]]
        for value in wrong:
            for given in (value, with_number(kind, f, value)) if rule_of(f).length else (value,):
                found = message(kind, **{f.name: given})
                assert found.startswith(f"{kind.__name__}.{f.name} = "), found
                assert repr(value).strip("[]") in found, found
                assert "must be" in found, found


@every_kind
def test_text_that_is_no_quantity_in_the_unit_is_refused(kind):
    for f in fields(kind, "number"):
        unit = rule_of(f).unit
        wrong_unit = ("1 V" if unit != "V" else "1 A", f"expected {unit or 'none'}")
        for text, words in (("thick", "expected a number"), ("", "expected a number"), wrong_unit):
            found = message(kind, **{f.name: with_number(kind, f, text) if rule_of(f).length else text})
            assert found.startswith(f"{kind.__name__}.{f.name} = {text!r}: "), found
            assert words in found, found


@every_kind
def test_another_count_of_numbers_is_refused(kind):
    for f in fields(kind, "number"):
        if length := rule_of(f).length:
            number = lowest_and_highest(rule_of(f))["lowest"]
            for given in ((number,) * (length - 1), (number,) * (length + 1), (), number):
                found = message(kind, **{f.name: given})
                assert found.startswith(f"{kind.__name__}.{f.name} = {brief(given)}: must be {length} numbers"), found


# --- choices and parts -----------------------------------------------------------------------------------------------


@every_kind
def test_what_is_no_choice_is_refused(kind):
    for f in fields(kind, "choices"):
        arrays = [np.array(["right"]), np.arange(3)]
        kinds = [float(c) if type(c) is int else int(c) for c in rule_of(f).choices if type(c) in (int, bool)]
        kinds += [bool(c) for c in rule_of(f).choices if type(c) is int and c in (0, 1)]
        for value in ("no such choice", -7, 0.5, None, object(), [], {}, *arrays, *kinds):
            if not any(value is c for c in rule_of(f).choices):
                found = message(kind, **{f.name: value})
                assert found.startswith(f"{kind.__name__}.{f.name} = {brief(value)}: must be "), found
                assert all(repr(choice) in found for choice in rule_of(f).choices), found


@every_kind
def test_another_part_or_no_text_is_refused(kind):
    for f in fields(kind, "nested", "text"):
        wrong = [3.5, object(), type(usual(kind, f))] + ["a string"] * (kind_of_rule(f) != "text")
        for value in wrong + [None] * (not rule_of(f).optional):
            found = message(kind, **{f.name: value})
            assert found.startswith(f"{kind.__name__}.{f.name} = {brief(value)}: must be "), found


# --- names -----------------------------------------------------------------------------------------------------------


@every_kind
def test_names_are_asked_for_and_unknown_ones_refused(kind):
    assert message(kind, no_such_field=1).startswith(f"{kind.__name__} has no field 'no_such_field'; ")
    with pytest.raises(InputError, match=rf"{kind.__name__} takes keyword arguments only, .*; got 1 positional"):
        kind(0.125)
    required = [f.name for f in dataclasses.fields(kind) if {f.default, f.default_factory} == {dataclasses.MISSING}]
    for name in required:
        values = {n: v for n, v in NEEDED[kind.__name__].items() if n != name}
        with pytest.raises(InputError, match=rf"{kind.__name__} needs a value for '{name}'"):
            kind(**values)


# --- what is taken ---------------------------------------------------------------------------------------------------


def test_limits_and_choices_are_taken_unless_a_rule_of_several_fields_refuses_them():
    refused = {}
    for kind in KINDS:
        for f in fields(kind, "number", "choices"):
            cases = {choice: choice for choice in getattr(rule_of(f), "choices", ())} or lowest_and_highest(rule_of(f))
            for case, value in cases.items():
                given = with_number(kind, f, value)
                try:
                    taken = getattr(example(kind, **{f.name: given}), f.name)
                except InputError as error:
                    refused[f"{kind.__name__}.{f.name}", case] = str(error)
                else:
                    np.testing.assert_array_equal(taken, given)
                    # One type a field, so that equal values share a compilation.
                    if kind_of_rule(f) == "number" and isinstance(taken, (int, float)):
                        assert type(taken) is (int if rule_of(f).integer else float), (kind.__name__, f.name)
    assert refused.keys() == JOINT.keys()
    for case, words in JOINT.items():
        assert words in refused[case], (case, refused[case])


@every_kind
def test_none_is_taken_where_it_is_allowed(kind):
    for f in dataclasses.fields(kind):
        if rule_of(f).optional:
            assert getattr(example(kind, **{f.name: None}), f.name) is None


def test_every_field_has_a_rule_or_is_known_to_have_none():
    assert {f"{kind.__name__}.{f.name}" for kind in KINDS for f in fields(kind, "none")} == WITHOUT_RULE
