"""A ResNet and a Transformer encoder by plain Flax conventions: converted, trained, programmed, sharded.

The plain models are what everything is compared with.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import analogsim
from analogsim import calibrate, convert, preset, program, summary
from analogsim.models.bound import programmed_leaves
from tests.support.flax_models import BottleneckResNetBlock, Encoder, NnxEncoder, NnxResNet, ResNet

KEY = jax.random.key(0)
IMAGES = np.random.default_rng(0).normal(size=(8, 16, 16, 3)).astype(np.float32)
IDS = np.random.default_rng(0).integers(0, 11, (8, 6))
LABELS = np.arange(8) % 5
SMALL, PCM = preset("ideal", rows=40, columns=6), preset("pcm")

#: name: (model, input, call options)
LINEN = {
    "resnet": (ResNet(), IMAGES, {"train": False}),
    "one_stage": (ResNet(stage_sizes=(1,)), IMAGES, {"train": False}),
    "bottleneck": (ResNet(block_cls=BottleneckResNetBlock), IMAGES, {"train": False}),
    "encoder": (Encoder(depth=1), IDS, {}),
    "remat": (Encoder(depth=1, layers="remat"), IDS, {}),
    "scan": (Encoder(layers="scan"), IDS, {}),
}
QUICK = ("resnet", "encoder")  # the others are tested with the longer statistics


@functools.cache
def initial(name):
    """Initial variables of the plain and of the ideal analog model."""
    model, x, options = LINEN[name]
    return jax.jit(lambda k: [m.init(k, x, **options) for m in (model, convert(model, SMALL))])(KEY)


@functools.cache
def drawn(name):
    """Initial variables; normalisation scales and biases are moved away from 0."""
    variables, random = initial(name)[0], np.random.default_rng(1)
    moved = jax.tree.map(
        lambda a: jnp.asarray(a + 0.1 * random.normal(size=a.shape).astype(np.float32)),
        jax.tree.map(np.asarray, variables["params"]),
    )
    return {**variables, "params": moved}


def loss_of(model, x, **options):
    def loss(params, rest, rngs):
        y = model.apply({**rest, "params": params}, x, rngs=rngs, **options)
        return optax.softmax_cross_entropy_with_integer_labels(y, LABELS).mean()

    return loss


def split(variables):
    return variables["params"], {name: tree for name, tree in variables.items() if name != "params"}


def assert_close(mine, exact, tolerance=2e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), mine, exact)


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in LINEN if n != "one_stage"]
)
def test_ideal_hardware_is_the_model(name):
    model, x, options = LINEN[name]
    analog, (params, rest) = convert(model, SMALL), split(drawn(name))
    assert_close(*initial(name), 0)
    mine, exact = jax.jit(
        lambda p: [jax.value_and_grad(loss_of(m, x, **options))(p, rest, {"dropout": KEY}) for m in (analog, model)]
    )(params)
    assert_close(mine, exact)


def test_statistics_of_a_training_batch_are_the_models():
    model, x, _ = LINEN["resnet"]
    variables = drawn("resnet")
    run = jax.jit(
        lambda v: [m.apply(v, x, train=True, mutable=["batch_stats"]) for m in (convert(model, SMALL), model)]
    )
    mine, exact = run(variables)
    assert_close(mine, exact)


@pytest.mark.parametrize("make", [NnxResNet, NnxEncoder])
def test_nnx_models_and_the_way_back(make):
    x = IMAGES if make is NnxResNet else IDS
    size = {} if make is NnxResNet else {"depth": 1}
    plain = nnx.jit(lambda rngs: make(rngs=rngs, **size))(nnx.Rngs(0))
    plain.eval()
    analog, run = convert(plain, SMALL, x=x), nnx.jit(lambda model, x: model(x))
    programmed = program(analog, key=KEY)
    chip = analogsim.nnx.on_chip(analog, programmed)
    exact = run(plain, x)
    for model in (analog, chip, analogsim.to_digital(chip)):
        assert_close(run(model, x), exact)
    used = {row.path for row in summary(analog, x=x)}  # nobody attends with the table, which NNX does not know
    assert used == set(programmed.cells) - {"embed/attend"}


@pytest.mark.parametrize("name", ["resnet", "encoder"])
def test_bfloat16(name):
    model, x, options = LINEN[name]
    half = model.clone(dtype=jnp.bfloat16)
    variables = drawn(name)
    mine, exact = jax.jit(lambda v: [m.apply(v, x, **options) for m in (convert(half, SMALL), half)])(variables)
    assert mine.dtype == exact.dtype == jnp.bfloat16
    np.testing.assert_allclose(mine.astype(float), exact.astype(float), atol=0.1)


@pytest.mark.parametrize("name", ["one_stage", "encoder", pytest.param("remat", marks=pytest.mark.slow)])
def test_a_programmed_chip(name):
    model, x, options = LINEN[name]
    variables = drawn(name)
    coarse = preset("pcm", **{"adc.bits": 6})
    rules = [(nn.MultiHeadDotProductAttention, coarse)] if name != "one_stage" else []
    analog = convert(model, [*rules, (".*", PCM)])
    calibrated = calibrate(analog, variables, x, **options)
    chip = program(analog, calibrated, KEY, **options).at("1 day")
    held = {path: programmed.hardware.adc.bits for path, programmed in programmed_leaves(chip.cells)}
    assert set(held) == set(summary(analog, variables, x, **options).paths)
    assert {path for path, bits in held.items() if bits == 6} == {p for p in held if "Attention" in p}
    y = jax.jit(lambda v: analog.apply(v, x, rngs={"analog": KEY}, **options))(chip.variables)
    exact = jax.jit(lambda v: model.apply(v, x, **options))(variables)
    assert 1e-3 < np.linalg.norm(y - exact) / np.linalg.norm(exact) < 1
    if name == "remat":  # what a layer sees is noted although its block is computed anew for the gradient
        plain = calibrate(convert(Encoder(depth=1), [*rules, (".*", PCM)]), variables, x)["ranges"]
        assert_close(jax.tree.leaves(calibrated["ranges"]), jax.tree.leaves(plain), 1e-5)


@functools.cache
def trainer():
    """A hardware-aware step of the encoder, dropout included."""
    gradients_of, optimizer = (
        jax.value_and_grad(loss_of(convert(Encoder(depth=1), PCM), IDS, train=True)),
        optax.adam(3e-2),
    )

    def step(carry, key):
        params, state = carry
        value, gradients = gradients_of(params, {}, {"analog": key, "dropout": jax.random.fold_in(key, 1)})
        updates, state = optimizer.update(gradients, state)
        return (optax.apply_updates(params, updates), state), (value, gradients)

    return step, optimizer


@pytest.mark.slow
def test_training_steps_in_a_scan():
    step, optimizer = trainer()
    params = drawn("encoder")["params"]
    keys = jax.random.split(KEY, 30)
    _, (losses, gradients) = jax.jit(lambda p: jax.lax.scan(step, (p, optimizer.init(p)), keys))(params)
    losses = np.asarray(losses)
    assert losses[-5:].mean() < 0.7 * losses[:5].mean()
    first = jax.tree.map(lambda a: float(np.abs(a[0]).max()), jax.device_get(gradients))
    unmoved = [p for p, s in jax.tree_util.tree_leaves_with_path(first) if s == 0]
    assert all("key" in str(path) and "bias" in str(path) for path in unmoved)  # attention ignores a key's bias


TWO_LAYERS = [(".*/(query|Dense_0)", PCM), (".*", None)]  # one of attention and one behind it


@pytest.mark.slow
def test_rematerialisation_changes_nothing():
    """With the same dropout and noise."""
    losses = [loss_of(convert(LINEN[name][0], TWO_LAYERS), IDS, train=True) for name in ("encoder", "remat")]
    one, two = jax.jit(lambda p: [jax.value_and_grad(loss)(p, {}, {"analog": KEY, "dropout": KEY}) for loss in losses])(
        drawn("encoder")["params"]
    )
    assert_close(two, one, 1e-4)


def placed(mesh, tree, *names):
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec(*names)))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), [("encoder", AxisType.Auto), ("one_stage", AxisType.Auto)])
def test_a_chip_on_eight_devices(name, kind):
    """Data parallel: the examples of a batch are spread over the devices, read noise and all."""
    model, x, options = LINEN[name]
    variables = drawn(name)
    analog = convert(model, PCM)
    chip = program(analog, variables, KEY, x, **options).at("1 day").variables
    run = jax.jit(lambda v, x: analog.apply(v, x, rngs={"analog": KEY}, **options))
    alone = run(chip, x)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(kind,))
    with jax.set_mesh(mesh):
        sharded = run(placed(mesh, chip), placed(mesh, x, "data"))
    assert len(sharded.sharding.device_set) == 8
    np.testing.assert_allclose(sharded, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [AxisType.Auto])  # Flax's own Embed refuses explicit meshes
def test_a_training_step_on_eight_devices(kind):
    analog = convert(Encoder(depth=1, dropout=0.0), TWO_LAYERS)

    def loss(params, ids, labels):
        y = analog.apply({"params": params}, ids, rngs={"analog": KEY})
        return optax.softmax_cross_entropy_with_integer_labels(y, labels).mean()

    run = jax.jit(jax.value_and_grad(loss))
    params = drawn("encoder")["params"]
    alone = run(params, IDS, LABELS)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(kind,))
    with jax.set_mesh(mesh):
        sharded = run(placed(mesh, params), placed(mesh, IDS, "data"), placed(mesh, LABELS, "data"))
    assert_close(jax.device_get(sharded), jax.device_get(alone), 1e-4)


@pytest.mark.slow
def test_dense_layers_on_an_explicit_mesh():
    """Axes that are part of an array's type, as ``jax.make_mesh`` makes them by default."""
    model = nn.Sequential([nn.Dense(8), nn.relu, nn.Dense(3)])
    x = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
    analog, variables = convert(model, PCM), jax.jit(model.init)(KEY, x)
    run = jax.jit(lambda v, x: analog.apply(v, x, rngs={"analog": KEY}))
    alone = run(variables, x)
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        sharded = run(placed(mesh, variables), placed(mesh, x, "data"))
    np.testing.assert_allclose(sharded, alone, rtol=1e-4, atol=1e-4)
