"""Rules for ranges and bits, by hand."""

import pytest

from analogsim import InputError
from analogsim.converters.ranges import full_precision_bits, granular_range, maximum_range, power_of_two_range


def test_maximum_is_every_cell_on():
    assert maximum_range(144) == 144.0


def test_granular_steps_are_the_least_product():
    # 4-bit weights have 7 steps and 3-bit inputs 3: the least product is 1/21, and 8 bits hold 127 of them.
    assert granular_range(8, weight_bits=4, input_bits=3) == pytest.approx(127 / 21)


@pytest.mark.parametrize(("needed", "expected"), [(512, 512), (300, 512), (256, 256), (255, 256), (1.5, 2), (0.3, 0.5)])
def test_ranges_by_powers_of_two_hold_what_is_needed(needed, expected):
    assert power_of_two_range(needed, rows=512) == expected


@pytest.mark.parametrize(
    ("weight_bits", "input_bits", "rows", "bits"),
    [(2, 1, 128, 9), (2, 2, 128, 11), (1, 1, 128, 8), (4, 8, 100, 19), (1, 8, 1, 8)],
)
def test_full_precision(weight_bits, input_bits, rows, bits):
    assert full_precision_bits(weight_bits, input_bits, rows) == bits


@pytest.mark.parametrize(
    "call",
    [
        lambda: maximum_range(0),
        lambda: maximum_range(2.5),
        lambda: granular_range(8, weight_bits=1, input_bits=8),
        lambda: power_of_two_range(0.0, rows=8),
        lambda: power_of_two_range(9.0, rows=8),
        lambda: full_precision_bits(0, 1, 8),
    ],
)
def test_impossible_requests_are_refused(call):
    with pytest.raises(InputError, match="must be"):
        call()
