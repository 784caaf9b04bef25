"""Learned scales of outputs, remapping, and ranges of weights."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import analogsim
import analogsim.nnx
from analogsim import DAC, Hardware, InputError, calibrate, preset, program
from analogsim.devices import DigitalMemory
from analogsim.linen import AnalogDense
from analogsim.training import AdditiveNoise, fold_output_scales, remap_weights, with_output_scales
from tests.support.models import MLP, PlainMLP

X = np.asarray(jax.random.normal(jax.random.key(0), (5, 8)))
IDEAL = preset("ideal")


def start(model, x=X):
    return jax.jit(model.init)(jax.random.key(1), x)


def random_ranges(variables):
    """The variables with random numbers in place of every learned scale."""
    numbers = np.random.default_rng(2)
    return variables | {
        "ranges": jax.tree.map(lambda s: numbers.normal(size=s.shape).astype(np.float32), variables["ranges"])
    }


class Mixed(nn.Module):
    """A convolution, a convolution in groups, attention and a head."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(6, (3, 3))(x))
        x = nn.relu(nn.Conv(4, (3, 3), strides=2, feature_group_count=2)(x)).reshape(x.shape[0], -1, 4)
        return nn.Dense(3)(nn.MultiHeadDotProductAttention(num_heads=2)(x, x)[:, 0])


@pytest.mark.parametrize("groups", ["apart", "shared"])
def test_scales_multiply_outputs_in_every_mode(groups):
    x = np.asarray(jax.random.normal(jax.random.key(0), (2, 6, 6, 2)))
    model = analogsim.convert(Mixed(), preset("ideal", rows=64, columns=64, groups=groups))
    variables = start(Mixed(), x)
    with_scales = with_output_scales(model, variables, x)
    run = jax.jit(model.apply)
    exact = np.asarray(run(variables, x))
    np.testing.assert_allclose(run(with_scales, x), exact, atol=1e-6)
    doubled = jax.tree.map(lambda s: s, with_scales)
    doubled["ranges"]["Dense_0"]["analog"]["scale"] = np.float32([1.0, 2.0, -3.0])
    bias = np.asarray(variables["params"]["Dense_0"]["bias"])
    expected = (exact - bias) * np.float32([1.0, 2.0, -3.0]) + bias
    with analogsim.digital():
        np.testing.assert_allclose(run(doubled, x), expected, atol=1e-5)
    np.testing.assert_allclose(run(doubled, x), expected, atol=1e-5)
    chip = program(model, doubled, jax.random.key(2), x)
    np.testing.assert_allclose(run(chip.variables, x), expected, atol=1e-5)


def test_scales_of_every_layer_fold_into_kernels():
    model, plain = MLP(IDEAL), PlainMLP()
    variables = random_ranges(with_output_scales(model, start(plain), X))
    folded = fold_output_scales(variables)
    assert "scale" not in folded["ranges"]["Dense_0"]["analog"]
    expected = jax.jit(model.apply)(variables, X)
    np.testing.assert_allclose(jax.jit(plain.apply)({"params": folded["params"]}, X), expected, atol=1e-5)


@pytest.mark.slow
def test_scales_of_groups_and_heads_fold_and_remap():
    x = np.asarray(jax.random.normal(jax.random.key(0), (2, 6, 6, 2)))
    model = analogsim.convert(Mixed(), IDEAL)
    variables = random_ranges(with_output_scales(model, start(Mixed(), x), x))
    run = jax.jit(model.apply)
    expected = run(variables, x)
    folded = fold_output_scales(variables)
    np.testing.assert_allclose(jax.jit(Mixed().apply)({"params": folded["params"]}, x), expected, atol=1e-5)
    tree = {name: variables[name] for name in ("params", "ranges")}

    @jax.jit
    def remapped(tree):
        updates, _ = remap_weights().update(jax.tree.map(jnp.zeros_like, tree), None, tree)
        return optax.apply_updates(tree, updates)

    mapped = remapped(tree)
    np.testing.assert_allclose(run(mapped, x), expected, atol=1e-5)
    query = mapped["params"]["MultiHeadDotProductAttention_0"]["query"]["kernel"]  # [in, heads, features]
    np.testing.assert_allclose(np.abs(query).max(0), 1.0, rtol=1e-5)


def test_scales_survive_calibration_and_saving(tmp_path):
    model = MLP(preset("pcm"))
    variables = with_output_scales(model, start(PlainMLP()), X)
    variables["ranges"]["Dense_1"]["analog"]["scale"] = np.float32([1.0, 2.0, 3.0])
    variables["ranges"]["Dense_0"]["analog"]["weight"] = np.array(0.8, np.float32)
    calibrated = calibrate(model, variables, X)
    analogsim.save(tmp_path / "model", model, calibrated)
    for found in (calibrated, analogsim.restore(tmp_path / "model", model).variables):
        np.testing.assert_array_equal(found["ranges"]["Dense_1"]["analog"]["scale"], [1.0, 2.0, 3.0])
        assert float(found["ranges"]["Dense_0"]["analog"]["weight"]) == np.float32(0.8)
        assert "input" in found["ranges"]["Dense_1"]["analog"]


def test_scales_in_nnx(tmp_path):
    linear = analogsim.nnx.AnalogLinear(4, 3, hardware=IDEAL, rngs=nnx.Rngs(0))
    call = nnx.jit(lambda linear: linear(X[:, :4]))
    exact = np.asarray(call(linear))
    with_output_scales(linear)
    linear.dot_general.set_range("scale", jnp.array([1.0, -1.0, 2.0]))
    np.testing.assert_allclose(call(linear), exact * np.array([1.0, -1.0, 2.0]), atol=1e-6)  # the bias is zero
    analogsim.save(tmp_path / "model", linear)
    found = analogsim.restore(tmp_path / "model", linear).model
    np.testing.assert_array_equal(found.dot_general.ranges.scale, [1.0, -1.0, 2.0])


def test_remapping_keeps_the_network_and_the_size_of_columns():
    model = MLP(preset("pcm", training=AdditiveNoise(std=0.02)))
    variables = with_output_scales(model, start(PlainMLP()), X)
    tree = {name: variables[name] for name in ("params", "ranges")}
    tx, plain = optax.chain(optax.sgd(0.3), remap_weights()), optax.sgd(0.3)

    def loss(tree, key):
        return (model.apply(tree, X, rngs={"analog": key}) ** 2).mean()

    @jax.jit
    def step(tree, state, key):
        gradients = jax.grad(loss)(tree, key)
        updates, state = tx.update(gradients, state, tree)
        unmapped = optax.apply_updates(tree, plain.update(gradients, plain.init(tree), tree)[0])
        return optax.apply_updates(tree, updates), state, unmapped

    state = tx.init(tree)
    for key in jax.random.split(jax.random.key(2), 3):
        tree, state, unmapped = step(tree, state, key)
        for layer in ("Dense_0", "Dense_1"):
            kernel = np.asarray(tree["params"][layer]["kernel"])
            np.testing.assert_allclose(np.abs(kernel).max(0), 1.0, rtol=1e-5)
            product = kernel * np.asarray(tree["ranges"][layer]["analog"]["scale"])
            scale = np.asarray(unmapped["ranges"][layer]["analog"]["scale"])
            wanted = np.asarray(unmapped["params"][layer]["kernel"]) * scale
            np.testing.assert_allclose(product, wanted, atol=1e-5)


def test_a_weight_range_clips_when_it_is_programmed():
    # Two bits: levels -1, 0, 1 of the window. With the window at half of the largest weight, 0.4 is a full cell, too.
    kernel, eye = np.float32([[1.0], [0.4], [-0.6], [0.1]]), np.eye(4, dtype=np.float32)
    layer = AnalogDense(1, hardware=Hardware(store=DigitalMemory(bits=2)), use_bias=False)
    run = jax.jit(layer.apply)
    held = lambda ranges: run({"params": {"kernel": kernel}, "ranges": ranges}, eye).ravel()  # noqa: E731
    np.testing.assert_allclose(held({}), [1.0, 0.0, -1.0, 0.0])
    np.testing.assert_allclose(held({"analog": {"weight": 0.5}}), [0.5, 0.5, -0.5, 0.0])
    np.testing.assert_allclose(held({"analog": {"weight": 2.0}}), [0.0, 0.0, 0.0, 0.0])  # 0.5 goes to the even level, 0
    chip = program(
        layer, {"params": {"kernel": kernel}, "ranges": {"analog": {"weight": 0.5}}}, jax.random.key(0), X[:1, :4]
    )
    np.testing.assert_allclose(run(chip.variables, eye).ravel(), [0.5, 0.5, -0.5, 0.0])


def test_a_weight_range_has_a_gradient():
    # Exact cells: with w = 0.5 the weights 1, 0.4, -0.6 become w, 0.4, -w; the gradient of the sum of squares is 4 w.
    layer = AnalogDense(1, hardware=Hardware(dac=DAC(bits=24)), use_bias=False)
    kernel, eye = np.float32([[1.0], [0.4], [-0.6]]), np.eye(3, dtype=np.float32)

    def loss(w):
        variables = {"params": {"kernel": kernel}, "ranges": {"analog": {"weight": w}}}
        return (layer.apply(variables, eye) ** 2).sum()

    assert float(jax.jit(jax.grad(loss))(0.5)) == pytest.approx(2 * 0.5 * 2, rel=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: remap_weights(0), r"limit = 0: must be greater than 0"),
        (lambda: remap_weights().update({}, None), r"remap_weights needs the parameters"),
        (lambda: remap_weights().update({}, None, {"params": {}}), r"must hold the collections 'params' and 'ranges'"),
        (lambda: fold_output_scales({"params": {}, "ranges": {}}), r"no layer has a learned scale"),
        (
            lambda: fold_output_scales(
                {"params": {"d": {"kernel": X}}, "ranges": {"d": {"analog": {"scale": X[0, :3]}}}}
            ),
            r"layer d: a scale of shape \(3,\) does not fit, .* a kernel of shape \(5, 8\)",
        ),
        (lambda: with_output_scales(MLP(IDEAL), {"params": {}}), r"x = None: the layers of a Linen model are known"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
