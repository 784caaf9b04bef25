"""Quantities as text: what is read, what is refused, what is printed."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import InputError
from analogsim.base import seconds, show, show_time
from analogsim.base.units import parse

READ = {
    ("25 uS", "S"): 25e-6,
    ("25uS", "S"): 25e-6,
    (" 25 µS ", "S"): 25e-6,
    ("2.5e1 uS", "S"): 25e-6,
    ("2.5e-5", "S"): 25e-6,
    ("2.5e-5 S", "S"): 25e-6,
    ("1 day", "s"): 86400.0,
    ("2 days", "s"): 172800.0,
    ("1 month", "s"): 2629800.0,  # a twelfth of 365.25 days
    ("1 year", "s"): 31557600.0,
    ("10 years", "s"): 315576000.0,
    ("1.5 h", "s"): 5400.0,
    ("90 min", "s"): 5400.0,
    ("2 weeks", "s"): 1209600.0,
    ("250 ns", "s"): 250e-9,
    ("3 ms", "s"): 3e-3,
    ("7 s", "s"): 7.0,
    ("2 Ms", "s"): 2e6,
    ("-0.5 V", "V"): -0.5,
    ("2 pJ", "J"): 2e-12,
    ("3 kohm", "ohm"): 3000.0,
    ("0.35 fF", "F"): 0.35e-15,
    ("8", ""): 8.0,
    ("1e-3", ""): 1e-3,
}


@pytest.mark.parametrize(("text", "unit"), READ)
def test_text_is_read_in_its_unit(text, unit):
    assert parse(text, unit, "here") == pytest.approx(READ[text, unit], rel=1e-15)


def test_prefixes_give_the_decimal_number_itself():
    for text, value in (("25 uS", 25e-6), ("0.3 uS", 0.3e-6), ("250 ns", 250e-9), ("35.1 fF", 35.1e-15)):
        assert parse(text, text[-1], "here") == float(f"{value:.3g}")


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("25 uA", "S"), ("25 s", "S"), ("25 S", "s"), ("1 m", "s"), ("1 xS", "S"), ("8 bits", ""), ("5 %", ""),
        ("1 uohm2", "ohm"), ("3 lightyears", "s"), ("1 uu S", "S"),
    ],
)  # fmt: skip
def test_another_unit_is_refused(text, unit):
    with pytest.raises(InputError, match=r"^here = '.*': (unknown unit|expected a number)"):
        parse(text, unit, "here")


@pytest.mark.parametrize("text", ["", "uS", "eight", "nan", "inf", "1.2.3 s", "1,5 s", "--1", "1 2 s", "0x10"])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(InputError, match=r"^here = "):
        parse(text, "s", "here")


def test_a_misspelt_unit_is_answered_with_the_nearest():
    with pytest.raises(InputError, match=r"unknown unit 'dya', expected s; did you mean 'day'\?"):
        parse("3 dya", "s", "here")
    with pytest.raises(InputError, match=r"expected a number such as '2.5 S'"):
        parse("many", "S", "here")


def test_no_unit_is_offered_twice():
    with pytest.raises(InputError) as error:
        parse("3 fortnights", "s", "here")
    offered = str(error.value).partition("known: ")[2].replace("\u03bc", "\u00b5").split(", ")
    assert len(offered) == len(set(offered)) > 10
    assert {"s", "day", "µs"} <= set(offered)


@pytest.mark.parametrize(("time", "expected"), [("1 h", 3600.0), (5, 5), (0.0, 0.0), (2.5, 2.5)])
def test_times_are_read(time, expected):
    assert seconds(time) == expected


@pytest.mark.parametrize("time", [-1, -1e-9, "-1 s", float("nan"), float("inf"), -math.inf])
def test_impossible_times_are_refused(time):
    with pytest.raises(InputError, match=r"time_s = .*: must be finite and at least 0 \(unit: s after programming\)"):
        seconds(time)


@pytest.mark.parametrize("time", [np.float32(-1), np.float64(-1), np.float32("nan"), np.int64(-3), jnp.float32(-1)])
def test_impossible_times_are_refused_whatever_their_type(time):
    with pytest.raises(InputError, match="time_s = "):
        seconds(time)


@pytest.mark.parametrize("time", [None, object(), [1.0], b"1 s"])
def test_what_is_no_time_is_refused(time):
    with pytest.raises(InputError, match="time_s = "):
        seconds(time)


SHOWN = {
    (2.5e-5, "S"): "25 µS",
    (1.0, "s"): "1 s",
    (0.0, "S"): "0 S",
    (9.996e-4, "S"): "1 mS",
    (9.99e-4, "S"): "999 µS",
    (1.25e-12, "J/B"): "1.25 pJ/B",
    (-0.2, "V"): "-200 mV",
    (3.0, ""): "3",
    (1e13, "J"): "10 TJ",
}


@pytest.mark.parametrize(("value", "unit"), SHOWN)
def test_numbers_are_shown_with_the_prefix_that_keeps_them_short(value, unit):
    assert show(value, unit) == SHOWN[value, unit]


@pytest.mark.parametrize("value", [25e-6, 250e-9, 0.35e-15, 3.0, 4700.0, 2e9])
def test_what_is_shown_can_be_read_again(value):
    assert parse(show(value, "S"), "S", "here") == pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize(
    ("time_s", "text"),
    [
        (1.0, "1 s"), (0.5, "500 ms"), (90.0, "1.5 min"), (3600.0, "1 h"), (86400.0, "1 day"), (172800.0, "2 days"),
        (2629800.0, "1 month"), (31557600.0, "1 year"), (315576000.0, "10 years"), (0.0, "0 s"),
    ],
)  # fmt: skip
def test_times_are_shown_in_calendar_units(time_s, text):
    assert show_time(time_s) == text
    assert show_time(time_s, digits=5) == text
    assert seconds(text) == pytest.approx(time_s)


def test_prefixes_of_areas_are_squared():
    shown = [show(value, "m2") for value in (1.2e-9, 75e-6, 2.0, 5e-14, 0.0)]
    assert shown == ["1200 µm²", "75 mm²", "2 m²", "0.05 µm²", "0 m²"]
    assert show(1.05e-12, "m2/B") == "1.05 µm²/B"
    assert [parse(text, "m2", "here") for text in ("25 um2", "3 mm²", "1 m2")] == pytest.approx([25e-12, 3e-6, 1.0])
