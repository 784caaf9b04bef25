"""Tuned ranges: better on other chips or left alone; the gradient of a weight range by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

import analogsim
import analogsim.nnx
from analogsim import ADC, DAC, Hardware, InputError, calibrate
from analogsim.devices import BitSlices, Crossbar, Differential, DigitalMemory, GenericCell, Offset
from analogsim.linen import AnalogDense
from analogsim.training import tune
from tests.support.models import MLP

X = np.asarray(jax.random.normal(jax.random.key(0), (96, 8)))
#: Cells that are random in few operations: every step of tuning programs a chip of them.
CELLS = Crossbar(cell=GenericCell(programming_sigma=0.05))
COARSE = Hardware(store=CELLS, dac=DAC(bits=4), adc=ADC(bits=4, noise=0.04))


def started(model, **how):
    return calibrate(model, jax.jit(model.init)(jax.random.key(1), X), X, **how)


@pytest.fixture(scope="module")
def network():
    model = MLP(COARSE)
    return model, started(model, method="max", margin=4.0)


@pytest.fixture(scope="module")
def tuned(network):
    model, variables = network
    return tune(model, variables, X, key=jax.random.key(2), steps=100, learning_rate=0.05)


@pytest.mark.slow
def test_ranges_that_are_far_too_wide_are_closed(network, tuned):
    model, variables = network
    assert tuned.after < 0.5 * tuned.before
    exact = jax.jit(MLP(None).apply)({"params": variables["params"]}, X)

    def error(variables):  # on chips of its own
        def one(key):
            y = model.apply(variables, X, rngs={"analog": key})
            return ((y - exact) ** 2).mean() / exact.var()

        return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(9), 20))).mean()

    assert error(tuned.variables) < 0.6 * error(variables)
    outputs = [row for row in tuned.ranges if row[1] == "output"]
    assert all(after < before for *_, before, after in outputs)


def test_parameters_stay(network, tuned):
    jax.tree.map(np.testing.assert_array_equal, tuned.variables["params"], network[1]["params"])


@pytest.mark.slow
def test_it_never_gives_back_something_worse(network):
    model, variables = network
    wild = tune(model, variables, X, key=jax.random.key(2), steps=5, learning_rate=50.0, chips=2)
    assert wild.after == wild.before
    before = variables["ranges"]["Dense_0"]["analog"]["output"]
    np.testing.assert_allclose(wild.variables["ranges"]["Dense_0"]["analog"]["output"], before, rtol=1e-6)


def test_the_gradient_of_a_weight_range_by_hand():
    # Three bits, levels k/3 of r times the largest weight 1: out = r Q(w/r). With r = 0.75 the weights become
    # Q(1.2 -> 1) , Q(0.4/0.75 = 0.533) = 2/3, Q(-0.2/0.75 = -0.267) = -1/3; gradients: 1 beyond, Q - w/r inside.
    layer = AnalogDense(1, hardware=Hardware(store=DigitalMemory(bits=3)), use_bias=False)
    kernel, eye = np.float32([[1.0], [0.4], [-0.2]]), np.eye(3, dtype=np.float32)

    def outputs(r):
        return layer.apply({"params": {"kernel": kernel}, "ranges": {"analog": {"weight": r}}}, eye)[:, 0]

    np.testing.assert_allclose(jax.jit(outputs)(0.75), [0.75, 0.5, -0.25], rtol=1e-6)
    gradients = jax.jit(jax.jacfwd(outputs))(0.75)
    np.testing.assert_allclose(gradients, [1.0, 2 / 3 - 0.4 / 0.75, -1 / 3 + 0.2 / 0.75], rtol=1e-4)


def _mean_square_error(hardware, kernel):
    """Of the weights that tiles give back, as a function of the weight range."""
    layer = AnalogDense(kernel.shape[1], hardware=hardware, use_bias=False)

    def error(r):
        variables = {"params": {"kernel": kernel}, "ranges": {"analog": {"weight": r}}}
        held = layer.apply(variables, np.eye(len(kernel), dtype=np.float32), rngs={"analog": jax.random.key(0)})
        return jnp.mean((held - kernel) ** 2)

    return jax.jit(jax.value_and_grad(error))


@pytest.mark.parametrize("mapping", [Differential, Offset])
@pytest.mark.parametrize("widths", [(4,), (2, 2), (1, 3)])
def test_the_gradient_of_a_weight_range_passes_slices(mapping, widths):
    # Ideal cells hold w as r Q(w/r), with steps of r d. Where nothing clips the mean square error is that of rounding,
    # r^2 d^2/12, so its gradient is 2/r of it: known by hand, and from a wide difference that averages over the steps.
    # (Cells end above zero: one at exactly zero, which cannot go lower, has half a gradient of its own.)
    store = Crossbar(cell=GenericCell(g_min=1e-6), mapping=mapping(slices=BitSlices(widths=widths)))
    kernel = np.random.default_rng(1).uniform(-1.0, 1.0, (64, 64)).astype(np.float32)
    error = _mean_square_error(Hardware(store=store), kernel)
    largest, step = np.abs(kernel).max(axis=0), 1 / (2 ** sum(widths) - 1 if mapping is Differential else 2**3 - 1)
    found = {r: [float(v) for v in error(r)] for r in (1.1, 1.2, 1.3, 1.4, 1.6)}
    for r in (1.1, 1.3, 1.6):
        value, gradient = found[r]
        expected = r**2 * step**2 / 12 * (largest**2).mean()
        np.testing.assert_allclose(value, expected, rtol=0.08)
        np.testing.assert_allclose(gradient, 2 * value / r, rtol=1e-3)
    wide = (found[1.6][0] - found[1.2][0]) / 0.4
    np.testing.assert_allclose(found[1.4][1], wide, rtol=0.15)


def test_a_layers_lines_keep_the_ratios_of_their_ranges():
    # Digital logic adds slices by shifting: their ranges may differ by powers of two only (``chips.calibration``).
    mapping = Differential(slices=BitSlices(widths=(3, 3)))
    store = Crossbar(cell=GenericCell(programming_sigma=0.02), mapping=mapping)
    model = AnalogDense(6, hardware=Hardware(store=store, dac=DAC(bits=5), adc=ADC(bits=4)))
    variables = started(model, margin=2.0)
    found = tune(model, variables, X, key=jax.random.key(2), steps=20, learning_rate=0.05)
    before, after = (np.asarray(v["ranges"]["analog"]["output"]) for v in (variables, found.variables))
    assert before.shape == after.shape
    assert len(np.unique(before)) > 1
    np.testing.assert_allclose(after / before, (after / before)[0], rtol=1e-5)
    assert not np.allclose(after, before, rtol=1e-3)


def test_only_what_is_asked_for_moves_and_layers_may_be_called_input_and_output():
    class Named(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(AnalogDense(6, hardware=COARSE, name="output")(x))
            return AnalogDense(3, hardware=COARSE, name="input")(x)

    model = Named()
    variables = started(model, method="max", margin=4.0)
    found = tune(model, variables, X, key=jax.random.key(2), steps=10, learning_rate=0.05, what=("output",))
    assert [row[:2] for row in found.ranges] == [("input", "output"), ("output", "output")]
    assert all(after < before for *_, before, after in found.ranges)
    for name in ("input", "output"):
        held, old = (v["ranges"][name]["analog"] for v in (found.variables, variables))
        assert set(held) == {"input", "output"}
        assert held["input"] == old["input"]


def test_every_step_is_taken():
    # Nothing is random and the ranges are far too wide, so that each of Adam's steps is one of the learning rate.
    model = MLP(Hardware(dac=DAC(bits=8), adc=ADC(bits=6)))
    variables = started(model, method="max", margin=16.0)
    found = tune(
        model, variables, X, key=jax.random.key(2), steps=19, learning_rate=0.01, what=("output",), batch_size=96
    )
    moved = [np.log(before / after) for *_, before, after in found.ranges]
    np.testing.assert_allclose(moved, 0.19, rtol=0.03)


def test_labels_and_nnx():
    linear = nnx.Linear(8, 3, rngs=nnx.Rngs(0))
    model = analogsim.convert(linear, COARSE, rngs=nnx.Rngs(1), x=X)
    found = tune(model, None, X, np.argmax(linear(X), -1), key=jax.random.key(2), steps=20, learning_rate=0.1)
    assert found.after <= found.before
    assert model.dot_general.ranges.input is None  # left as it was
    assert found.model.dot_general.ranges.weight is not None
    assert {row[1] for row in found.ranges} == {"input", "output", "weight"}


def test_the_table(tuned):
    text = str(tuned)
    assert "before" in text
    assert len([line for line in text.splitlines() if "Dense_" in line]) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"what": "input"}, r"what = 'input': must be a tuple of one or more of 'input', 'output', 'weight'"),
        ({"what": ("scale",)}, r"what = \('scale',\): must be a tuple"),
        ({"steps": 0}, r"steps = 0: must be an integer of at least 1"),
        ({"learning_rate": 0.0}, r"learning_rate = 0: must be greater than 0"),
        ({"labels": np.zeros(3, int)}, r"labels: shape \(3,\) does not match 96 examples"),
        ({"time": "-1 s"}, r"time = "),
    ],
)
def test_bad_input(network, changes, message):
    model, variables = network
    with pytest.raises(InputError, match=message):
        tune(model, variables, X, **({"key": jax.random.key(0)} | changes))
