"""Fine-tuning: equal to a plain loop on ideal hardware, learned ranges, batch statistics, messages; Linen and NNX."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import analogsim
import analogsim.nnx
from analogsim import InputError, LearnedRange, TrackedRange, calibrate, preset
from analogsim.base import stream
from analogsim.linen import AnalogDense
from analogsim.training import (
    AdditiveNoise,
    DeviceNoise,
    clip_weights,
    cross_entropy,
    distillation,
    fine_tune,
    with_output_scales,
)
from tests.support.models import MLP, PlainMLP

X = np.asarray(jax.random.normal(jax.random.key(0), (48, 8)))
LABELS = np.argmax(X[:, :3], axis=-1).astype(np.int32)
KEY = jax.random.key(2)
IDEAL = preset("ideal", training=AdditiveNoise(std=0.0))
#: One Gaussian a weight: a small program, for what does not depend on the kind of noise.
NOISY = preset("pcm", training=AdditiveNoise(std=0.05))
DEVICE = preset("pcm", training=DeviceNoise(time_s="1 day"))


@pytest.fixture(scope="module")
def variables():
    return jax.jit(PlainMLP().init)(jax.random.key(1), X)


@functools.partial(jax.jit, static_argnames="tx")
def plain_step(tree, state, x, labels, teacher_logits, distil, tx):
    def loss(tree):
        outputs = PlainMLP().apply(tree, x)
        task = optax.softmax_cross_entropy_with_integer_labels(outputs, labels).mean()
        p, q = jax.nn.softmax(teacher_logits / 2), jax.nn.softmax(outputs / 2)
        return (1 - distil) * task + distil * 4 * (p * (jnp.log(p) - jnp.log(q))).sum(-1).mean()

    updates, state = tx.update(jax.grad(loss)(tree), state, tree)
    return optax.apply_updates(tree, updates), state


def plain_loop(variables, tx, epochs, batch, distil=0.0):
    """What a user would write for the digital network, in the order of batches that the key gives."""
    tree, state = variables, tx.init(variables)
    teacher_logits = np.asarray(jax.jit(PlainMLP().apply)(variables, X))
    for epoch in range(epochs):
        order = np.asarray(jax.random.permutation(stream(jax.random.fold_in(KEY, epoch), "order"), len(X)))
        for i in order[: len(X) // batch * batch].reshape(-1, batch):
            tree, state = plain_step(tree, state, X[i], LABELS[i], teacher_logits[i], distil, tx)
    return tree


def close(a, b, atol=2e-5):
    jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, atol=atol), a, b)


@pytest.mark.parametrize(("distil", "micro_batches"), [(0.0, 1), (0.5, 1), (0.5, 2)])
def test_on_ideal_hardware_it_is_a_plain_loop(variables, distil, micro_batches):
    tx = optax.sgd(0.3, momentum=0.9)
    tuned = fine_tune(
        MLP(IDEAL), variables, X, LABELS, key=KEY, epochs=2, batch_size=20, optimizer=tx, distil=distil,
        micro_batches=micro_batches,
    )  # fmt: skip
    close(tuned.variables["params"], plain_loop(variables, tx, 2, 20, distil)["params"])


def test_the_distillation_loss_by_hand():
    # Teacher (ln 3, 0) at T = 1: shares 3/4, 1/4; student (0, 0): 1/2, 1/2. KL = 3/4 ln(3/2) + 1/4 ln(1/2).
    teacher, student, labels = np.array([[np.log(3.0), 0.0]], np.float32), np.zeros((1, 2), np.float32), np.array([0])
    loss = jax.jit(functools.partial(distillation, student, labels))
    divergence = 0.75 * np.log(1.5) + 0.25 * np.log(0.5)
    found = loss(teacher, weight=0.25, temperature=1.0)
    assert float(found) == pytest.approx(0.75 * np.log(2) + 0.25 * divergence, rel=1e-5)
    # Twice the logits at T = 2 are the same shares, and count T^2 = 4 times.
    found = loss(2 * teacher, weight=1.0, temperature=2.0)
    assert float(found) == pytest.approx(4 * divergence, rel=1e-5)
    gradient = jax.jit(jax.grad(lambda t: distillation(student, labels, t, weight=1.0)))(teacher)
    np.testing.assert_array_equal(gradient, np.zeros((1, 2)))


@pytest.mark.slow
def test_it_learns_on_noisy_hardware_with_learned_ranges(variables):
    model = analogsim.convert(
        PlainMLP(), DEVICE.replace(input_range=LearnedRange(), output_range=LearnedRange(rule="gradient"))
    )
    start = calibrate(model, variables, X)
    seen = []
    tuned = fine_tune(
        model, start, X, LABELS, key=KEY, epochs=10, batch_size=16, distil=0.0, ramp=0.5,
        optimizer=optax.chain(optax.adam(1e-2), clip_weights(sigmas=2.5)), on_epoch=lambda i, loss: seen.append(i),
    )  # fmt: skip
    assert seen == list(range(10))
    assert tuned.loss[-1] < 0.7 * tuned.loss[0]
    # 30 steps, the first 15 of which grow: after the first epoch of three, 3/15.
    np.testing.assert_allclose(tuned.noise_scale[:5], [0.2, 0.4, 0.6, 0.8, 1.0], rtol=1e-5)
    for layer in ("Dense_0", "Dense_1"):
        for name in ("input", "output"):
            ratio = tuned.variables["ranges"][layer]["analog"][name] / start["ranges"][layer]["analog"][name]
            assert abs(float(ratio) - 1) > 1e-3
            assert 0.5 < float(ratio) < 2
    assert len(tuned.clipping) == 2


def test_only_what_learns_moves(variables):
    rules = [("Dense_0", NOISY.replace(input_range=LearnedRange())), (".*", NOISY)]
    model = analogsim.convert(PlainMLP(), rules)
    start = with_output_scales(model, calibrate(model, variables, X), X)
    tuned = fine_tune(model, start, X, LABELS, key=KEY, epochs=1, batch_size=16).variables
    every = lambda a, b: bool(np.all(np.asarray(a) != np.asarray(b)))  # noqa: E731
    moved = jax.tree.map(every, dict(start["ranges"]), dict(tuned["ranges"]))
    assert moved["Dense_0"]["analog"] == {"input": True, "output": False, "scale": True}
    assert moved["Dense_1"]["analog"] == {"input": False, "output": False, "scale": True}


class Normalised(nn.Module):
    """Batch statistics and dropout."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.5)(nn.Dense(6)(x))
        return nn.Dense(3)(nn.Dropout(0.3, deterministic=not train)(nn.relu(x)))


@pytest.mark.slow
def test_batch_statistics_and_tracked_ranges_are_carried_along():
    model = analogsim.convert(Normalised(), NOISY.replace(input_range=TrackedRange()))
    variables = jax.jit(model.init)(jax.random.key(1), X)
    tuned = fine_tune(
        model, variables, X, LABELS, key=KEY, epochs=2, batch_size=16, training_options={"train": True}, train=False
    ).variables  # fmt: skip
    assert set(tuned) == {"params", "batch_stats", "ranges"}
    assert np.abs(tuned["batch_stats"]["BatchNorm_0"]["mean"]).max() > 0
    largest = np.abs(X).max()
    assert 0.5 * largest < float(tuned["ranges"]["Dense_0"]["analog"]["input"]) <= largest


def test_nnx_is_trained_alike_and_copied(variables):
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.hidden, self.out = nnx.Linear(8, 6, rngs=rngs), nnx.Linear(6, 3, rngs=rngs)

        def __call__(self, x):
            return self.out(nnx.relu(self.hidden(x)))

    net = Net(nnx.Rngs(0))
    for layer, name in ((net.hidden, "Dense_0"), (net.out, "Dense_1")):
        layer.kernel[...], layer.bias[...] = (variables["params"][name][p] for p in ("kernel", "bias"))
    tx = optax.sgd(0.3)
    exact = fine_tune(
        analogsim.convert(net, IDEAL, rngs=nnx.Rngs(1), x=X), None, X, LABELS, key=KEY, epochs=1, batch_size=16,
        optimizer=tx, distil=0.0,
    )  # fmt: skip
    expected = plain_loop(variables, tx, 1, 16)["params"]
    np.testing.assert_allclose(exact.model.out.kernel[...], expected["Dense_1"]["kernel"], atol=2e-5)
    np.testing.assert_array_equal(net.out.kernel[...], variables["params"]["Dense_1"]["kernel"])

    noisy = analogsim.convert(net, NOISY.replace(input_range=LearnedRange()), rngs=nnx.Rngs(1), x=X)
    calibrate(noisy, None, X)
    before = float(noisy.out.dot_general.ranges.input)
    tuned = fine_tune(noisy, None, X, LABELS, key=KEY, epochs=6, batch_size=16, optimizer=optax.adam(2e-2))
    assert tuned.loss[-1] < 0.8 * tuned.loss[0]
    assert float(tuned.model.out.dot_general.ranges.input) != before
    assert tuned.variables is None


def test_a_loss_that_is_no_number_names_the_layer(variables):
    model = MLP(NOISY)
    run = lambda v, x=X, **how: fine_tune(model, v, x, LABELS, key=KEY, epochs=2, batch_size=16, **how)  # noqa: E731
    broken = jax.tree.map(np.array, variables)
    broken["params"]["Dense_1"]["kernel"][0, 0] = np.nan
    with pytest.raises(InputError, match=r"loss = nan at step 1 \(epoch 1\): layer Dense_1: its weights hold NaN"):
        run(broken)
    with pytest.raises(InputError, match=r"x: nan at \[3, 0\]: must be finite"):
        run(variables, np.where(np.arange(48)[:, None] == 3, np.float32(np.nan), X))
    # Weights of 1e38 are finite; the first product with them is not, or the one after it.
    with pytest.raises(
        InputError, match=r"step 2 \(epoch 1\): layer Dense_\d: its (in|out)put is the first non-finite value"
    ):
        run(variables, optimizer=optax.sgd(1e38), distil=0.0)


class Deep(nn.Module):
    """Three layers whose order is neither that of their names nor that of their numbers."""

    @nn.compact
    def __call__(self, x):
        for name in ("Dense_10", "Dense_0"):
            x = nn.relu(nn.Dense(6, name=name)(x))
        return nn.Dense(3, name="Dense_1")(x)


@pytest.mark.parametrize("layer", ["Dense_0", "Dense_1", "Dense_10"])
def test_the_layer_that_diverged_is_named_though_all_are_spoilt_a_step_later(layer):
    spoils = optax.stateless(lambda updates, _: jax.tree.map(lambda u: u * jnp.inf, updates))
    apart = lambda tree: jax.tree_util.tree_map_with_path(  # noqa: E731
        lambda path, _: "spoilt" if path[1].key == layer else "well", tree
    )
    model, start = analogsim.convert(Deep(), IDEAL), jax.jit(Deep().init)(jax.random.key(1), X)
    with pytest.raises(
        InputError, match=rf"loss = nan at step 2 \(epoch 1\): layer {layer}: its weights hold NaN .* after step 1;"
    ):
        fine_tune(
            model, start, X, LABELS, key=KEY, epochs=2, batch_size=16, distil=0.0,
            optimizer=optax.partition({"spoilt": spoils, "well": optax.sgd(0.1)}, apart),
        )  # fmt: skip


def test_a_range_that_clips_everything_is_warned_of(variables):
    model = MLP(NOISY)
    small = calibrate(model, variables, X)
    small["ranges"]["Dense_0"]["analog"]["input"] = np.float32(1e-3)
    with pytest.warns(UserWarning, match=r"layer Dense_0: its input range 0.001 clips 100% of its inputs"):
        fine_tune(model, small, X, LABELS, key=KEY, epochs=1, batch_size=16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, r"epochs = 0: must be an integer of at least 1"),
        ({"batch_size": 100}, r"batch_size = 100: must be at most 48"),
        ({"micro_batches": 5}, r"micro_batches = 5: must divide batch_size = 16"),
        ({"ramp": 2.0}, r"ramp = 2: must be at least 0 and at most 1"),
        ({"distil": -1.0}, r"distil = -1: must be at least 0 and at most 1"),
        ({"temperature": 0.0}, r"temperature = 0: must be greater than 0"),
        ({"teacher": 3}, r"teacher = 3: must be a function teacher\(x\)"),
        ({"labels": LABELS[:5]}, r"labels: shape \(5,\) does not match 48 examples"),
        (
            {"labels": np.eye(3, dtype=np.float32)[LABELS]},
            r"labels: shape \(16, 3\): cross entropy needs one class number",
        ),
        ({"model": MLP(None)}, r"the model has no analog layer"),
        (
            {"model": MLP(NOISY.replace(input_range=LearnedRange()))},
            r"variables: hold no ranges, and the hardware learns",
        ),
        ({"key": 3}, r"key = 3: must be a random key"),
    ],
)
def test_bad_input(variables, changes, message):
    settings = {"model": MLP(IDEAL), "labels": LABELS, "key": KEY, "batch_size": 16} | changes
    model, labels = settings.pop("model"), settings.pop("labels")
    with pytest.raises(InputError, match=message):
        fine_tune(model, variables, X, labels, **settings)


def test_one_compilation_serves_all_levels():
    traces = []

    class Counted(nn.Module):
        @nn.compact
        def __call__(self, x):
            traces.append(1)
            return AnalogDense(3, hardware=NOISY)(x)

    start, tx = jax.jit(Counted().init)(jax.random.key(0), X), optax.sgd(0.1)
    counts = []
    for epochs in (1, 4, 3):
        traces.clear()
        fine_tune(Counted(), start, X, LABELS, key=KEY, epochs=epochs, batch_size=16, ramp=1.0, optimizer=tx)
        counts.append(len(traces))
    # The first call traces the teacher and the step besides the shapes, which the others trace, too.
    assert counts[0] == counts[1] + 2 == counts[2] + 2
    assert float(jax.jit(cross_entropy)(np.zeros((2, 4)), np.array([0, 1]))) == pytest.approx(np.log(4))
