"""The hardware-aware step is a plain function: Flax's own on ideal hardware, the same under every transformation."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

import analogsim
import analogsim.nnx
from analogsim import LearnedRange, calibrate, preset
from analogsim.training import AdditiveNoise, DeviceNoise, Discretise, clip_weights, scaled_noise
from tests.support.models import CNN, PlainMLP

X = np.asarray(jax.random.normal(jax.random.key(0), (16, 8)))
LABELS = np.arange(16, dtype=np.int32) % 3
#: One Gaussian a weight: a small program.
NOISY = preset("pcm", training=AdditiveNoise(std=0.05), input_range=LearnedRange())


def cross_entropy(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def step(model, tx, x=X, labels=LABELS, options=None):
    """A user's own step."""

    def loss(params, key, x, labels):
        return cross_entropy(model.apply(params, x, rngs={"analog": key}, **(options or {})), labels)

    def update(tree, state, key, x=x, labels=labels):
        value, gradients = jax.value_and_grad(loss)(tree, key, x, labels)
        updates, state = tx.update(gradients, state, tree)
        return optax.apply_updates(tree, updates), state, value

    return update


@pytest.mark.parametrize(
    ("plain", "x"),
    [
        pytest.param(PlainMLP(), X, id="mlp"),
        pytest.param(CNN(), jax.random.normal(jax.random.key(1), (16, 9, 9, 2)), id="cnn", marks=pytest.mark.slow),
    ],
)
def test_without_noise_and_converters_the_step_is_flaxs(plain, x):
    training = AdditiveNoise(std=0.0) if x.ndim == 2 else Discretise(bits=24)
    variables = jax.jit(plain.init)(jax.random.key(1), x)
    analog = analogsim.convert(plain, preset("ideal", rows=5, columns=4, training=training))
    tx = optax.adam(1e-2)
    results = []
    for model in (plain, analog):
        update, tree, state = jax.jit(step(model, tx, x)), variables, tx.init(variables)
        for key in jax.random.split(jax.random.key(2), 3):
            tree, state, value = update(tree, state, key)
        results.append((tree, value))
    # Adam divides by the root of the squared gradient, which magnifies the rounding of gradients close to zero.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=3e-4), *results)


@pytest.fixture(scope="module")
def start():
    analog = analogsim.convert(PlainMLP(), NOISY)
    return analog, calibrate(analog, jax.jit(PlainMLP().init)(jax.random.key(1), X), X)


@pytest.mark.slow
def test_steps_lower_the_loss(start):
    analog, variables = start
    tx = optax.chain(optax.adam(1e-2), clip_weights(sigmas=2.5))
    update = jax.jit(step(analog, tx))
    tree, state, losses = variables, tx.init(variables), []
    for key in jax.random.split(jax.random.key(2), 60):
        tree, state, value = update(tree, state, key)
        losses.append(float(value))
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])
    assert tree["ranges"]["Dense_0"]["analog"]["input"] != variables["ranges"]["Dense_0"]["analog"]["input"]


def test_remat_scan_and_vmap_give_the_same_step(start):
    analog, variables = start
    tx, key = optax.sgd(0.1), jax.random.key(3)
    kept = jax.jit(jax.checkpoint(lambda v, k: analog.apply(v, X, rngs={"analog": k})))(variables, key)
    once = jax.jit(lambda v, k: analog.apply(v, X, rngs={"analog": k}))(variables, key)
    np.testing.assert_allclose(kept, once, atol=1e-5)

    def scanned(tree, key):
        return step(analog, tx)(tree, tx.init(tree), key)[::2]

    keys = jax.random.split(key, 2)
    single = jax.jit(scanned)
    _, losses = jax.jit(lambda v, k: jax.lax.scan(scanned, v, k))(variables, key[None])
    assert float(losses[0]) == pytest.approx(float(single(variables, key)[1]), rel=1e-5)
    _, many = jax.jit(jax.vmap(scanned, in_axes=(None, 0)))(variables, keys)
    np.testing.assert_allclose(many, [float(single(variables, k)[1]) for k in keys], rtol=1e-5)


def test_a_sharded_batch_is_the_same_step(start):
    analog, variables = start
    tx, key = optax.sgd(0.1), jax.random.key(3)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    one = jax.jit(step(analog, tx))(variables, tx.init(variables), key, X, LABELS)
    held = jax.device_put((X, LABELS), NamedSharding(mesh, PartitionSpec("data")))
    many = jax.jit(step(analog, tx))(variables, tx.init(variables), key, *held)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one[0]["params"], many[0]["params"])


@pytest.mark.slow
def test_mixed_precision(start):
    """bfloat16 activations, float32 parameters: the step stays close, in the dtypes that the layers say."""

    class Half(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Dense(6, dtype=jnp.bfloat16)(x))
            return nn.Dense(3, dtype=jnp.bfloat16)(x)

    _, variables = start
    analog = analogsim.convert(Half(), NOISY)
    y = jax.eval_shape(lambda v, key: analog.apply(v, X, rngs={"analog": key}), variables, jax.random.key(3))
    assert y.dtype == jnp.bfloat16
    tx = optax.sgd(0.1)
    half = jax.jit(step(analog, tx))(variables, tx.init(variables), jax.random.key(3))[0]["params"]
    full = jax.jit(step(start[0], tx))(variables, tx.init(variables), jax.random.key(3))[0]["params"]
    assert jax.tree.leaves(half)[0].dtype == jnp.float32
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=0.02), half, full)


def test_nnx_trains_on_device_noise():
    hardware = preset("pcm", training=DeviceNoise(time_s="1 day"))
    model = analogsim.nnx.AnalogLinear(8, 3, hardware=hardware, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(5e-2), wrt=nnx.Param)

    @nnx.jit
    def update(model, optimizer, level):
        def loss(model):
            with scaled_noise(level):
                return cross_entropy(model(X), LABELS)

        value, gradients = nnx.value_and_grad(loss)(model)
        optimizer.update(model, gradients)
        return value

    losses = [float(update(model, optimizer, level)) for level in np.linspace(0, 1, 30)]
    assert losses[-1] < 0.9 * losses[0]
