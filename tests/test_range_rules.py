"""Learned, tracked and dynamic ranges, against the published rule worked by hand and against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import analogsim.nnx
from analogsim import ADC, DAC, DynamicRange, Hardware, InputError, LearnedRange, TrackedRange, calibrate, preset
from analogsim.linen import AnalogDense
from analogsim.range_rules import published, quantile_of
from tests.models import MLP

W = jnp.array([[0.5, -1.0], [1.0, 0.25], [-0.75, 0.5]])
X = jnp.array([[0.2, 2.5, -1.0], [-3.0, 0.1, 0.4]])
RULE = LearnedRange(decay=0.01, unclipped=0.6, outputs="ignore")


def dense(**options):
    options = {"dac": DAC(bits=8), "adc": ADC(bits=8, range=10.0)} | options
    return AnalogDense(2, hardware=Hardware(**options), use_bias=False)


def run(layer, ranges, x=X, **how):
    return layer.apply({"params": {"kernel": W}, "ranges": {"analog": ranges}}, x, **how)


def slope(layer, ranges, name, x=X, of=lambda y: y.sum()):
    return float(jax.grad(lambda r: of(run(layer, ranges | {name: r}, x)))(jnp.float32(ranges[name])))


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
    layer = dense(input_range=RULE.replace(unclipped=unclipped))
    found = slope(layer, {"input": 1.0}, "input", of=lambda y: sign * y.sum())
    assert found == pytest.approx(expected, abs=1e-6)


def test_the_published_rule_scales_with_the_range():
    # r = 0.5: 2.5, -1.0 and -3.0 are clipped; the rule's slope is r times the sum.
    layer = dense(input_range=RULE)
    assert slope(layer, {"input": 0.5}, "input", of=lambda y: -y.sum()) == pytest.approx(0.5 * (-2.0), abs=1e-6)


def test_inputs_beyond_a_learned_range_have_no_slope():
    gradient = jax.grad(lambda x: run(dense(input_range=RULE), {"input": 1.0}, x).sum())(X)
    expected = np.array([[-0.5, 0.0, -0.25], [0.0, 1.25, -0.25]])
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_clipped_outputs_widen_the_input_range():
    # With r = 1 the lines carry, in fully driven cells of columns scaled by their largest weight 1:
    # rows of X clipped to 1: (0.2, 1, -1) W = (1.85, -0.45), (-1, 0.1, 0.4) W = (-0.7, 1.225).
    # An ADC range of 1 clips 2 of 4: the rule adds -(1/2) r.
    rule = RULE.replace(outputs="widen", unclipped=1.0, decay=0.0)
    layer = dense(adc=ADC(bits=8, range=1.0), input_range=rule)
    # A loss without slope at the clipped inputs leaves the outputs' part alone.
    assert slope(layer, {"input": 1.0}, "input", of=lambda y: 0 * y.sum()) == pytest.approx(-0.5, abs=1e-6)


def test_two_rows_of_tiles_count_half_each():
    rule = RULE.replace(outputs="widen", unclipped=1.0, decay=0.0)
    layer = dense(adc=ADC(bits=8, range=1e-3), rows=2, input_range=rule)
    assert slope(layer, {"input": 1.0}, "input", of=lambda y: 0 * y.sum()) == pytest.approx(-1.0, abs=1e-6)


def test_the_slope_rule_of_inputs_holds_the_codes():
    # y = r sum_i q_i W_ij with codes q of 3 bits, levels k/3 of r = 1: q(0.2) = 1/3, q(2.5) = 1, q(-1) = q(-3) = -1,
    # q(0.1) = 0, q(0.4) = 1/3. Inside, dL/dr = (q - x/r) d; beyond, sign(x) d.
    layer = dense(dac=DAC(bits=3), adc=None, input_range=LearnedRange(rule="slope"))
    d = np.array([-0.5, 1.25, -0.25])
    inside = (1 / 3 - 0.2) * d[0] + (0 - 0.1) * d[1] + (1 / 3 - 0.4) * d[2] + (-1 + 1) * d[2]
    beyond = d[1] - d[0]
    assert slope(layer, {"input": 1.0}, "input") == pytest.approx(inside + beyond, abs=1e-6)


def test_the_slope_rule_of_outputs_holds_the_codes():
    # Columns of W have largest weights 1 and 1, inputs pass exactly: y = X W = (3.35, -0.075), (-1.7, 3.225).
    layer = dense(dac=None, adc=ADC(bits=3, range=2.0), output_range=LearnedRange(rule="slope"))
    y = np.asarray(X @ W) / np.abs(np.asarray(X)).max(1, keepdims=True)  # each example has its own input range
    r = 0.9
    steps = np.round(np.clip(y, -r, r) / r * 3) / 3  # codes as a share of the range
    factor = np.abs(np.asarray(X)).max(1, keepdims=True)
    expected = (factor * np.where(np.abs(y) > r, np.sign(y), steps - y / r)).sum()
    assert slope(layer, {"output": r}, "output") == pytest.approx(expected, rel=1e-5)


def test_without_a_rule_an_outputs_range_knows_only_what_it_clips():
    layer = dense(dac=None, adc=ADC(bits=3, range=2.0))
    factor = np.abs(np.asarray(X)).max(1, keepdims=True)
    y = np.asarray(X @ W) / factor
    assert slope(layer, {"output": 0.9}, "output") == pytest.approx((factor * np.sign(y) * (np.abs(y) > 0.9)).sum())


def test_learned_ranges_do_not_change_what_passes_forward():
    ranges = {"input": 1.0, "output": 1.5}
    for rule in (LearnedRange(), LearnedRange(rule="slope"), TrackedRange()):
        np.testing.assert_array_equal(run(dense(input_range=rule), ranges), run(dense(), ranges))


def test_a_dynamic_range_ignores_the_calibrated_one():
    np.testing.assert_array_equal(run(dense(input_range=DynamicRange()), {"input": 0.1}), run(dense(), {}))


def test_the_rule_under_jit_and_vmap():
    rule, bounds = LearnedRange(decay=0.0), jnp.array([0.5, 1.0])
    one = jax.grad(lambda b, x: -published(rule, x, b).sum())
    mapped = jax.jit(jax.vmap(one, in_axes=(0, None)))(bounds, X)
    np.testing.assert_allclose(mapped, [float(one(b, X)) for b in bounds])


@pytest.mark.parametrize(("quantile", "expected"), [(1.0, 99.0), (0.9, 89.0), (0.5, 49.0)])
def test_quantiles(quantile, expected):
    # 100 values 0 .. 99: (1 - q) 100 of them are larger.
    values = jax.random.permutation(jax.random.key(0), jnp.arange(100.0)) * jnp.where(jnp.arange(100) % 2, 1, -1)
    assert float(quantile_of(values, quantile)) == expected


def test_a_tracked_range_follows_the_batches():
    layer = dense(input_range=TrackedRange(quantile=1.0, momentum=0.75), output_range=TrackedRange(quantile=1.0))
    params = {"params": {"kernel": W}}
    step = jax.jit(lambda v, x: layer.apply(v, x, mutable=["ranges"]))
    _, state = step(params, X)
    assert float(state["ranges"]["analog"]["input"]) == 3.0
    # Lines of the first batch: X W over the input range 3.
    largest = np.abs(np.asarray(X @ W)).max() / 3
    assert float(state["ranges"]["analog"]["output"]) == pytest.approx(largest, rel=0.02)  # inputs are rounded to codes
    _, state = step(params | state, 2 * X)
    assert float(state["ranges"]["analog"]["input"]) == pytest.approx(0.75 * 3 + 0.25 * 6)
    kept = layer.apply(params | state, 5 * X)  # not mutable: as it is
    np.testing.assert_array_equal(kept, run(dense(), state["ranges"]["analog"], 5 * X))


def test_a_tracked_range_in_nnx():
    hardware = Hardware(dac=DAC(bits=8), adc=ADC(bits=8), input_range=TrackedRange(quantile=1.0, momentum=0.5))
    layer = analogsim.nnx.AnalogLinear(3, 2, hardware=hardware, rngs=nnx.Rngs(0))
    step = nnx.jit(lambda layer, x: layer(x))
    step(layer, X)
    step(layer, 3 * X)
    assert float(layer.dot_general.ranges.input) == pytest.approx(0.5 * 3 + 0.5 * 9)


def test_learned_ranges_train():
    """A range that starts ten times too small opens until little is clipped."""
    x = jax.random.normal(jax.random.key(0), (64, 8))
    hardware = preset("pcm", input_range=LearnedRange(), **{"training.time_s": 1.0})
    model = MLP(hardware)
    variables = calibrate(model, model.init(jax.random.key(1), x), x)
    small = jax.tree.map(lambda r: r / 10, {k: v for k, v in variables["ranges"].items() if k != "sample"})
    exact = MLP(None).apply({"params": variables["params"]}, x)

    def loss(ranges, key):
        y = model.apply({"params": variables["params"], "ranges": ranges}, x, rngs={"analog": key})
        return ((y - exact) ** 2).mean()

    step = jax.jit(lambda r, k: jax.tree.map(lambda a, g: jnp.maximum(a - 0.5 * g, 1e-3), r, jax.grad(loss)(r, k)))
    ranges = small
    for key in jax.random.split(jax.random.key(2), 60):
        ranges = step(ranges, key)
    opened = ranges["Dense_0"]["analog"]["input"] / small["Dense_0"]["analog"]["input"]
    assert float(opened) > 4
    assert float(loss(ranges, jax.random.key(3))) < 0.3 * float(loss(small, jax.random.key(3)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: preset("pcm", input_range="learned"),
            r"Hardware.input_range = 'learned': must be of kind LearnedRange or",
        ),
        (
            lambda: preset("pcm", output_range=LearnedRange()),
            r"Hardware.output_range = LearnedRange\(\): must be .*slope",
        ),
        (lambda: preset("pcm", output_range=DynamicRange()), r"Hardware.output_range = DynamicRange\(\): must be"),
        (lambda: preset("ideal", input_range=LearnedRange()), r"Hardware.input_range: must be None without converters"),
        (lambda: preset("int8", output_range=TrackedRange()), r"Hardware.output_range: must be None without an ADC"),
        (
            lambda: preset("pcm", bound_management="iterative", input_range=LearnedRange()),
            r"Hardware.input_range: must not be learned with bound_management",
        ),
        (lambda: TrackedRange(quantile=0.3), r"TrackedRange.quantile = 0.3: must be at least 0.5"),
        (lambda: TrackedRange(momentum=1.0), r"TrackedRange.momentum = 1: must be at least 0 and less than 1"),
        (lambda: LearnedRange(rule="lsq"), r"LearnedRange.rule = 'lsq': must be one of 'published', 'slope'"),
        (
            lambda: run(dense(input_range=LearnedRange()), {}),
            r"its input range is learned and has no value to start from; calibrate the model first",
        ),
        (
            lambda: run(dense(output_range=TrackedRange()), {}),
            r"its output range is tracked and has no value yet; train with mutable=\['ranges'\]",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
