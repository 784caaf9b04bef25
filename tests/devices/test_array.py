"""Arrays of imperfect cells: stuck ones, unequal ones, written in a loop, written again; and chips made of them."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from analogsim import Hardware, InputError, preset, program
from analogsim.devices import (
    PCM,
    SONOS,
    Crossbar,
    Differential,
    Faults,
    GenericCell,
    HermesPCM,
    MiloReRAM,
    Offset,
    ReRAM,
    WriteVerify,
)
from analogsim.linen import AnalogDense
from analogsim.nnx import AnalogLinear
from analogsim.signal_path import multiply, programmed
from analogsim.signal_path.operators import MatrixProduct
from tests.support import cells

QUIET = GenericCell(g_min=5e-6)
#: Weights of most arrays here, one column: enough to be counted, and one shape to compile.
N = 40_000


def conductances(store, weights, key=0):
    return cells.program(store, jax.random.key(key), weights)


# --- stuck and unequal cells ------------------------------------------------------------------------------------------


def test_a_stuck_cell_shows_in_its_weight():
    # All cells stuck on conduct g_max: every pair cancels. All stuck off: likewise. Stuck at 5 uS, with the offset
    # mapping on 5-25 uS: weight -1.
    weights = np.linspace(-1, 1, N, dtype=np.float32)[:, None]
    for faults in (Faults(stuck_on=1.0), Faults(stuck_off=1.0)):
        store = Crossbar(cell=QUIET, faults=faults)
        lines = cells.read(store, conductances(store, weights), 0.0)
        np.testing.assert_allclose(lines.mean, 0.0, atol=1e-6)
        np.testing.assert_array_equal(lines.variance, 0.0)
    store = Crossbar(cell=QUIET, mapping=Offset(), faults=Faults(stuck_at=1.0, stuck_at_conductance=5e-6))
    one_input = cells.read(store, conductances(store, weights), 0.0).mean[:4]
    np.testing.assert_allclose(store.combine(one_input, np.ones((4, 1), np.float32)), -1.0, atol=1e-6)


@pytest.mark.parametrize("kind", ["stuck_on", "stuck_off"])
def test_the_share_of_stuck_cells_is_seen_in_the_weights(kind):
    # A weight of 1/2 on one-sided pairs of window 1: plus at 1/2, minus at 0. A stuck plus cell makes 1 or 0, a stuck
    # minus cell takes 1 or 0 away: mean 1/2 + r/2 - r = 1/2 - r/2 (on), 1/2 - r/2 (off).
    r = 0.1
    store = Crossbar(cell=GenericCell(), faults=Faults(**{kind: r}))
    w = np.asarray(cells.read(store, conductances(store, np.full((N, 1), 0.5, np.float32)), 0.0).mean, np.float64)
    assert w.mean() == pytest.approx(0.5 - r / 2, abs=4 * w.std() / np.sqrt(N))
    if kind == "stuck_off":
        assert (w == 0).mean() == pytest.approx(r, abs=4 * np.sqrt(r * (1 - r) / N))


def test_a_stuck_cell_neither_drifts_nor_fluctuates():
    store = Crossbar(cell=GenericCell(drift_mean=0.05, read_noise=0.02), faults=Faults(stuck_on=0.5))
    state = conductances(store, np.full((N, 1), 0.7, np.float32))
    stuck = np.asarray(state.fabric.codes != 0)
    both = stuck.all(0)
    now, later = (jax.tree.map(np.asarray, cells.read(store, state, t)) for t in (0.0, 3.15e7))
    np.testing.assert_array_equal(now.mean[both], later.mean[both])
    np.testing.assert_array_equal(later.variance[both], 0.0)
    neither = ~stuck.any(0)
    assert np.all(later.mean[neither] < now.mean[neither])
    assert np.all(later.variance[neither] > 0)


def test_unequal_cells_spread_an_open_loop_write():
    # f has mean 1 and spread 0.1: a cell written to 20 uS spreads by 2 uS. 40000 cells, four standard errors.
    store = Crossbar(cell=GenericCell(), faults=Faults(device_variation=0.1))
    g = np.asarray(conductances(store, np.full((N, 1), 0.8, np.float32)).cells.conductance, np.float64)[0] * 1e6
    assert g.mean() == pytest.approx(20.0, abs=4 * 2 / np.sqrt(N))
    assert g.std() == pytest.approx(2.0, rel=4 * 0.72 / np.sqrt(N))


def test_spare_columns_are_cells_that_hold_no_weight():
    store = Crossbar(cell=QUIET, faults=Faults(stuck_on=0.05, spare_columns=3))
    assert store.n_cells(10, 4) == 2 * 10 * (4 + 3)
    assert Crossbar(cell=QUIET).n_cells(10, 4) == 80
    assert jax.eval_shape(store.program, jax.random.key(0), np.zeros((10, 4))).fabric.codes.shape == (2, 10, 4)


# --- written in a loop ------------------------------------------------------------------------------------------------


LOOP = WriteVerify(window=0.5e-6, pulse_noise_floor=0.2e-6, max_pulses=200)


#: 200 weights: one shape for every array that is written in a loop.
WEIGHTS = np.linspace(-0.9, 0.9, 200, dtype=np.float32).reshape(40, 5)


@pytest.mark.parametrize("cell", [PCM(), HermesPCM()])
def test_the_loop_ends_within_its_window(cell):
    store = Crossbar(cell=cell, write_verify=LOOP)
    state = conductances(store, WEIGHTS)
    targets = store.mapping.conductances(WEIGHTS, cell.g_min, cell.g_max)
    reached, targets = (np.asarray(g, np.float64) for g in (state.cells.conductance, targets))
    assert np.abs(reached - targets).max() <= 0.5e-6 * (1 + 1e-5)
    assert np.all(state.accepted)
    assert np.max(state.pulses) > 3


def test_the_loop_corrects_what_fabrication_spread():
    # Written in an open loop, cells at 15 uS would spread by 1.5 uS, see above.
    store = Crossbar(cell=QUIET, faults=Faults(device_variation=0.1), write_verify=LOOP)
    plus = np.asarray(conductances(store, np.full_like(WEIGHTS, 0.5)).cells.conductance, np.float64)[0]
    assert np.abs(plus - 15e-6).max() <= 0.5e-6 * (1 + 1e-5)


def test_a_stuck_cell_takes_every_pulse_in_vain():
    store = Crossbar(cell=QUIET, faults=Faults(stuck_off=0.3, device_variation=0.1), write_verify=LOOP)
    state = jax.tree.map(np.asarray, conductances(store, np.full_like(WEIGHTS, 0.6)))
    stuck = state.fabric.codes[0] != 0
    assert np.all(state.pulses[0][stuck] == 200)
    assert not np.any(state.accepted[0][stuck])
    assert state.pulses[0][~stuck].max() < 200


@pytest.mark.parametrize("cell", [ReRAM(), SONOS(), MiloReRAM()])
def test_cells_whose_spread_is_not_of_writing_alone_refuse_the_loop(cell):
    with pytest.raises(InputError, match=f"must be None for {type(cell).__name__}, whose published variation"):
        Crossbar(cell=cell, write_verify=LOOP)


def test_a_writing_error_that_the_loop_would_ignore_is_refused():
    for cell in (PCM(programming_noise=2.0), GenericCell(programming_sigma=0.02)):
        with pytest.raises(InputError, match="has no effect with write_verify"):
            Crossbar(cell=cell, write_verify=LOOP)
    Crossbar(cell=PCM(programming_noise=0.0), write_verify=LOOP)  # says what the loop does


# --- chips, and writing them again ------------------------------------------------------------------------------------


CELL = GenericCell(programming_sigma=0.02, drift_mean=0.05)
HARDWARE = Hardware(
    name="worn", store=Crossbar(cell=CELL, faults=Faults(stuck_on=0.1, device_variation=0.1)), rows=8, columns=8
)
X = np.ones((2, 10), np.float32)


class Net(nn.Module):
    hidden: int = 12
    hardware: Hardware = HARDWARE

    @nn.compact
    def __call__(self, x):
        x = nn.relu(AnalogDense(self.hidden, hardware=self.hardware, use_bias=False)(x))
        return AnalogDense(3, hardware=self.hardware, use_bias=False)(x)


def weights_of(*shape):
    return np.cos(np.arange(np.prod(shape), dtype=np.float32)).reshape(shape)


def variables_of(hidden=12):
    kernels = weights_of(10, hidden), weights_of(hidden, 3)
    return {"params": {f"Dense_{i}": {"kernel": kernel} for i, kernel in enumerate(kernels)}}


def fabrics(chip):
    return [np.asarray(a) for a in jax.tree.leaves(jax.tree.map(
        lambda p: p.state.fabric, chip.cells, is_leaf=lambda n: hasattr(n, "state")
    ))]  # fmt: skip


def written(chip):
    return np.concatenate([np.ravel(a) for a in jax.tree.leaves(jax.tree.map(
        lambda p: p.state.cells.conductance, chip.cells, is_leaf=lambda n: hasattr(n, "state")
    ))])  # fmt: skip


def chips(front_end, keys, reprogram=None, width=12, hardware=HARDWARE):
    """Chips of 10 inputs, ``width`` outputs and, in Linen, a second layer."""
    if front_end == "linen":
        return program(Net(width, hardware), variables_of(width), keys, X, reprogram=reprogram)
    return program(AnalogLinear(10, width, hardware=hardware, rngs=nnx.Rngs(0)), key=keys, reprogram=reprogram)


@functools.cache
def first(front_end):
    return chips(front_end, jax.random.key(1))


@pytest.mark.parametrize("front_end", ["linen", "nnx"])
def test_writing_again_keeps_what_fabrication_drew(front_end):
    again, other = (chips(front_end, jax.random.key(2), reprogram) for reprogram in (first(front_end), None))
    for a, b, c in zip(fabrics(first(front_end)), fabrics(again), fabrics(other), strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.any(a != c)
    # Programming noise is drawn anew; some idle cells stay at zero, stuck ones where they are.
    assert np.mean(written(first(front_end)) != written(again)) > 0.4
    assert jax.tree.structure(first(front_end)) == jax.tree.structure(again)


def test_a_chip_that_is_written_again_is_young():
    old = first("linen").at("10 years")
    new = chips("linen", jax.random.key(2), reprogram=old)
    assert new.time_s == 0.0
    y = jax.eval_shape(Net().apply, new.at("1 day").variables, X, rngs={"analog": jax.random.key(3)})
    assert y.shape == (2, 3)


def test_a_stack_of_chips_is_written_again():
    stack = chips("nnx", jax.random.split(jax.random.key(1), 3))
    again = chips("nnx", jax.random.split(jax.random.key(2), 3), reprogram=stack)
    for a, b in zip(fabrics(stack), fabrics(again), strict=True):
        np.testing.assert_array_equal(a, b)


# --- read noise cell by cell ------------------------------------------------------------------------------------------


ROWS, READS = 60, 60_000
OPERATOR = MatrixProduct((1,), (0,), 2, (ROWS, 1))


@jax.jit
def reads(hardware, weights, x, time_s):
    """One output, read many times."""
    reading = programmed.program(hardware, weights, jax.random.key(0)).read(time_s)
    keys = jax.random.split(jax.random.key(1), READS)
    return jax.lax.map(lambda key: multiply(hardware, reading, x, OPERATOR, key=key)[0, 0], keys, batch_size=2000)


def outputs(sampling, weights, x, cell, time_s=0.0):
    hardware = Hardware(store=Crossbar(cell=cell, mapping=Differential()), sampling=sampling)
    return np.asarray(reads(hardware, *(np.asarray(a, np.float32) for a in (weights, x, time_s))), np.float64)


def test_noise_drawn_by_cell_has_the_shape_that_outputs_lack():
    # One pair: w = max(0.2 + 0.2 xi, 0) - 0 with read noise as large as the conductance (the minus cell, at zero, is
    # silent). Drawn at the output it is Gaussian with the same mean and variance; by cell it is cut at zero. The
    # moments of max(N(1, 1), 0) by quadrature: mean 1.0833, variance 0.7511, skewness 0.582, kurtosis 2.760.
    weights, x = np.zeros((ROWS, 1)), np.zeros((1, ROWS))
    weights[0], weights[1] = 0.2, 1.0  # the largest weight is what others are normalised by
    x[0, 0] = 1.0
    for sampling, skewness, kurtosis in (("outputs", 0.0, 3.0), ("cells", 0.58216, 2.76032)):
        y = outputs(sampling, weights, x, GenericCell(read_noise=1.0)) / 0.2
        z = (y - y.mean()) / y.std()
        assert y.mean() == pytest.approx(1.08332, abs=4 * 0.867 / np.sqrt(READS))
        assert y.var() == pytest.approx(0.75109, rel=4 * np.sqrt(2 / READS))
        assert (z**3).mean() == pytest.approx(skewness, abs=4 * np.sqrt(6 / READS) * 1.5)
        assert (z**4).mean() == pytest.approx(kurtosis, abs=4 * np.sqrt(24 / READS) * 1.5)


def test_many_cells_make_both_ways_alike():
    # Sixty rows: mean, variance and kurtosis of an output agree between both ways within five standard errors.
    weights, x = np.linspace(-1, 1, ROWS)[:, None], np.cos(np.arange(ROWS))[None]
    cell = GenericCell(programming_sigma=0.03, drift_mean=0.05, drift_std=0.02, read_noise=0.1)
    found = {}
    for sampling in ("outputs", "cells"):
        y = outputs(sampling, weights, x, cell, 86400.0)
        found[sampling] = y.mean(), y.std(), (((y - y.mean()) / y.std()) ** 4).mean()
    (m1, s1, k1), (m2, s2, k2) = found["outputs"], found["cells"]
    assert abs(m1 - m2) < 5 * s1 * np.sqrt(2 / READS)
    assert abs(s1 / s2 - 1) < 5 / np.sqrt(READS)
    assert k1 == pytest.approx(3.0, abs=5 * np.sqrt(24 / READS))
    assert k2 == pytest.approx(3.0, abs=5 * np.sqrt(24 / READS) + 0.1)


def test_drawing_by_cell_passes_gradients_and_tiles():
    hardware = preset("pcm", sampling="cells", rows=8, columns=2)
    layer = AnalogDense(3, hardware=hardware, use_bias=False)
    x = np.linspace(-1, 1, 40, dtype=np.float32).reshape(2, 20)

    @jax.jit
    @jax.grad
    def gradients(kernel):
        return jnp.sum(layer.apply({"params": {"kernel": kernel}}, x, rngs={"analog": jax.random.key(1)}) ** 2)

    found = np.asarray(gradients(weights_of(20, 3)))
    assert np.all(np.isfinite(found))
    assert np.any(found != 0)


def test_a_chip_knows_what_writing_it_took():
    hardware = preset("pcm", rows=8, columns=8, **{"store.write_verify": LOOP, "store.faults": Faults(stuck_on=0.05)})
    model = AnalogDense(12, hardware=hardware, use_bias=False)
    chip = program(model, {"params": {"kernel": weights_of(10, 12)}}, jax.random.key(1), X)
    (layer,) = chip.write_statistics
    state = jax.tree.map(np.asarray, chip.cells["analog"]["array"].state)
    pulses = state.pulses.astype(np.int64)
    assert layer.cells == pulses.size == 2 * 2 * 2 * 5 * 6  # two tiles along each side, pairs
    assert layer.pulses == pulses.sum()
    assert layer.mean_pulses == pytest.approx(pulses.mean())
    assert layer.accepted == pytest.approx(state.accepted.mean())
    assert layer.accepted < 1
    assert layer.energy_j == pytest.approx(pulses.sum() * 74e-12, rel=1e-6)
    assert first("linen").write_statistics == ()  # as published: no pulses were counted
    tile = jax.tree.map(lambda a: a[0, 0], state)
    (pulse, read) = hardware.store.written(tile)
    assert (pulse.unit, read.unit) == ("pulse", "read")
    assert float(read.quantity) == float(pulse.quantity) + tile.pulses.size


@pytest.mark.parametrize("front_end", ["linen", "nnx"])
def test_only_a_chip_of_the_same_model_is_written_again(front_end):
    key, chip = jax.random.key(1), first(front_end)
    with pytest.raises(InputError, match="the chip holds a 10 x 12 matrix, the layer's is 10 x 5"):
        chips(front_end, key, chip, width=5)
    with pytest.raises(InputError, match="the chip is made of hardware 'worn', the layer is on 'pcm'"):
        chips(front_end, key, chip, hardware=preset("pcm"))
    with pytest.raises(InputError, match="reprogram = dict: must be a chip of this model"):
        chips(front_end, key, {})
    layer = AnalogDense(12, hardware=HARDWARE, use_bias=False)
    with pytest.raises(InputError, match="reprogram: the chip h"):  # of a model with layers by other names
        program(layer, {"params": {"kernel": weights_of(10, 12)}}, key, X, reprogram=chip)
