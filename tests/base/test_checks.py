"""Checks of arguments, and the field that an error carries."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import Hardware, InputError, preset
from analogsim.base.checks import check_fraction, check_integer, check_number
from analogsim.base.errors import range_text, within
from analogsim.base.field_rules import Number
from analogsim.devices import PCM, Crossbar, MeasuredCell
from tests.support.descriptions import MEASURED


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_integers_of_python_and_numpy_are_returned_as_int(value):
    assert type(check_integer(value, "n")) is int
    assert check_integer(value, "n", ge=3, le=3) == 3


@pytest.mark.parametrize("value", [0, -1, True, np.True_, 2.0, np.float32(2), "2", None, 1j, np.array(2), np.nan])
def test_what_is_no_positive_integer_is_refused(value):
    with pytest.raises(InputError, match=r"^n = .*: must be an integer of at least 1$"):
        check_integer(value, "n")


def test_an_integer_out_of_its_range_is_refused():
    for value in (1, 9):
        with pytest.raises(InputError, match=f"^n = {value}: must be an integer between 2 and 8$"):
            check_integer(value, "n", ge=2, le=8)


@pytest.mark.parametrize("value", [0, 1, 0.5, np.float32(0.5), np.array([0.0, 1.0]), jnp.array(1), np.int8(1)])
def test_fractions_are_taken(value):
    check_fraction(value, "f")
    jax.eval_shape(lambda traced: check_fraction(traced, "f"), 2.0)  # a traced number has no value yet


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (-0.1, "f = -0.1: must be at least 0 and at most 1"),
        (np.array([0.5, 1.5]), "f = 1.5: must be at least 0 and at most 1"),
        (np.nan, "f = nan: must be at least 0 and at most 1"),
        (np.inf, "f = inf: must be at least 0 and at most 1"),
        *((value, "must be a number of at least 0 and at most 1")
          for value in ("0.5", True, None, 1j, [0.5], np.array([0.5j]), np.array([True]), np.array(["0.5"]))),
    ],
)  # fmt: skip
def test_what_is_no_fraction_is_refused(value, words):
    with pytest.raises(InputError, match=words):
        check_fraction(value, "f")


def test_both_kinds_of_limits():
    check_number(1e-30, "x", gt=0, lt=1)
    for value in (0.0, 1.0):
        with pytest.raises(InputError, match=f"^x = {value:g}: must be greater than 0 and less than 1$"):
            check_number(value, "x", gt=0, lt=1)


def test_ranges_in_words():
    assert range_text("an integer") == "an integer"
    assert range_text("") == "finite"
    assert range_text("an integer", le=3) == "an integer of at most 3"
    assert range_text("a number", gt=0) == "a number greater than 0"
    assert range_text("an integer", ge=0, le=2**31 - 1) == "an integer between 0 and 2147483647"


# --- the field of an error -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: PCM(g_max=-1), ("g_max",)),
        (lambda: PCM(gmax=1), ("gmax",)),
        (lambda: PCM(drift_mean=(0.1, "x")), ("drift_mean", 1)),
        (lambda: preset("pcm", **{"store.cell.g_max": -1}), ("store", "cell", "g_max")),
        (lambda: preset("pcm", **{"store.cell.g_max.x": -1}), ("store", "cell", "g_max")),
        (lambda: preset("pcm", **{"store.cell.g_min": 1e-4}), ("store", "cell", "g_min")),  # of the store's own check
        (lambda: preset("pcm", rows=0), ("rows",)),
        (lambda: preset("ideal", bound_management="iterative"), ("bound_management",)),
        (lambda: MEASURED.replace(sigma=[[1.0, 0.1, 0.2], [0.1, -1, 0.1]]), ("sigma", 1, 1)),
        (lambda: MEASURED.replace(sigma=np.array([[0.1, 0.1, 0.2], [0.1, 0.1, 7]])), ("sigma", 1, 2)),
        (lambda: Hardware(3), ()),
    ],
)
def test_an_error_carries_its_field(build, field):
    with pytest.raises(InputError) as caught:
        build()
    assert caught.value.field == field


def test_an_error_is_copied_with_its_field():
    with pytest.raises(InputError) as caught, within("a", 1):
        raise InputError("words", ("b",))
    again = copy.copy(caught.value)  # by its parts, as a worker's error travels
    assert (str(again), again.field) == ("words", ("a", 1, "b"))


def test_tables_are_taken_as_lists():
    cell = MeasuredCell(conductance=[0, "1 uS"], time_s=["1 day"], sigma=[[0, "10 nS"]])
    assert cell.sigma.dtype == np.float64
    np.testing.assert_array_equal(cell.sigma, [[0, 1e-8]])
    np.testing.assert_array_equal(cell.conductance, [0, 1e-6])
    with pytest.raises(InputError, match="all rows must have the same length"):
        cell.replace(sigma=[[0, 1], [0]])


def test_arrays_of_truth_values_and_complex_numbers_are_no_numbers():
    rule = Number(ge=0, le=1)
    for value in (np.array([True]), np.array([0.5 + 1j]), jnp.array([0.5j]), np.array(["0.5"])):
        with pytest.raises(InputError, match="must be a number of at least 0 and at most 1"):
            rule.check(value, "x")


def test_a_time_without_data_is_refused_as_float32_reads_it():
    hardware = preset("reram")
    limit = hardware.store.time_limit_s
    hardware.check_time(limit * (1 + 1e-9), "time")
    preset("pcm").check_time(1e12, "time")
    for late in (limit * 1.001, np.array([1.0, limit * 1.001])):
        with pytest.raises(InputError, match=r"^here = .*: the model of 'reram' has data only from 0 to 172800"):
            hardware.check_time(late, "here")
    assert Crossbar().time_limit_s is None
