"""Chips of layers with several matrices: writing, writing again, stacks of chips, ages, whole evaluations.

A grouped convolution of five groups (3 x 3 inputs, 2 outputs each) on tiles of 20 x 6 is three matrices of two groups.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import Hardware, InputError, convert, evaluate, program
from analogsim.devices import PCM, Crossbar, Faults, GenericCell, MeasuredCell, WriteVerify
from analogsim.linen import AnalogConv

KEY = jax.random.key(3)
TILE = dict(rows=20, columns=6)
RNG = np.random.default_rng(1)
X, KERNEL = (RNG.normal(size=shape).astype(np.float32) for shape in ((2, 4, 15), (3, 3, 10)))
VARIABLES = {"params": {"kernel": KERNEL}}

#: Cells that are written exactly, read without noise, and all drift with the exponent 0.05.
DRIFTING = GenericCell(g_min=0.0, programming_sigma=0.0, drift_mean=0.05, drift_std=0.0, drift_reference_s=20.0)


@functools.cache
def plain():
    """What the layer computes digitally."""
    return np.asarray(jax.jit(nn.Conv(10, (3,), feature_group_count=5, use_bias=False).apply)(VARIABLES, X))


def layer(hardware):
    return AnalogConv(10, (3,), feature_group_count=5, use_bias=False, hardware=hardware)


def array(chip):
    """The one layer's tiles ``[..., member, R, C]``."""
    return chip.cells["analog"]["array"]


#: Stuck cells, cells of unequal scale, and a closed loop that counts its pulses.
LOOP = Hardware(
    store=Crossbar(
        cell=PCM(), faults=Faults(stuck_on=0.05, device_variation=0.1), write_verify=WriteVerify(window="0.5 uS")
    ),
    **TILE,
).replace(**{"energy_table.write_pulse_j": "3 pJ"})


@functools.cache
def looped(stack: bool):
    keys = jax.random.split(KEY, 2) if stack else KEY
    return program(layer(LOOP), VARIABLES, keys, X)


@pytest.mark.parametrize("stack", [False, True], ids=["chip", "chips"])
def test_writing_is_added_up_over_members_and_chips(stack):
    # 18 x 4 weights on pairs in each of three members: 432 cells a chip, each pulse at 3 pJ.
    (found,) = looped(stack).write_statistics
    pulses = np.asarray(array(looped(stack)).state.pulses, np.int64)
    assert pulses.shape == (2,) * stack + (3, 1, 1, 2, 18, 4)
    assert found.cells == 432 * (1 + stack)
    assert found.pulses == pulses.sum() > found.cells
    assert found.energy_j == pytest.approx(3e-12 * pulses.sum(), rel=1e-6)


def test_every_member_is_fabricated_and_written_by_itself():
    state = array(looped(False)).state
    for drawn in (state.fabric.codes, state.fabric.factor, state.pulses):
        assert len(np.unique(np.asarray(drawn).reshape(3, -1), axis=0)) == 3


def test_writing_groups_again_keeps_what_fabrication_drew():
    first = looped(False)
    again = program(layer(LOOP), VARIABLES, jax.random.key(9), X, reprogram=first)
    before, after = array(first).state, array(again).state
    jax.tree.map(np.testing.assert_array_equal, before.fabric, after.fabric)
    assert np.mean(np.asarray(before.pulses) != np.asarray(after.pulses)) > 0.1
    assert jax.tree.structure(first) == jax.tree.structure(again)


def test_a_chip_of_groups_is_the_same_in_a_stack_of_chips():
    model, chips = layer(LOOP), looped(True)

    @jax.jit
    def run(chip):
        return model.apply(chip.variables, X, rngs={"analog": jax.random.key(5)})

    together = np.asarray(jax.jit(jax.vmap(run, in_axes=(chips.axes,)))(chips.at("1 day")))
    for key, y in zip(jax.random.split(KEY, 2), together, strict=True):
        alone = program(model, VARIABLES, key, X).at("1 day")
        np.testing.assert_allclose(run(alone), y, rtol=1e-5, atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 0.01


def test_groups_on_measured_cells_end_where_the_data_end():
    """The times of the table ride along in every matrix of a stack, and of a stack of chips."""
    cell = MeasuredCell.from_rows([(g, 0.0, t) for g in (0.0, 20e-6) for t in (1.0, 100.0)])
    model = layer(Hardware(store=Crossbar(cell=cell), **TILE))
    one, two = (program(model, VARIABLES, keys, X) for keys in (KEY, jax.random.split(KEY, 2)))
    for chip in (one, two):
        with pytest.raises(InputError, match=r"data only from 0 to 100 \(unit: s"):
            chip.at(101.0)
        assert chip.at(100.0).time_s == 100.0
    np.testing.assert_allclose(jax.jit(model.apply)(one.at(100.0).variables, X), plain(), atol=1e-5)


@pytest.mark.parametrize("groups", ["shared", "apart"])
def test_drift_and_its_compensation_of_every_member(groups):
    """Cells that all drift with 0.05 hold ((t + 20)/20)^-0.05 of what was written; compensation divides by that."""
    model = layer(Hardware(store=Crossbar(cell=DRIFTING), groups=groups, **TILE))
    chip = program(model, VARIABLES, KEY, X)
    assert array(chip).scale.shape[0] == (3 if groups == "shared" else 5)
    run = jax.jit(model.apply)
    left = ((86400 + 20) / 20) ** -0.05
    for compensation, factor in (("none", left), ("global", 1.0), ("column", 1.0)):
        y = run(chip.at("1 day", compensation, read_noise=False).variables, X)
        np.testing.assert_allclose(y, factor * plain(), rtol=1e-4, atol=1e-5)


class Reader(nn.Module):
    """Numbers in, classes out: an embedding, a depthwise convolution with two outputs a channel, and a mean."""

    @nn.compact
    def __call__(self, ids):
        x = nn.Embed(30, 6)(ids)
        return nn.Conv(12, (3,), feature_group_count=6)(x).mean(axis=1)


def test_models_of_embeddings_and_depthwise_convolutions_are_evaluated():
    """Two layers without bias that each keep a share f(t) = ((t + 20)/20)^-0.05 give f(t)^2 of every output."""
    ids, labels = RNG.integers(0, 30, (24, 5)), np.arange(24) % 4
    variables = jax.jit(Reader().init)(jax.random.key(7), ids)
    exact = float(np.mean(jax.jit(Reader().apply)(variables, ids)[:, 0] * (1 + labels)))
    drifting = convert(Reader(), Hardware(store=Crossbar(cell=DRIFTING), **TILE))
    scores = evaluate(
        drifting, variables, ids, labels, key=KEY, chips=1, times=("1 s", "1 year"), batch_size=7,
        metric=lambda y, t: jnp.mean(y[:, 0] * (1 + t)),
    )  # fmt: skip
    left = ((scores.time.values + 20) / 20) ** (-2 * 0.05)
    assert float(scores.digital) == pytest.approx(exact, rel=1e-5)
    np.testing.assert_allclose(scores.score[0, 0], exact * left, rtol=1e-4)
