"""Hardware changed for one block: it reaches every layer, in every mode, and no compilation is reused wrongly."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import analogsim
from analogsim import InputError, altered, preset, program
from analogsim.linen import AnalogDense
from tests.models import MLP, PlainMLP

IDEAL, X = preset("ideal"), jax.random.normal(jax.random.key(0), (5, 8))
COARSE = lambda path, hardware: preset("int8", **{"store.bits": 2})  # noqa: E731


class Inside(nn.Module):
    """A model with its hardware written into its code."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(AnalogDense(6, hardware=IDEAL)(x))
        return AnalogDense(3, hardware=IDEAL)(x)


@pytest.fixture(scope="module")
def variables():
    return PlainMLP().init(jax.random.key(1), X)


@pytest.mark.parametrize(
    "model", [Inside(), MLP(IDEAL), analogsim.convert(PlainMLP(), IDEAL)], ids=["inside", "field", "converted"]
)
def test_every_layer_runs_on_the_changed_hardware(model, variables):
    run = jax.jit(lambda v: model.apply(v, X, rngs={"analog": jax.random.key(2)}))
    before = run(variables)
    with altered(COARSE):
        inside = run(variables)  # compiled again: the block is a part of the cache's key
    params = {f"Dense_{i}": variables["params"][f"Dense_{i}"] for i in range(2)}
    coarse = MLP(COARSE("", IDEAL)).apply({"params": params}, X)
    np.testing.assert_allclose(inside, coarse, atol=1e-6)
    assert float(jnp.abs(inside - before).max()) > 0.01
    np.testing.assert_array_equal(run(variables), before)


def test_paths_are_told(variables):
    paths = []
    with altered(lambda path, hardware: paths.append(path) or hardware):
        MLP(IDEAL).apply(variables, X)
    assert sorted(set(paths)) == ["Dense_0", "Dense_1"]


def test_blocks_nest_and_end(variables):
    model = MLP(preset("int8"))
    seen = []
    with altered(lambda p, h: h.replace(**{"store.bits": 5})):
        with altered(lambda p, h: seen.append(h.store.bits) or h.replace(**{"dac.bits": h.store.bits})):
            inner = model.apply(variables, X)
        outer = model.apply(variables, X)
    assert set(seen) == {5}
    for found, changes in ((inner, {"store.bits": 5, "dac.bits": 5}), (outer, {"store.bits": 5}), (None, {})):
        found = model.apply(variables, X) if found is None else found
        np.testing.assert_array_equal(found, MLP(preset("int8", **changes)).apply(variables, X))


def test_programming_follows_and_a_chip_keeps_its_cells(variables):
    model = MLP(IDEAL)
    with altered(COARSE):
        chip = program(model, variables, jax.random.key(3), X)
        on_chip = model.apply(chip.variables, X)
    np.testing.assert_allclose(on_chip, MLP(COARSE("", IDEAL)).apply(variables, X), atol=1e-6)
    assert chip.cells["Dense_0"]["analog"]["array"].hardware.store.bits == 2


def test_a_traced_number_is_one_compilation_and_has_a_slope(variables):
    traces, model = [], MLP(preset("pcm", dac=None, adc=None))

    @jax.jit
    def loss(noise):
        traces.append(noise)
        with altered(lambda p, h: h.replace(**{"store.cell.programming_noise": noise})):
            return (model.apply(variables, X, rngs={"analog": jax.random.key(4)}) ** 2).sum()

    losses = [float(loss(level)) for level in (0.9, 1.0, 1.1)]
    assert len(traces) == 1
    slope = float(jax.grad(loss)(1.0))
    assert slope == pytest.approx((losses[2] - losses[0]) / 0.2, rel=0.05)


def test_nnx_layers_and_remat(variables):
    model = analogsim.convert(nnx.Linear(4, 3, rngs=nnx.Rngs(0)), IDEAL, rngs=nnx.Rngs(1))
    x = X[:, :4]
    with altered(COARSE):
        assert float(jnp.abs(model(x) - nnx.remat(lambda m, x: m(x))(model, x)).max()) < 1e-6
        coarse = model(x)
    assert float(jnp.abs(model(x) - coarse).max()) > 0.01


def test_bad_changes(variables):
    with pytest.raises(InputError, match=r"change = 3: must be a function"), altered(3):
        pass
    with (
        pytest.raises(InputError, match=r"layer Dense_0: the change of its hardware gave None: must be a Hardware"),
        altered(lambda path, hardware: None),
    ):
        MLP(IDEAL).apply(variables, X)
