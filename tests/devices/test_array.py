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

QUIET = GenericCell(g_min=5e-6)
write = jax.jit(lambda store, key, w: store.program(key, w))
rewrite = jax.jit(lambda store, key, w, old: store.program(key, w, old))
held = jax.jit(lambda store, state, time_s: store.read(state, time_s))


def conductances(store, weights, key=0):
    return write(store, jax.random.key(key), weights)


# --- stuck and unequal cells ------------------------------------------------------------------------------------------


def test_a_stuck_cell_shows_in_its_weight():
    # All cells stuck on conduct g_max: every pair cancels. All stuck off: likewise. Stuck at 5 uS, with the offset
    # mapping on 5-25 uS: weight -1.
    weights = jnp.linspace(-1, 1, 12).reshape(4, 3)
    for faults in (Faults(stuck_on=1.0), Faults(stuck_off=1.0)):
        store = Crossbar(cell=QUIET, faults=faults)
        lines = held(store, conductances(store, weights), 0.0)
        np.testing.assert_allclose(lines.mean, 0.0, atol=1e-6)
        np.testing.assert_array_equal(lines.variance, 0.0)
    store = Crossbar(cell=QUIET, mapping=Offset(), faults=Faults(stuck_at=1.0, stuck_at_conductance=5e-6))
    lines = held(store, conductances(store, weights), 0.0).mean
    np.testing.assert_allclose(store.combine(jnp.eye(4) @ lines, jnp.ones((4, 1))), -1.0, atol=1e-6)


@pytest.mark.parametrize("kind", ["stuck_on", "stuck_off"])
def test_the_share_of_stuck_cells_is_seen_in_the_weights(kind):
    # A weight of 1/2 on one-sided pairs of window 1: plus at 1/2, minus at 0. A stuck plus cell makes 1 or 0, a stuck
    # minus cell takes 1 or 0 away: mean 1/2 + r/2 - r = 1/2 - r/2 (on), 1/2 - r/2 (off).
    n, r = 40_000, 0.1
    store = Crossbar(cell=GenericCell(), faults=Faults(**{kind: r}))
    w = np.asarray(held(store, conductances(store, jnp.full((n, 1), 0.5)), 0.0).mean, np.float64)
    assert w.mean() == pytest.approx(0.5 - r / 2, abs=4 * w.std() / np.sqrt(n))
    if kind == "stuck_off":
        assert (w == 0).mean() == pytest.approx(r, abs=4 * np.sqrt(r * (1 - r) / n))


def test_a_stuck_cell_neither_drifts_nor_fluctuates():
    store = Crossbar(cell=PCM(), faults=Faults(stuck_on=0.5))
    state = conductances(store, jnp.full((50, 4), 0.7))
    stuck = np.asarray(state.fabric.codes != 0)
    both = stuck.all(0)
    now, later = (held(store, state, t) for t in (0.0, 3.15e7))
    np.testing.assert_array_equal(now.mean[both], later.mean[both])
    np.testing.assert_array_equal(later.variance[both], 0.0)
    neither = ~stuck.any(0)
    assert np.all(np.asarray(later.mean)[neither] < np.asarray(now.mean)[neither])


def test_unequal_cells_spread_an_open_loop_write():
    # f has mean 1 and spread 0.1: a cell written to 20 uS spreads by 2 uS. 40000 cells, four standard errors.
    n = 40_000
    store = Crossbar(cell=GenericCell(), faults=Faults(device_spread=0.1))
    g = np.asarray(conductances(store, jnp.full((n, 1), 0.8)).cells.conductance[0], np.float64) * 1e6
    assert g.mean() == pytest.approx(20.0, abs=4 * 2 / np.sqrt(n))
    assert g.std() == pytest.approx(2.0, rel=4 * 0.72 / np.sqrt(n))


def test_spare_columns_are_cells_that_hold_no_weight():
    store = Crossbar(cell=QUIET, faults=Faults(stuck_on=0.05, spare_columns=3))
    assert store.cells(10, 4) == 2 * 10 * (4 + 3)
    assert Crossbar(cell=QUIET).cells(10, 4) == 80
    assert conductances(store, jnp.zeros((10, 4))).fabric.codes.shape == (2, 10, 4)


# --- written in a loop ------------------------------------------------------------------------------------------------


LOOP = WriteVerify(window=0.5e-6, pulse_noise_floor=0.2e-6, max_pulses=200)


@pytest.mark.parametrize("cell", [PCM(), HermesPCM(), QUIET])
def test_the_loop_ends_within_its_window(cell):
    store = Crossbar(cell=cell, write_verify=LOOP)
    weights = jnp.linspace(-0.9, 0.9, 200).reshape(20, 10)
    state = conductances(store, weights)
    assert bool(state.accepted.all())
    targets = store.mapping.conductances(weights, cell.g_min, cell.g_max)
    assert float(jnp.abs(state.cells.conductance - targets).max()) <= 0.5e-6 * (1 + 1e-5)
    assert int(state.pulses.max()) > 3


def test_the_loop_corrects_what_fabrication_spread():
    store = Crossbar(cell=QUIET, faults=Faults(device_spread=0.1), write_verify=LOOP)
    weights = jnp.full((500, 1), 0.5)
    closed = conductances(store, weights).cells.conductance[0]
    opened = conductances(store.replace(write_verify=None), weights).cells.conductance[0]
    assert float(jnp.abs(closed - 15e-6).max()) <= 0.5e-6 * (1 + 1e-5)
    assert float(jnp.std(opened)) == pytest.approx(1.5e-6, rel=0.2)


def test_a_stuck_cell_takes_every_pulse_in_vain():
    store = Crossbar(cell=QUIET, faults=Faults(stuck_off=0.3), write_verify=LOOP)
    state = conductances(store, jnp.full((40, 5), 0.6))
    stuck = np.asarray(state.fabric.codes != 0)[0]
    assert np.all(np.asarray(state.pulses)[0][stuck] == 200)
    assert not np.any(np.asarray(state.accepted)[0][stuck])
    assert np.asarray(state.pulses)[0][~stuck].max() < 200


@pytest.mark.parametrize("cell", [ReRAM(), SONOS(), MiloReRAM()])
def test_cells_whose_spread_is_not_of_writing_alone_refuse_the_loop(cell):
    with pytest.raises(InputError, match=f"write_verify: {type(cell).__name__} cannot be written in a loop"):
        Crossbar(cell=cell, write_verify=LOOP)


def test_a_writing_error_that_the_loop_would_ignore_is_refused():
    for cell in (PCM(programming_noise=2.0), GenericCell(programming_sigma=0.02)):
        with pytest.raises(InputError, match="has no effect with write_verify"):
            Crossbar(cell=cell, write_verify=LOOP)
    Crossbar(cell=PCM(programming_noise=0.0), write_verify=LOOP)  # says what the loop does


# --- chips, and writing them again ------------------------------------------------------------------------------------


HARDWARE = Hardware(
    name="worn", store=Crossbar(cell=PCM(), faults=Faults(stuck_on=0.1, device_spread=0.1)), rows=8, columns=8
)


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        return AnalogDense(3, hardware=HARDWARE)(nn.relu(AnalogDense(12, hardware=HARDWARE)(x)))


@functools.cache
def linen():
    x = jnp.ones((2, 10))
    return Net(), Net().init(jax.random.key(0), x), x


def fabrics(chip):
    return [np.asarray(a) for a in jax.tree.leaves(jax.tree.map(
        lambda p: p.state.fabric, chip.cells, is_leaf=lambda n: hasattr(n, "state")
    ))]  # fmt: skip


def written(chip):
    return np.concatenate([np.ravel(a) for a in jax.tree.leaves(jax.tree.map(
        lambda p: p.state.cells.conductance, chip.cells, is_leaf=lambda n: hasattr(n, "state")
    ))])  # fmt: skip


def chips(front_end, keys, onto=None):
    if front_end == "linen":
        model, variables, x = linen()
        return program(model, variables, keys, x, onto=onto)
    return program(AnalogLinear(10, 12, hardware=HARDWARE, rngs=nnx.Rngs(0)), key=keys, onto=onto)


@pytest.mark.parametrize("front_end", ["linen", "nnx"])
def test_writing_again_keeps_what_fabrication_drew(front_end):
    first = chips(front_end, jax.random.key(1))
    again, other = (chips(front_end, jax.random.key(2), onto) for onto in (first, None))
    for a, b, c in zip(fabrics(first), fabrics(again), fabrics(other), strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.any(a != c)
    assert np.mean(written(first) != written(again)) > 0.4  # programming noise is drawn anew (idle cells stay at zero)
    assert jax.tree.structure(first) == jax.tree.structure(again)


def test_a_chip_that_is_written_again_is_young():
    model, _, x = linen()
    old = chips("linen", jax.random.key(1)).at("10 years")
    new = chips("linen", jax.random.key(2), onto=old)
    assert new.time_s == 0.0
    rngs = {"analog": jax.random.key(3)}
    assert model.apply(new.at("1 day").variables, x, rngs=rngs).shape == (2, 3)


def test_a_stack_of_chips_is_written_again():
    first = chips("linen", jax.random.split(jax.random.key(1), 3))
    again = chips("linen", jax.random.split(jax.random.key(2), 3), onto=first)
    for a, b in zip(fabrics(first), fabrics(again), strict=True):
        np.testing.assert_array_equal(a, b)


# --- read noise cell by cell ------------------------------------------------------------------------------------------


def test_noise_drawn_by_cell_has_the_shape_that_outputs_lack():
    # One pair: w = max(0.2 + 0.2 xi, 0) - 0 with read noise as large as the conductance (the minus cell, at zero, is
    # silent). Drawn at the output it is Gaussian with the same mean and variance; by cell it is cut at zero. The
    # moments of max(N(1, 1), 0) by quadrature: mean 1.0833, variance 0.7511, skewness 0.582, kurtosis 2.760.
    cell = GenericCell(read_noise=1.0)
    weights = jnp.zeros((2, 1)).at[0].set(0.2).at[1].set(1.0)
    model = AnalogDense(1, hardware=Hardware(store=Crossbar(cell=cell)), use_bias=False)
    x = jnp.array([[1.0, 0.0]])
    n = 60_000
    moments = {}
    for sampling in ("outputs", "cells"):
        layer = model.clone(dot_general_cls=AnalogDense(
            1, hardware=Hardware(store=Crossbar(cell=cell), sampling=sampling)
        ).dot_general_cls)  # fmt: skip
        chip = program(layer, {"params": {"kernel": weights}}, jax.random.key(0), x)

        def read(key, layer=layer, chip=chip):
            return layer.apply(chip.variables, x, rngs={"analog": key})[0, 0]

        y = np.asarray(jax.jit(jax.vmap(read))(jax.random.split(jax.random.key(1), n)), np.float64) / 0.2
        z = (y - y.mean()) / y.std()
        moments[sampling] = y.mean(), y.var(), (z**3).mean(), (z**4).mean()
    for sampling, (skewness, kurtosis) in {"outputs": (0.0, 3.0), "cells": (0.58216, 2.76032)}.items():
        mean, variance, third, fourth = moments[sampling]
        assert mean == pytest.approx(1.08332, abs=4 * 0.867 / np.sqrt(n))
        assert variance == pytest.approx(0.75109, rel=4 * np.sqrt(2 / n))
        assert third == pytest.approx(skewness, abs=4 * np.sqrt(6 / n) * 1.5)
        assert fourth == pytest.approx(kurtosis, abs=4 * np.sqrt(24 / n) * 1.5)


def test_many_cells_make_both_ways_alike():
    # Sixty rows: mean, variance and kurtosis of an output agree between both ways within five standard errors.
    weights = jnp.linspace(-1, 1, 60)[:, None]
    x = jnp.cos(jnp.arange(60.0))[None]
    n = 20_000
    found = {}
    for sampling in ("outputs", "cells"):
        layer = AnalogDense(
            1, hardware=Hardware(store=Crossbar(cell=PCM(), mapping=Differential()), sampling=sampling), use_bias=False
        )
        chip = program(layer, {"params": {"kernel": weights}}, jax.random.key(0), x).at("1 day")

        def read(key, layer=layer, chip=chip):
            return layer.apply(chip.variables, x, rngs={"analog": key})[0, 0]

        y = np.asarray(jax.jit(jax.vmap(read))(jax.random.split(jax.random.key(1), n)), np.float64)
        found[sampling] = y.mean(), y.std(), (((y - y.mean()) / y.std()) ** 4).mean()
    (m1, s1, k1), (m2, s2, k2) = found["outputs"], found["cells"]
    assert abs(m1 - m2) < 5 * s1 * np.sqrt(2 / n)
    assert abs(s1 / s2 - 1) < 5 / np.sqrt(n)
    assert k1 == pytest.approx(3.0, abs=5 * np.sqrt(24 / n))
    assert k2 == pytest.approx(3.0, abs=5 * np.sqrt(24 / n) + 0.1)


def test_drawing_by_cell_passes_gradients_and_tiles():
    hardware = preset("pcm", sampling="cells", rows=8, columns=2)
    layer = AnalogDense(3, hardware=hardware)
    x = jnp.linspace(-1, 1, 40).reshape(2, 20)
    variables = layer.init(jax.random.key(0), x)

    def loss(v):
        return jnp.sum(layer.apply(v, x, rngs={"analog": jax.random.key(1)}) ** 2)

    slopes = jax.grad(loss)(variables)["params"]["kernel"]
    assert bool(jnp.isfinite(slopes).all() & jnp.any(slopes != 0))


def test_a_chip_knows_what_writing_it_took():
    hardware = preset("pcm", rows=8, columns=8, **{"store.write_verify": LOOP, "store.faults": Faults(stuck_on=0.05)})
    model = AnalogDense(12, hardware=hardware)
    x = jnp.ones((1, 10))
    chip = program(model, model.init(jax.random.key(0), x), jax.random.key(1), x)
    (layer,) = chip.writing
    state = chip.cells["analog"]["array"].state
    pulses = np.asarray(state.pulses, np.int64)
    assert layer.cells == pulses.size == 2 * 2 * 2 * 5 * 6  # two tiles along each side, pairs
    assert layer.pulses == pulses.sum()
    assert layer.mean_pulses == pytest.approx(pulses.mean())
    assert layer.accepted == pytest.approx(np.asarray(state.accepted).mean())
    assert layer.accepted < 1
    assert layer.energy_j == pytest.approx(pulses.sum() * 74e-12, rel=1e-6)
    assert chips("linen", jax.random.key(1)).writing == ()  # as published: no pulses were counted
    store = hardware.store
    tile = jax.tree.map(lambda a: a[0, 0], state)
    (pulse, read) = store.written(tile)
    assert (pulse.unit, read.unit) == ("pulse", "read")
    assert float(read.quantity) == float(pulse.quantity) + tile.pulses.size


@pytest.mark.parametrize("front_end", ["linen", "nnx"])
def test_only_a_chip_of_the_same_model_is_written_again(front_end):
    x = jnp.ones((1, 10))

    def chip(features, hardware=HARDWARE, onto=None):
        key = jax.random.key(1)
        if front_end == "nnx":
            return program(AnalogLinear(10, features, hardware=hardware, rngs=nnx.Rngs(0)), key=key, onto=onto)
        model = AnalogDense(features, hardware=hardware)
        return program(model, model.init(key, x), key, x, onto=onto)

    with pytest.raises(InputError, match="the chip holds a 10 x 4 matrix, the layer's is 10 x 5"):
        chip(5, onto=chip(4))
    with pytest.raises(InputError, match="the chip is made of hardware 'pcm', the layer is on 'worn'"):
        chip(4, onto=chip(4, preset("pcm")))
    with pytest.raises(InputError, match="onto = dict: must be a chip of this model"):
        chip(4, onto={})
    with pytest.raises(InputError, match="onto: the chip h"):  # of a model with layers by other names
        chips("linen", jax.random.key(0), onto=chip(12))
