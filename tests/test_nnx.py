"""NNX layers: the same signal path behind the other front end."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import analogsim
from analogsim import InputError, preset
from analogsim.nnx import AnalogConv, AnalogLinear, Programmed, on_chip

PCM = preset("pcm")


class Net(nnx.Module):
    def __init__(self, hardware, rngs):
        self.conv = AnalogConv(2, 4, (3,), hardware=hardware, rngs=rngs)
        self.hidden = AnalogLinear(24, 6, hardware=hardware, rngs=rngs)
        self.out = AnalogLinear(6, 3, hardware=hardware, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.conv(x)).reshape(x.shape[0], -1)
        return self.out(nnx.relu(self.hidden(x)))


@pytest.fixture(scope="module")
def x():
    return jax.random.normal(jax.random.key(0), (4, 6, 2))


@pytest.mark.parametrize("rngs", [lambda: nnx.Rngs(0), lambda: nnx.Rngs(params=0, analog=1)])
def test_parameters_are_the_digital_models(rngs):
    plain, analog = Net(None, rngs()), Net(PCM, rngs())
    jax.tree.map(np.testing.assert_array_equal, nnx.state(plain, nnx.Param), nnx.state(analog, nnx.Param))


def test_ideal_hardware_and_digital_mode_are_the_plain_model(x):
    exact = Net(None, nnx.Rngs(0))(x)
    np.testing.assert_allclose(Net(preset("ideal"), nnx.Rngs(0))(x), exact, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(nnx.view(Net(PCM, nnx.Rngs(0)), mode="digital")(x), exact)
    with analogsim.digital():
        np.testing.assert_array_equal(Net(PCM, nnx.Rngs(0))(x), exact)


def test_noise_is_fresh_every_call_and_in_every_layer(x):
    model = Net(PCM, nnx.Rngs(0))
    assert float(jnp.abs(model(x) - model(x)).max()) > 0
    keys = {tuple(np.asarray(jax.random.key_data(op.dot_general.stream.key[...]))) for op in (model.hidden, model.out)}
    assert len(keys) == 2


def test_a_step_of_training_moves_every_kernel(x):
    model = Net(PCM, nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.sgd(0.1), wrt=nnx.Param)
    before = jax.tree.map(jnp.copy, nnx.state(model, nnx.Param))

    @nnx.jit
    def step(model, optimizer):
        gradients = nnx.grad(lambda m: (m(x) ** 2).mean(), argnums=nnx.DiffState(0, nnx.Param))(model)
        optimizer.update(model, gradients)

    step(model, optimizer)
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), before, nnx.state(model, nnx.Param))
    assert all(m > 0 for m in jax.tree.leaves(moved))


def test_chips(x):
    model = Net(PCM, nnx.Rngs(0))
    analogsim.calibrate(model, None, x)
    chip = analogsim.program(model, key=jax.random.key(1))
    assert set(chip.cells) == {"conv", "hidden", "out"}
    day = on_chip(model, chip.at("1 day"), key=jax.random.key(2))
    again = on_chip(model, chip.at("1 day"), key=jax.random.key(2))
    np.testing.assert_array_equal(day(x), again(x))
    assert len(jax.tree.leaves(nnx.state(day, Programmed))) > 0
    assert model.hidden.dot_general.mode == "train"  # the model itself is left as it was
    with pytest.raises(InputError, match=r"use analogsim.nnx.on_chip"):
        chip.variables  # noqa: B018


def test_evaluate_agrees_with_linen():
    """The same kernel on both front ends, noise reduced to nothing: the same scores."""
    quiet = preset(
        "pcm", **{"store.cell.programming_noise": 0.0, "store.cell.read_noise": 0.0, "adc": None, "dac": None}
    )
    x = jax.random.normal(jax.random.key(0), (20, 8))
    model = AnalogLinear(8, 3, hardware=quiet, rngs=nnx.Rngs(0))
    linen = analogsim.linen.AnalogDense(3, hardware=quiet)
    variables = {"params": {"kernel": model.kernel[...], "bias": model.bias[...]}}
    labels = jnp.argmax(x @ model.kernel[...] + model.bias[...], -1)
    how = dict(key=jax.random.key(0), chips=2, times=(0, "1 year"), compensation=("none", "global"))
    mine = analogsim.evaluate(model, None, x, labels, **how)
    theirs = analogsim.evaluate(linen, variables, x, labels, **how)
    np.testing.assert_allclose(mine.score.sel(time=0), 1.0)
    np.testing.assert_allclose(mine.score.sel(time=0), theirs.score.sel(time=0))
    assert float(mine.digital) == float(theirs.digital) == 1.0


def test_bad_input(x):
    model = Net(PCM, nnx.Rngs(0))
    with pytest.raises(InputError, match="must be one of train, chip, digital"):
        nnx.view(model, mode="analogue")
    with pytest.raises(InputError, match="mode 'chip' without a chip"):
        nnx.view(model, mode="chip")(x)
    with pytest.raises(InputError, match="an NNX model carries its own"):
        analogsim.program(model, {"params": {}}, jax.random.key(0))
    with pytest.raises(InputError, match="has no noise stream"):
        analogsim.convert(Net(None, nnx.Rngs(0)), PCM)(x)
    other = analogsim.program(AnalogLinear(2, 2, hardware=PCM, rngs=nnx.Rngs(0)), key=jax.random.key(0))
    with pytest.raises(InputError, match="program one for it"):
        on_chip(model, other)


def test_a_stack_of_chips_is_refused_without_vmap(x):
    model = Net(PCM, nnx.Rngs(0))
    chips = analogsim.program(model, key=jax.random.split(jax.random.key(1), 3))
    with pytest.raises(InputError, match=r"layer conv: these readings are a stack of 3, .*in_axes=\(chips\.axes,\)"):
        on_chip(model, chips)(x)
    assert jax.vmap(lambda chip: on_chip(model, chip)(x), in_axes=(chips.axes,))(chips).shape == (3, 4, 3)


def test_a_key_in_the_place_of_the_variables_is_named():
    with pytest.raises(InputError, match=r"program\(model, key=key\)"):
        analogsim.program(Net(PCM, nnx.Rngs(0)), jax.random.key(0))
