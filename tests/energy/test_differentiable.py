"""Joules as a term of a loss."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import InputError, convert, preset
from analogsim.energy import compare, inference_j
from tests.energy.energy_models import MLP, mlp

CELLS = ("cells",)


@pytest.fixture(scope="module")
def digits():
    return mlp(preset("reram"))


def test_it_is_the_breakdown(digits):
    breakdown = compare(*digits, systems=(), batch=1).hardware
    whole = inference_j(*digits)
    assert float(whole) == pytest.approx(breakdown.energy_typical_j, rel=1e-5)
    cells = sum(line.energy_j for line in breakdown.items if line.component == "cells")
    assert float(inference_j(*digits, components=CELLS)) == pytest.approx(cells, rel=1e-5)
    assert float(jax.jit(lambda v: inference_j(digits[0], v, digits[2]))(digits[1])) == pytest.approx(float(whole))


def test_gradients_are_those_of_small_changes(digits):
    model, variables, x = digits

    def cells(scale):
        kernel = variables["params"]["Dense_1"]["kernel"]
        first = kernel.at[3, 2].multiply(scale)
        params = variables["params"] | {"Dense_1": variables["params"]["Dense_1"] | {"kernel": first}}
        return 1e12 * inference_j(model, {"params": params}, x, components=CELLS)

    gradient = jax.grad(cells)(1.0)
    by_hand = (cells(1.05) - cells(0.95)) / 0.1
    assert abs(float(gradient)) > 0
    np.testing.assert_allclose(gradient, by_hand, rtol=0.05)


def test_a_gradient_in_the_voltage_is_twice_the_energy_over_it():
    # Cells take V^2: V dE/dV = 2 E.
    _, variables, x = mlp()

    def cells(volt):
        hardware = preset("reram").replace(**{"energy_table.read_voltage_v": volt})
        return inference_j(MLP(hardware), variables, x, components=CELLS)

    value, gradient = jax.value_and_grad(cells)(0.5)
    assert 0.5 * float(gradient) == pytest.approx(2 * float(value), rel=1e-5)


def test_descending_the_joules_lowers_them(digits):
    model, variables, x = digits
    energy = jax.jit(lambda v: 1e9 * inference_j(model, v, x, components=CELLS))
    gradient = jax.grad(energy)(variables)
    moved = jax.tree.map(lambda v, s: v - 0.05 * s, variables, gradient)
    assert energy(moved) < energy(variables)


class Looped(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.RNN(nn.SimpleCell(4))(x)


def test_loops_are_refused():
    model, x = convert(Looped(), preset("pcm")), jnp.ones((2, 5, 3))
    with pytest.raises(InputError, match="runs in a loop of the model"):
        inference_j(model, Looped().init(jax.random.key(0), x), x)


def test_unknown_components_are_refused(digits):
    with pytest.raises(InputError, match="components: unknown component 'cell'; this model has: cells, word lines"):
        inference_j(*digits, components=("cell",))
