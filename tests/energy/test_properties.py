"""What must hold of every account, whatever the network: signs, order, sums, monotony."""

import dataclasses
import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analogsim.energy import FORMATS, SYSTEMS, devices
from analogsim.energy.machines import digital
from tests.energy.energy_models import shapes

LAYER = st.tuples(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 64)).map(
    lambda s: (s[0], s[1], s[2], s[0] * s[2])
)
NETWORK = st.lists(LAYER, min_size=1, max_size=4)
ALL = [name for name in SYSTEMS if name != "Edge TPU"]  # which refuses what does not fit its memory


def energies(breakdown):
    return breakdown.energy_low_j, breakdown.energy_typical_j, breakdown.energy_high_j


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=8, deadline=None)
@given(layers=NETWORK, batch=st.integers(1, 300))
def test_breakdowns_are_sums_of_parts_that_are_not_negative(name, layers, batch):
    breakdown = SYSTEMS[name].breakdown(shapes(*layers), batch)
    for line in breakdown.items:
        assert line.count >= 0
        assert 0 <= line.energy_low_j <= line.energy_high_j * (1 + 1e-12)
        assert math.isfinite(line.energy_high_j)
        assert line.source
    low, typical, high = energies(breakdown)
    assert 0 < low <= typical * (1 + 1e-12)
    assert typical <= high * (1 + 1e-12)
    assert typical == pytest.approx(sum(line.energy_j for line in breakdown.items), rel=1e-12)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=6, deadline=None)
@given(layers=NETWORK)
def test_the_order_of_layers_changes_nothing(name, layers):
    work = shapes(*layers)
    # What enters and leaves the model is that of its ends: those stay where they are.
    inner = work.operations.all[1:-1][::-1]
    ends = work.operations.all[:1] + inner + (work.operations.all[-1:] if len(layers) > 1 else ())
    turned = dataclasses.replace(work, operations=dataclasses.replace(work.operations, all=ends))
    one, other = (SYSTEMS[name].breakdown(w, 3) for w in (work, turned))
    assert energies(one) == pytest.approx(energies(other), rel=1e-12)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=6, deadline=None)
@given(first=LAYER, last=LAYER, more=LAYER)
def test_more_work_costs_more(name, first, last, more):
    # In between, since what leaves the model passes the memory and what stays inside does not.
    less, whole = (SYSTEMS[name].breakdown(shapes(*net), 1) for net in ((first, last), (first, more, last)))
    assert whole.energy_low_j > less.energy_low_j * (1 - 1e-9)
    assert whole.energy_typical_j > less.energy_typical_j * (1 - 1e-9)


@pytest.mark.parametrize("name", [*devices(), "Eyeriss"])
@settings(max_examples=6, deadline=None)
@given(layer=LAYER)
def test_a_larger_batch_costs_no_more_an_inference(name, layer):
    if name == "Edge TPU" and layer[0] * layer[1] > 4e6:
        return
    breakdowns = [SYSTEMS[name].breakdown(shapes(layer), batch) for batch in (1, 2, 8, 64)]
    for small, large in itertools.pairwise(breakdowns):
        assert large.energy_typical_j <= small.energy_typical_j * (1 + 1e-9)


@settings(max_examples=10, deadline=None)
@given(layers=NETWORK)
def test_wider_numbers_cost_no_less(layers):
    work, device = shapes(*layers), devices()["A100"]
    for narrow, wide in (
        ("int4", "int8"),
        ("int8", "bf16"),
        ("bf16", "fp32"),
        ("msfp12", "msfp16"),
        ("msfp16", "bf16"),
    ):
        one, other = (digital.breakdown(device, work, 1, number) for number in (narrow, wide))
        assert one.energy_low_j < other.energy_low_j, (narrow, wide)
        assert one.energy_typical_j <= other.energy_typical_j * (1 + 1e-12), (narrow, wide)
    assert {number.peak for number in FORMATS.values()} >= set(device.peak_op_per_s)
