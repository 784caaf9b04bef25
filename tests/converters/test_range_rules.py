"""Learned, tracked and dynamic ranges, against the published rule worked by hand and against finite differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import analogsim.nnx
from analogsim import ADC, DAC, DynamicRange, Hardware, InputError, LearnedRange, TrackedRange, calibrate, preset
from analogsim.converters.range_rules import published, quantile_of
from analogsim.linen import AnalogDense
from tests.support.models import MLP

W = np.float32([[0.5, -1.0], [1.0, 0.25], [-0.75, 0.5]])
X = np.float32([[0.2, 2.5, -1.0], [-3.0, 0.1, 0.4]])
RULE = LearnedRange(decay=0.01, unclipped=0.6, outputs="ignore")


def hardware_with(**options):
    return Hardware(**({"dac": DAC(bits=8), "adc": ADC(bits=8, range=10.0)} | options))


def layer_on(hardware):
    return AnalogDense(2, hardware=hardware, use_bias=False)


@jax.jit
def run(hardware, ranges, x=X):
    """Outputs of a layer with the weights W and calibrated ranges."""
    return layer_on(hardware).apply({"params": {"kernel": W}, "ranges": {"analog": ranges}}, x)


@functools.partial(jax.jit, static_argnames="name")
def gradient_of_outputs(hardware, name, value, head):
    return jax.grad(lambda bound: (head * run(hardware, {name: bound}, X)).sum())(value)


def slope(hardware, name, value, head=1.0):
    """Gradient of ``head`` times the sum of the outputs, with respect to one calibrated range."""
    return float(gradient_of_outputs(hardware, name, np.float32(value), np.float32(head)))


# d = dL/dx of the clipped inputs is the sum of each row of W: -0.5, 1.25, -0.25. With r = 1 the clipped inputs are 2.5
# (d = 1.25), -1.0 at the edge (d = -0.25), and -3.0 (d = -0.5); 3 of 6 inputs pass.
@pytest.mark.parametrize(
    ("sign", "unclipped", "expected"),
    [
        (1, 0.6, 0.0),  # min(1.25, 0) - max(-0.25, 0) - max(-0.5, 0) = 0, and too many are clipped for the decay
        (1, 0.4, 0.01),  # the decay alone
        (-1, 0.6, -1.25 - 0.25 - 0.5),  # d changes sign: min(-1.25, 0) - max(0.25, 0) - max(0.5, 0)
    ],
)
def test_the_published_rule_by_hand(sign, unclipped, expected):
    found = slope(hardware_with(input_range=RULE.replace(unclipped=unclipped)), "input", 1.0, sign)
    assert found == pytest.approx(expected, abs=1e-6)


def test_the_published_rule_scales_with_the_range():
    # r = 0.5: 2.5, -1.0 and -3.0 are clipped; the rule's gradient is r times the sum.
    assert slope(hardware_with(input_range=RULE), "input", 0.5, -1.0) == pytest.approx(0.5 * (-2.0), abs=1e-6)


def test_inputs_beyond_a_learned_range_have_no_gradient():
    hardware = hardware_with(input_range=RULE)
    gradient = jax.jit(jax.grad(lambda x: run(hardware, {"input": 1.0}, x).sum()))(X)
    expected = np.array([[-0.5, 0.0, -0.25], [0.0, 1.25, -0.25]])
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_clipped_outputs_widen_the_input_range():
    # With r = 1 the lines carry, in fully driven cells of columns scaled by their largest weight 1:
    # rows of X clipped to 1: (0.2, 1, -1) W = (1.85, -0.45), (-1, 0.1, 0.4) W = (-0.7, 1.225).
    # An ADC range of 1 clips 2 of 4: the rule adds -(1/2) r.
    rule = RULE.replace(outputs="widen", unclipped=1.0, decay=0.0)
    hardware = hardware_with(adc=ADC(bits=8, range=1.0), input_range=rule)
    # A loss without gradient at the clipped inputs leaves the outputs' part alone.
    assert slope(hardware, "input", 1.0, 0.0) == pytest.approx(-0.5, abs=1e-6)


def test_two_rows_of_tiles_count_half_each():
    rule = RULE.replace(outputs="widen", unclipped=1.0, decay=0.0)
    hardware = hardware_with(adc=ADC(bits=8, range=1e-3), rows=2, input_range=rule)
    assert slope(hardware, "input", 1.0, 0.0) == pytest.approx(-1.0, abs=1e-6)


def test_the_gradient_rule_of_inputs_holds_the_codes():
    # y = r sum_i q_i W_ij with codes q of 3 bits, levels k/3 of r = 1: q(0.2) = 1/3, q(2.5) = 1, q(-1) = q(-3) = -1,
    # q(0.1) = 0, q(0.4) = 1/3. Inside, dL/dr = (q - x/r) d; beyond, sign(x) d.
    hardware = hardware_with(dac=DAC(bits=3), adc=None, input_range=LearnedRange(rule="gradient"))
    d = np.array([-0.5, 1.25, -0.25])
    inside = (1 / 3 - 0.2) * d[0] + (0 - 0.1) * d[1] + (1 / 3 - 0.4) * d[2] + (-1 + 1) * d[2]
    beyond = d[1] - d[0]
    assert slope(hardware, "input", 1.0) == pytest.approx(inside + beyond, abs=1e-6)


def test_the_gradient_rule_of_outputs_holds_the_codes():
    # Columns of W have largest weights 1 and 1, inputs pass exactly: y = X W = (3.35, -0.075), (-1.7, 3.225).
    hardware = hardware_with(dac=None, adc=ADC(bits=3, range=2.0), output_range=LearnedRange(rule="gradient"))
    factor = np.abs(X).max(1, keepdims=True)
    y = X @ W / factor  # each example has its own input range
    r = 0.9
    steps = np.round(np.clip(y, -r, r) / r * 3) / 3  # codes as a share of the range
    expected = (factor * np.where(np.abs(y) > r, np.sign(y), steps - y / r)).sum()
    assert slope(hardware, "output", r) == pytest.approx(expected, rel=1e-5)


def test_without_a_rule_an_outputs_range_knows_only_what_it_clips():
    factor = np.abs(X).max(1, keepdims=True)
    y = X @ W / factor
    found = slope(hardware_with(dac=None, adc=ADC(bits=3, range=2.0)), "output", 0.9)
    assert found == pytest.approx((factor * np.sign(y) * (np.abs(y) > 0.9)).sum())


def same(a, b):
    """Equal outputs of two programs: one code of the ADC is 0.08, float32 sums of a few units are off by 1e-6."""
    np.testing.assert_allclose(a, b, rtol=1e-6, atol=2e-6)


def test_learned_ranges_do_not_change_what_passes_forward():
    ranges = {"input": 1.0, "output": 1.5}
    for rule in (LearnedRange(), LearnedRange(rule="gradient"), TrackedRange()):
        same(run(hardware_with(input_range=rule), ranges), run(hardware_with(), ranges))


def test_a_dynamic_range_ignores_the_calibrated_one():
    same(run(hardware_with(input_range=DynamicRange()), {"input": 0.1}), run(hardware_with(), {}))


def test_the_rule_under_jit_and_vmap():
    rule, bounds = LearnedRange(decay=0.0), np.float32([0.5, 1.0])
    one = jax.grad(lambda b, x: -published(rule, x, b).sum())
    mapped = jax.jit(jax.vmap(one, in_axes=(0, None)))(bounds, X)
    alone = jax.jit(one)
    np.testing.assert_allclose(mapped, [float(alone(b, X)) for b in bounds], rtol=1e-6)


@pytest.mark.parametrize(("quantile", "expected"), [(1.0, 99.0), (0.9, 89.0), (0.5, 49.0)])
def test_quantiles(quantile, expected):
    # 100 values 0 .. 99: (1 - q) 100 of them are larger.
    signs = np.where(np.arange(100) % 2, 1, -1)
    values = np.float32(np.random.default_rng(0).permutation(100) * signs)
    assert float(jax.jit(quantile_of, static_argnums=1)(values, quantile)) == expected


def test_a_tracked_range_follows_the_batches():
    rules = dict(input_range=TrackedRange(quantile=1.0, momentum=0.75), output_range=TrackedRange(quantile=1.0))
    layer, params = layer_on(hardware_with(**rules)), {"params": {"kernel": W}}
    step = jax.jit(lambda v, x: layer.apply(v, x, mutable=["ranges"]))
    _, state = step(params, X)
    assert float(state["ranges"]["analog"]["input"]) == 3.0
    # Lines of the first batch: X W over the input range 3.
    largest = np.abs(X @ W).max() / 3
    assert float(state["ranges"]["analog"]["output"]) == pytest.approx(largest, rel=0.02)  # inputs are rounded to codes
    _, state = step(params | state, 2 * X)
    assert float(state["ranges"]["analog"]["input"]) == pytest.approx(0.75 * 3 + 0.25 * 6)
    kept = jax.jit(layer.apply)(params | state, 5 * X)  # not mutable: as it is
    same(kept, run(hardware_with(), state["ranges"]["analog"], 5 * X))


def test_a_tracked_range_in_nnx():
    hardware = Hardware(dac=DAC(bits=8), adc=ADC(bits=8), input_range=TrackedRange(quantile=1.0, momentum=0.5))
    layer = analogsim.nnx.AnalogLinear(3, 2, hardware=hardware, rngs=nnx.Rngs(0))
    step = nnx.jit(lambda layer, x: layer(x))
    step(layer, X)
    step(layer, 3 * X)
    assert float(layer.dot_general.ranges.input) == pytest.approx(0.5 * 3 + 0.5 * 9)


def test_learned_ranges_train():
    """A range that starts ten times too small opens until little is clipped."""
    x = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    hardware = preset("pcm", input_range=LearnedRange(), **{"training.time_s": 1.0})
    model = MLP(hardware)
    variables = calibrate(model, jax.jit(model.init)(jax.random.key(1), x), x)
    small = jax.tree.map(lambda r: np.asarray(r) / 10, {k: v for k, v in variables["ranges"].items() if k != "sample"})
    exact = jax.jit(MLP(None).apply)({"params": variables["params"]}, x)

    def loss(ranges, key):
        y = model.apply({"params": variables["params"], "ranges": ranges}, x, rngs={"analog": key})
        return ((y - exact) ** 2).mean()

    @jax.jit
    def trained(ranges, keys):
        def step(ranges, key):
            value, gradients = jax.value_and_grad(loss)(ranges, key)
            return jax.tree.map(lambda a, g: jnp.maximum(a - 0.5 * g, 1e-3), ranges, gradients), value

        return jax.lax.scan(step, ranges, keys)

    ranges, losses = trained(small, jax.random.split(jax.random.key(2), 60))
    opened = ranges["Dense_0"]["analog"]["input"] / small["Dense_0"]["analog"]["input"]
    assert float(opened) > 4
    assert float(losses[-1]) < 0.3 * float(losses[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: preset("pcm", output_range=LearnedRange()),
            r"Hardware.output_range = LearnedRange\(\): must be .*gradient",
        ),
        (lambda: preset("pcm", output_range=DynamicRange()), r"Hardware.output_range = DynamicRange\(\): must be"),
        (
            lambda: preset("ideal", input_range=LearnedRange()),
            r"Hardware.input_range = .*: must be None without converters",
        ),
        (
            lambda: preset("int8", output_range=TrackedRange()),
            r"Hardware.output_range = .*: must be None without an ADC",
        ),
        (
            lambda: preset("pcm", bound_management="iterative", input_range=LearnedRange()),
            r"Hardware.input_range = .*: must not be learned with bound_management",
        ),
        (
            lambda: run(hardware_with(input_range=LearnedRange()), {}),
            r"its input range is learned and has no value to start from; calibrate the model first",
        ),
        (
            lambda: run(hardware_with(output_range=TrackedRange()), {}),
            r"its output range is tracked and has no value yet; train with mutable=\['ranges'\]",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
