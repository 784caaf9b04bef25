"""A training step as a plain function: closed form on ideal hardware, transformations, both ways through an epoch."""

import importlib

import jax
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

import analogsim
from analogsim import InputError, LearnedRange, TrackedRange, calibrate, preset
from analogsim.linen import AnalogDense
from analogsim.training import AdditiveNoise, fine_tune, make_step
from tests.support.models import PlainMLP

X = np.asarray(jax.random.normal(jax.random.key(0), (16, 8)))
LABELS = np.arange(16, dtype=np.int32) % 3
KEY = jax.random.key(2)
#: One Gaussian a weight: a small program.
NOISY = preset("pcm", training=AdditiveNoise(std=0.05), input_range=LearnedRange())


@pytest.fixture(scope="module")
def noisy():
    model = analogsim.convert(PlainMLP(), NOISY)
    return model, calibrate(model, jax.jit(PlainMLP().init)(jax.random.key(1), X), X)


def close(a, b, atol=2e-5):
    jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, atol=atol), a, b)


@pytest.mark.parametrize("micro_batches", [1, 4])
def test_a_step_on_ideal_hardware_is_softmax_regression(micro_batches):
    layer = AnalogDense(3, hardware=preset("ideal", training=AdditiveNoise(std=0.0)))
    kernel = np.asarray(jax.random.normal(jax.random.key(3), (8, 3)))
    variables = {"params": {"kernel": kernel, "bias": np.zeros(3, np.float32)}}
    step = make_step(layer, variables, X, optimizer=optax.sgd(0.5), micro_batches=micro_batches)
    carry, found = jax.jit(step)(step.initial_state, X, LABELS, KEY)
    logits = X.astype(np.float64) @ kernel.astype(np.float64)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    wrong = p - np.eye(3)[LABELS]
    assert float(found.loss) == pytest.approx(-np.log(p[np.arange(16), LABELS]).mean(), rel=1e-5)
    assert float(found.accuracy) == pytest.approx((logits.argmax(1) == LABELS).mean())
    new = step.unbind(carry)["params"]
    np.testing.assert_allclose(new["kernel"], kernel - 0.5 * X.T @ wrong / 16, atol=1e-5)
    np.testing.assert_allclose(new["bias"], -0.5 * wrong.mean(0), atol=1e-5)


@pytest.mark.slow
def test_it_is_the_same_under_vmap_and_over_sharded_examples(noisy):
    step = make_step(*noisy, X, optimizer=optax.sgd(0.1), distil=0.5)
    teacher_logits = step.teacher_logits(X)
    update = jax.jit(step)
    keys = jax.random.split(KEY, 3)
    every, found = jax.jit(jax.vmap(step, (None, None, None, 0, None, None)))(
        step.initial_state, X, LABELS, keys, 0.5, teacher_logits
    )
    assert found.loss.shape == (3,)
    carry, one = update(step.initial_state, X, LABELS, keys[1], 0.5, teacher_logits)
    close(jax.tree.map(lambda a: np.asarray(a)[1], every.params), carry.params)
    assert len(np.unique(np.asarray(found.loss))) == 3  # hardware of its own for each key

    mesh = jax.make_mesh((8,), ("data",))
    split = lambda a: jax.device_put(a, NamedSharding(mesh, PartitionSpec("data")))  # noqa: E731
    whole = jax.device_put(step.initial_state, NamedSharding(mesh, PartitionSpec()))
    sharded, found = update(whole, split(X), split(LABELS), keys[1], 0.5, split(teacher_logits))
    assert float(found.loss) == pytest.approx(float(one.loss), rel=1e-4)
    close(sharded.params, carry.params)


@pytest.mark.slow
@pytest.mark.parametrize("micro_batches", [1, 2])
def test_an_epoch_is_the_same_by_scan_and_step_by_step(noisy, micro_batches, monkeypatch):
    run = lambda: fine_tune(  # noqa: E731
        *noisy, X, LABELS, key=KEY, epochs=2, batch_size=8, ramp=0.5, micro_batches=micro_batches
    )
    stepwise = run()
    module = importlib.import_module("analogsim.training.fine_tune")  # by name it is the function
    monkeypatch.setattr(module, "_steps_alone", lambda: False)
    scanned = run()
    close(stepwise.variables, scanned.variables)
    np.testing.assert_allclose(stepwise.loss, scanned.loss, rtol=1e-4)
    np.testing.assert_allclose(stepwise.accuracy, scanned.accuracy, atol=1e-6)


def test_a_history_of_accuracy_and_ranges_before_and_after(noisy):
    tuned = fine_tune(*noisy, X, LABELS, key=KEY, epochs=30, batch_size=8, optimizer=optax.adam(2e-2), distil=0.0)
    assert tuned.accuracy.shape == (30,)
    assert tuned.accuracy[-1] > 0.8 > tuned.accuracy[0]
    # Each of 16 examples is right or wrong.
    np.testing.assert_allclose(tuned.accuracy * 16, np.round(tuned.accuracy * 16), atol=1e-4)
    assert len(tuned.clipping_before) == len(tuned.clipping) == 2
    targets = fine_tune(
        *noisy, X, np.zeros((16, 3), np.float32), key=KEY, epochs=1, batch_size=8, distil=0.0,
        loss=lambda y, t: ((y - t) ** 2).mean(),
    )  # fmt: skip
    assert np.isnan(targets.accuracy).all()
    assert np.isfinite(targets.loss).all()


def test_nnx_takes_the_same_step(noisy):
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.hidden = nnx.Linear(8, 3, rngs=rngs)

        def __call__(self, x):
            return self.hidden(x)

    net = Net(nnx.Rngs(0))
    ideal = preset("ideal", training=AdditiveNoise(std=0.0))
    step = make_step(
        analogsim.convert(net, ideal, rngs=nnx.Rngs(1), x=X), None, X, optimizer=optax.sgd(0.5), micro_batches=2
    )
    carry, found = jax.jit(step)(step.initial_state, X, LABELS, KEY)
    layer = AnalogDense(3, hardware=ideal)
    variables = {"params": {"kernel": net.hidden.kernel[...], "bias": net.hidden.bias[...]}}
    linen = make_step(layer, variables, X, optimizer=optax.sgd(0.5))
    expected, same = jax.jit(linen)(linen.initial_state, X, LABELS, KEY)
    np.testing.assert_allclose(found, same, rtol=1e-5)
    kernel = step.unbind(carry).hidden.kernel[...]
    np.testing.assert_allclose(kernel, linen.unbind(expected)["params"]["kernel"], atol=1e-6)


def test_an_nnx_teacher_is_the_model_in_inference():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.dense, self.norm = nnx.Linear(8, 3, rngs=rngs), nnx.BatchNorm(3, rngs=rngs)
            self.dropout = nnx.Dropout(0.5, rngs=rngs)

        def __call__(self, x):
            return self.dropout(self.norm(self.dense(x)))

    net = Net(nnx.Rngs(0))  # in training mode: half of its outputs are dropped, and the batch normalises
    step = make_step(analogsim.convert(net, preset("ideal"), x=X), None, X, optimizer=optax.sgd(0.5), distil=0.5)
    dense = X @ np.asarray(net.dense.kernel[...])  # running mean 0 and variance 1
    np.testing.assert_allclose(step.teacher_logits(X), dense / np.sqrt(1 + 1e-5), rtol=1e-4, atol=1e-5)


def test_bad_input(noisy):
    model, variables = noisy
    sgd = optax.sgd(0.1)
    step = make_step(model, variables, X, optimizer=sgd, distil=0.5)
    with pytest.raises(InputError, match=r"teacher_logits: with distil, a step needs the teacher's logits"):
        jax.eval_shape(step, step.initial_state, X, LABELS, KEY)
    thirds = make_step(model, variables, X, optimizer=sgd, micro_batches=3)
    with pytest.raises(InputError, match=r"micro_batches = 3: must divide the 16 examples of a batch"):
        jax.eval_shape(thirds, thirds.initial_state, X, LABELS, KEY)
    with pytest.raises(InputError, match=r"micro_batches = 0: must be an integer of at least 1"):
        make_step(model, variables, X, optimizer=sgd, micro_batches=0)
    with pytest.raises(InputError, match=r"distil = 2: must be at least 0 and at most 1"):
        make_step(model, variables, X, optimizer=sgd, distil=2)
    tracked = analogsim.convert(PlainMLP(), NOISY.replace(input_range=TrackedRange()))
    with pytest.raises(InputError, match=r"key: is required for the initial values of tracked ranges"):
        make_step(tracked, variables, X, optimizer=sgd)
