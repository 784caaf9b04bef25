"""NNX layers: the same signal path behind the other front end."""

import functools

import jax
import numpy as np
import optax
import pytest
from flax import nnx

import analogsim
from analogsim import InputError, preset
from analogsim.nnx import AnalogConv, AnalogLinear, ProgrammedVariable, on_chip

PCM = preset("pcm")


class Net(nnx.Module):
    def __init__(self, hardware, rngs):
        self.conv = AnalogConv(2, 4, (3,), hardware=hardware, rngs=rngs)
        self.out = AnalogLinear(24, 3, hardware=hardware, rngs=rngs)

    def __call__(self, x):
        return self.out(nnx.relu(self.conv(x)).reshape(x.shape[0], -1))


PLAIN, IDEAL, ON_PCM = (nnx.jit(functools.partial(Net, hardware)) for hardware in (None, preset("ideal"), PCM))
run = nnx.jit(lambda model, x: model(x))


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(4, 6, 2)).astype(np.float32)


@pytest.fixture
def model():
    """The same in every test, each its own."""
    return ON_PCM(nnx.Rngs(0))


@pytest.mark.parametrize("rngs", [lambda: nnx.Rngs(0), lambda: nnx.Rngs(params=0, analog=1)])
def test_parameters_are_the_digital_models(rngs):
    plain, analog = nnx.jit(lambda one, two: (Net(None, one), Net(PCM, two)))(rngs(), rngs())
    jax.tree.map(np.testing.assert_array_equal, nnx.state(plain, nnx.Param), nnx.state(analog, nnx.Param))


def test_ideal_hardware_and_digital_mode_are_the_plain_model(x, model):
    exact = run(PLAIN(nnx.Rngs(0)), x)
    np.testing.assert_allclose(run(IDEAL(nnx.Rngs(0)), x), exact, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(run(nnx.view(model, mode="digital"), x), exact)
    with analogsim.digital():
        np.testing.assert_array_equal(run(model, x), exact)


def test_noise_is_fresh_every_call_and_in_every_layer(x, model):
    assert np.abs(run(model, x) - run(model, x)).max() > 0
    streams = (op.stream.key[...] for _, op in analogsim.nnx.analog_ops(model).values())
    keys = {tuple(np.asarray(jax.random.key_data(key))) for key in streams}
    assert len(keys) == 2


def test_a_step_of_training_moves_every_kernel(x, model):
    optimizer = nnx.Optimizer(model, optax.sgd(0.1), wrt=nnx.Param)
    before = jax.tree.map(np.asarray, nnx.state(model, nnx.Param))

    @nnx.jit
    def step(model, optimizer):
        gradients = nnx.grad(lambda m: (m(x) ** 2).mean(), argnums=nnx.DiffState(0, nnx.Param))(model)
        optimizer.update(model, gradients)

    step(model, optimizer)
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), before, nnx.state(model, nnx.Param))
    assert all(m > 0 for m in jax.tree.leaves(moved))


def test_chips(x, model):
    analogsim.calibrate(model, None, x)
    chip = analogsim.program(model, key=jax.random.key(1))
    assert set(chip.cells) == {"conv", "out"}
    day = on_chip(model, chip.at("1 day"), key=jax.random.key(2))
    again = on_chip(model, chip.at("1 day"), key=jax.random.key(2))
    np.testing.assert_array_equal(run(day, x), run(again, x))
    assert len(jax.tree.leaves(nnx.state(day, ProgrammedVariable))) > 0
    assert model.out.dot_general.mode == "train"  # the model itself is left as it was
    with pytest.raises(InputError, match=r"use analogsim.nnx.on_chip"):
        chip.variables  # noqa: B018


def test_evaluate_agrees_with_linen():
    """The same kernel on both front ends, noise reduced to nothing: the same scores."""
    quiet = preset(
        "pcm", **{"store.cell.programming_noise": 0.0, "store.cell.read_noise": 0.0, "adc": None, "dac": None}
    )
    x = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    model = AnalogLinear(8, 3, hardware=quiet, rngs=nnx.Rngs(0))
    linen = analogsim.linen.AnalogDense(3, hardware=quiet)
    variables = {"params": {"kernel": model.kernel[...], "bias": model.bias[...]}}
    labels = np.argmax(x @ np.asarray(model.kernel[...]) + np.asarray(model.bias[...]), -1)
    how = dict(key=jax.random.key(0), chips=2, times=(0, "1 year"), compensation=("none", "global"))
    mine = analogsim.evaluate(model, None, x, labels, **how)
    theirs = analogsim.evaluate(linen, variables, x, labels, **how)
    np.testing.assert_allclose(mine.score.sel(time=0), 1.0)
    np.testing.assert_allclose(mine.score.sel(time=0), theirs.score.sel(time=0))
    assert float(mine.digital) == float(theirs.digital) == 1.0


def test_bad_input(x, model):
    with pytest.raises(InputError, match="must be one of train, chip, digital"):
        nnx.view(model, mode="analogue")
    with pytest.raises(InputError, match="mode 'chip' without a chip"):
        nnx.view(model, mode="chip")(x)
    with pytest.raises(InputError, match="an NNX model contains its arrays"):
        analogsim.program(model, {"params": {}}, jax.random.key(0))
    with pytest.raises(InputError, match="has no noise stream"):
        analogsim.convert(PLAIN(nnx.Rngs(0)), PCM)(x)
    small = AnalogLinear(2, 2, hardware=PCM, rngs=nnx.Rngs(0))
    other = jax.eval_shape(lambda key: analogsim.program(small, key=key), jax.random.key(0))
    with pytest.raises(InputError, match="program a chip for this model"):
        on_chip(model, other)


def test_a_stack_of_chips_is_refused_without_vmap(x, model):
    """Found from shapes: nothing runs."""
    keys = jax.random.split(jax.random.key(1), 3)
    chips = jax.eval_shape(lambda keys: analogsim.program(model, key=keys), keys)
    with pytest.raises(InputError, match=r"layer conv: these readings are a stack of 3, .*in_axes=\(chips\.axes,\)"):
        jax.eval_shape(lambda chips: on_chip(model, chips)(x), chips)
    mapped = jax.vmap(lambda chip: on_chip(model, chip)(x), in_axes=(chips.axes,))
    assert jax.eval_shape(mapped, chips).shape == (3, 4, 3)


def test_a_key_in_the_place_of_the_variables_is_named(model):
    with pytest.raises(InputError, match=r"program\(model, key=key\)"):
        analogsim.program(model, jax.random.key(0))
