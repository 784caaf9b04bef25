"""Hardware changed for one block: it reaches every layer, in every mode, and no compilation is reused wrongly."""

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import nnx

import analogsim
from analogsim import InputError, override_hardware, preset, program
from analogsim.linen import AnalogDense
from tests.support.models import MLP, PlainMLP

IDEAL, X = preset("ideal"), np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
COARSE = lambda path, hardware: preset("int8", **{"store.bits": 2})  # noqa: E731


class Inside(nn.Module):
    """A model with its hardware written into its code."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(AnalogDense(6, hardware=IDEAL)(x))
        return AnalogDense(3, hardware=IDEAL)(x)


@pytest.fixture(scope="module")
def variables():
    return jax.jit(PlainMLP().init)(jax.random.key(1), X)


def applied(model, variables):
    """A model's outputs as one compiled program. Inside of a block it is another one than outside of it."""
    return np.asarray(jax.jit(model.apply)(variables, X))


@pytest.fixture(scope="module")
def coarse(variables):
    """What a model gives that is built on the coarse hardware."""
    return applied(MLP(COARSE("", IDEAL)), variables)


@pytest.mark.parametrize(
    "model", [Inside(), MLP(IDEAL), analogsim.convert(PlainMLP(), IDEAL)], ids=["inside", "field", "converted"]
)
def test_every_layer_runs_on_the_changed_hardware(model, variables, coarse):
    run = jax.jit(lambda v: model.apply(v, X, rngs={"analog": jax.random.key(2)}))
    before = np.asarray(run(variables))
    with override_hardware(COARSE):
        inside = np.asarray(run(variables))  # compiled again: the block is a part of the cache's key
    np.testing.assert_allclose(inside, coarse, atol=1e-6)
    assert np.abs(inside - before).max() > 0.01
    np.testing.assert_array_equal(run(variables), before)


def test_paths_are_told(variables):
    paths = []
    with override_hardware(lambda path, hardware: paths.append(path) or hardware):
        jax.eval_shape(MLP(IDEAL).apply, variables, X)
    assert sorted(set(paths)) == ["Dense_0", "Dense_1"]


def test_blocks_nest_and_end(variables):
    model = MLP(preset("int8"))
    seen = []
    with override_hardware(lambda p, h: h.replace(**{"store.bits": 5})):
        with override_hardware(lambda p, h: seen.append(h.store.bits) or h.replace(**{"dac.bits": h.store.bits})):
            inner = applied(model, variables)
        outer = applied(model, variables)
    assert set(seen) == {5}
    plain = applied(model, variables)
    for found, changes in ((inner, {"store.bits": 5, "dac.bits": 5}), (outer, {"store.bits": 5}), (plain, {})):
        np.testing.assert_array_equal(found, applied(MLP(preset("int8", **changes)), variables))


def test_programming_follows_and_a_chip_keeps_its_cells(variables, coarse):
    model = MLP(IDEAL)
    with override_hardware(COARSE):
        chip = program(model, variables, jax.random.key(3), X)
        on_chip = applied(model, chip.variables)
    np.testing.assert_allclose(on_chip, coarse, atol=1e-6)
    assert chip.cells["Dense_0"]["analog"]["array"].hardware.store.bits == 2


def test_a_traced_number_is_one_compilation_and_has_a_gradient(variables):
    traces, layer = [], AnalogDense(6, hardware=preset("pcm", dac=None, adc=None))
    first = {"params": variables["params"]["Dense_0"]}

    @jax.jit
    def loss(noise):
        traces.append(noise)
        with override_hardware(lambda p, h: h.replace(**{"store.cell.programming_noise": noise})):
            return (layer.apply(first, X, rngs={"analog": jax.random.key(4)}) ** 2).sum()

    # Cells that the noise drives to zero are a kink, which a large step would smear.
    losses = [float(loss(level)) for level in (0.98, 1.0, 1.02)]
    assert len(traces) == 1
    gradient = float(jax.jit(jax.grad(loss))(1.0))
    assert gradient == pytest.approx((losses[2] - losses[0]) / 0.04, rel=0.05)


def test_nnx_layers_and_remat(variables):
    model = analogsim.convert(nnx.Linear(4, 3, rngs=nnx.Rngs(0)), IDEAL, rngs=nnx.Rngs(1))
    run = nnx.jit(lambda model, x: (model(x), nnx.remat(lambda m, x: m(x))(model, x)))
    with override_hardware(COARSE):
        coarse, rematerialised = map(np.asarray, run(model, X[:, :4]))
    np.testing.assert_allclose(coarse, rematerialised, atol=1e-6)
    assert np.abs(run(model, X[:, :4])[0] - coarse).max() > 0.01


def test_bad_changes(variables):
    with pytest.raises(InputError, match=r"change = 3: must be a function"), override_hardware(3):
        pass
    with (
        pytest.raises(InputError, match=r"layer Dense_0: change returned None: must be a Hardware"),
        override_hardware(lambda path, hardware: None),
    ):
        jax.eval_shape(MLP(IDEAL).apply, variables, X)
