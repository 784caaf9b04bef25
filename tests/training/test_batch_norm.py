"""Batch statistics estimated anew: by numpy from what the layers compute, on chips too; Linen and NNX."""

import dataclasses

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import nnx

import analogsim
import analogsim.nnx
from analogsim import ADC, DAC, Hardware, InputError, program
from analogsim.devices import Crossbar, GenericCell
from analogsim.training import reestimate_batch_norm
from tests.support.models import PlainMLP

X = np.float32(2) + np.asarray(jax.random.normal(jax.random.key(0), (50, 8)))
#: Cells that err and drift in few operations, without converters.
CELLS = Hardware(store=Crossbar(cell=GenericCell(programming_sigma=0.03, drift_mean=0.05, drift_std=0.02)))


class Net(nn.Module):
    """One normalisation; two of them would depend on the batches."""

    momentum: float = 0.9

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.BatchNorm(use_running_average=not train, momentum=self.momentum)(nn.Dense(6, name="first")(x))
        return nn.Dense(3)(nn.relu(x))


@pytest.fixture(scope="module")
def variables():
    return jax.jit(Net().init)(jax.random.key(1), X)


def activations(variables, kernel=None):
    first = jax.tree.map(np.asarray, variables["params"]["first"])
    return np.asarray(X @ (first["kernel"] if kernel is None else kernel) + first["bias"], np.float64)


@pytest.mark.parametrize(("momentum", "batch_size"), [(0.9, 50), (0.9, 32), (0.5, 32), (0.5, 7)])
def test_statistics_are_those_of_all_examples(variables, momentum, batch_size):
    new = reestimate_batch_norm(Net(momentum), variables, X, batch_size=batch_size, train=True)
    found, y = new["batch_stats"]["BatchNorm_0"], activations(variables)
    np.testing.assert_allclose(found["mean"], y.mean(0), rtol=2e-4, atol=1e-5)
    np.testing.assert_allclose(found["var"], y.var(0), rtol=2e-4)
    assert new["params"] is variables["params"]


def test_on_a_chip_they_are_the_chips(variables):
    model = analogsim.convert(Net(), CELLS)
    trained = reestimate_batch_norm(Net(), variables, X, train=True)
    chip = program(model, trained, jax.random.key(2), X).at("1 year", read_noise=False)
    new = reestimate_batch_norm(model, trained, X, chip=chip, train=True)
    reading = chip.readings["first"]["analog"]["array"].reading
    held = (np.asarray(reading.mean) * np.asarray(reading.scale))[0, 0]
    y = activations(variables, held)
    found = new.variables["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(found["mean"], y.mean(0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found["var"], y.var(0), rtol=1e-3)
    exact, run = jax.jit(Net().apply)(trained, X), jax.jit(model.apply)
    error = lambda chip: float(np.mean((np.asarray(run(chip.variables, X)) - exact) ** 2))  # noqa: E731
    assert error(new) < 0.8 * error(chip)
    np.testing.assert_array_equal(new.readings["first"]["analog"]["array"].reading.mean, reading.mean)


def test_a_chip_with_noise_takes_a_key(variables):
    model = analogsim.convert(Net(), CELLS.replace(dac=DAC(), adc=ADC(noise=0.04), **{"store.cell.read_noise": 0.02}))
    chip = program(model, variables, jax.random.key(2), X)
    new = reestimate_batch_norm(model, variables, X, chip=chip, key=jax.random.key(3), batch_size=20, train=True)
    y = activations(variables)
    # Chips differ from the model: the largest of the six differences is 0.2 to 0.4 for most of them.
    np.testing.assert_allclose(new.variables["batch_stats"]["BatchNorm_0"]["mean"], y.mean(0), atol=0.6)
    with pytest.raises(InputError, match="needs a random key"):
        reestimate_batch_norm(model, variables, X, chip=chip, train=True)


def test_nnx_on_a_chip():
    class Same(nnx.Module):
        def __init__(self, rngs):
            self.first, self.norm = nnx.Linear(8, 6, rngs=rngs), nnx.BatchNorm(6, rngs=rngs)
            self.dropout = nnx.Dropout(0.5, rngs=rngs, deterministic=True)

        def __call__(self, x):
            return self.dropout(self.norm(self.first(x)))

    model = analogsim.convert(Same(nnx.Rngs(0)), CELLS, rngs=nnx.Rngs(1), x=X)
    model.norm.use_running_average = True
    chip = program(model, key=jax.random.key(2)).at("1 year")
    on_chip = analogsim.nnx.on_chip(model, chip)
    new = reestimate_batch_norm(on_chip, None, X, batch_size=20)
    y = np.asarray(nnx.jit(lambda layer: layer(X))(on_chip.first), np.float64)
    np.testing.assert_allclose(new.norm.mean[...], y.mean(0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(new.norm.var[...], y.var(0), rtol=1e-3)
    assert new.norm.use_running_average
    assert np.abs(on_chip.norm.mean[...]).max() == 0


def test_bad_input(variables):
    plain, linear = PlainMLP(), nnx.Linear(8, 2, rngs=nnx.Rngs(0))
    without = jax.jit(plain.init)(jax.random.key(0), X)
    chip = program(analogsim.convert(Net(), CELLS), variables, jax.random.key(2), X)
    for call, message in (
        (lambda: reestimate_batch_norm(plain, without, X), r"no running statistics"),
        (
            lambda: reestimate_batch_norm(Net(), variables, X),
            r"running statistics do not change under them; .*train=True",
        ),
        (
            lambda: reestimate_batch_norm(Net(), variables, X[:0], train=True),
            r"x: shape \(0, 8\): must hold at least one example",
        ),
        (lambda: reestimate_batch_norm(Net(), variables, X, batch_size=0, train=True), r"batch_size = 0"),
        (lambda: reestimate_batch_norm(Net(), variables, X, chip=3, train=True), r"chip = 3: must be a chip"),
        (lambda: reestimate_batch_norm(linear, None, X), r"no running statistics"),
        (
            lambda: reestimate_batch_norm(linear, None, X, chip=chip),
            r"contains its arrays",
        ),
    ):
        with pytest.raises(InputError, match=message):
            call()
    assert dataclasses.is_dataclass(chip)


@pytest.mark.parametrize("name", ["var", "mean"])
def test_a_normalisation_may_be_called_like_its_statistics(name):
    class Named(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            return nn.BatchNorm(use_running_average=not train, name=name)(nn.Dense(6, name="first")(x))

    variables = jax.jit(Named().init)(jax.random.key(1), X)
    found = reestimate_batch_norm(Named(), variables, X, batch_size=32, train=True)["batch_stats"][name]
    y = activations(variables)
    np.testing.assert_allclose(found["mean"], y.mean(0), rtol=2e-4, atol=1e-5)
    np.testing.assert_allclose(found["var"], y.var(0), rtol=2e-4)
