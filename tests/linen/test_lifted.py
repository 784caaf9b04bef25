"""Models that scan, map and compile cells of their own, written without a thought of chips, on chips.

The plain model is the second implementation: on exact hardware a chip's outputs are its outputs. Of chips with
programming errors it is a loop in NumPy over what the cells hold.
"""

import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import InputError, calibrate, convert, preset, program
from analogsim.devices import Crossbar, GenericCell
from analogsim.models.bound import leaves_of
from analogsim.signal_path import ChipArray

WIDTH, STEPS = 5, 3
X = np.random.default_rng(0).normal(size=(4, STEPS, WIDTH)).astype(np.float32)
KEY = jax.random.key(0)
EXACT = preset("ideal")
WRITTEN = EXACT.replace(store=Crossbar(cell=GenericCell(programming_sigma=0.1)))  # errors of writing, none of reading
READ = EXACT.replace(store=Crossbar(cell=GenericCell(read_noise=0.1)))  # the other way round
SHARED = dict(variable_broadcast="params", split_rngs={"params": False}, in_axes=1, out_axes=1)


class Cell(nn.Module):
    @nn.compact
    def __call__(self, h, x):
        h = jnp.tanh(nn.Dense(WIDTH, name="h")(h) + nn.Dense(WIDTH, name="x")(x))
        return h, h


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        return jnp.tanh(nn.Dense(WIDTH)(x))


class Layer(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return jnp.tanh(nn.Dense(WIDTH)(x)), None


class Decorated(nn.Module):
    @lambda method: nn.scan(method, **SHARED)
    @nn.compact
    def __call__(self, h, x):
        h = jnp.tanh(nn.Dense(WIDTH, name="h")(h) + nn.Dense(WIDTH, name="x")(x))
        return h, h


class Model(nn.Module):
    """One of the forms below."""

    form: object

    @nn.compact
    def __call__(self, x):
        return self.form(self, x)


def start(x):
    return jnp.zeros((x.shape[0], WIDTH))


def by_function(model, x):
    return nn.scan(lambda cell, h, x: cell(h, x), **SHARED)(Cell(name="cell"), start(x), x)[1]


def stack(axis=0, layer=Layer):
    scan = nn.scan(layer, variable_axes={"params": axis}, split_rngs={"params": True}, length=STEPS)
    return lambda model, x: scan(name="stack")(x[:, 0], None)[0]


def ensemble(model, x):
    options = dict(in_axes=None, axis_size=STEPS, out_axes=1)
    return nn.vmap(Block, variable_axes={"params": 0}, split_rngs={"params": True}, **options)(name="each")(x[:, 0])


def mapped(model, x):
    shared = nn.vmap(Block, variable_axes={"params": None}, split_rngs={"params": False}, in_axes=1, out_axes=1)
    return shared(name="shared")(x)


def blocks(kind):
    return lambda model, x: kind(name="b")(kind(name="a")(x))


def looped(model, x):
    block = Block(name="block")
    if model.is_initializing():  # Flax's own rule for loops
        return block(x[:, 0])
    return nn.while_loop(lambda m, c: c[0] < STEPS, lambda m, c: (c[0] + 1, block(c[1])), model, (0, x[:, 0]))[1]


def branched(model, x):
    a, b = Block(name="a"), Block(name="b")
    if model.is_initializing():  # Flax's own rule for branches
        a(x), b(x)
    return nn.cond(x.sum() > 0, lambda m, x: a(x), lambda m, x: b(x), model, x)


#: name: (how the model computes, the arrays of its chip by layer, stacked as they are)
FORMS = {
    "scan": (lambda m, x: nn.scan(Cell, **SHARED)(name="cell")(start(x), x)[1], {"cell/h": (), "cell/x": ()}),
    "scanned function": (by_function, {"cell/h": (), "cell/x": ()}),
    "scanned method": (lambda m, x: Decorated(name="cell")(start(x), x)[1], {"cell/h": (), "cell/x": ()}),
    "stack": (stack(axis=1), {"stack/Dense_0": (STEPS,)}),
    "stack of remat": (stack(0, nn.remat(Layer)), {"stack/Dense_0": (STEPS,)}),
    "ensemble": (ensemble, {"each/Dense_0": (STEPS,)}),
    "vmap": (mapped, {"shared/Dense_0": ()}),
    "remat": (blocks(nn.remat(Block, variables="params", rngs="params")), {"a/Dense_0": (), "b/Dense_0": ()}),
    "jit": (blocks(nn.jit(Block, variables="params", rngs="params")), {"a/Dense_0": (), "b/Dense_0": ()}),
    "remat_scan": (lambda m, x: nn.remat_scan(Block, lengths=(2, 2))(name="s")(x), {"s/Dense_0": (2, 2)}),
    "while": (looped, {"block/Dense_0": ()}),
    "cond": (branched, {"a/Dense_0": (), "b/Dense_0": ()}),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_transformation_passes_chips_on(name):
    form, arrays = FORMS[name]
    model = Model(form)
    analog = convert(model, EXACT)

    @jax.jit
    def everything(x):
        v, drawn = model.init(KEY, x), analog.init(KEY, x)
        chip = program(analog, v, KEY, x)
        trained = convert(model, WRITTEN).apply(v, x, rngs={"analog": KEY})
        gradients = trained
        if name != "while":  # which jax cannot differentiate
            loss = lambda p, m: jnp.sum(m.apply({"params": p}, x) ** 2)  # noqa: E731
            gradients = jax.tree.map(lambda a, b: a - b, *(jax.grad(loss)(v["params"], m) for m in (model, analog)))
            gradients = jnp.stack([jnp.abs(leaf).max() for leaf in jax.tree.leaves(gradients)])
        return v, drawn, model.apply(v, x), analog.apply(chip.variables, x), trained, gradients, chip.readings

    v, drawn, exact, on_chip, trained, gradients, readings = everything(X)
    jax.tree.map(np.testing.assert_array_equal, v, drawn)
    assert {path: a.reading.mean.shape[:-4] for path, a in leaves_of(ChipArray, readings)} == arrays
    np.testing.assert_allclose(on_chip, exact, atol=1e-5)
    assert np.abs(trained - exact).max() > 1e-3  # on a fresh chip
    if name != "while":
        np.testing.assert_allclose(gradients, 0, atol=1e-4)


@pytest.mark.parametrize("name", ["scan", "stack", "ensemble", "vmap", "jit", "remat_scan", "while"])
def test_every_transformation_passes_ranges_on(name):
    form, arrays = FORMS[name]
    v = jax.jit(Model(form).init)(KEY, X)
    ranges = calibrate(convert(Model(form), EXACT), v, X, method="max")["ranges"]
    found = {path.removesuffix("/analog/input"): r.shape for path, r in leaves_of(jax.Array, ranges) if "input" in path}
    assert found == arrays
    for path, r in leaves_of(jax.Array, ranges):
        first = path in ("cell/x/analog/input", "shared/Dense_0/analog/input")
        if first:  # sees all of X, and nothing but X
            np.testing.assert_allclose(r, np.abs(X).max(), rtol=1e-6)


def held(readings, path):
    """The matrix that a layer's cells hold, or each of a stack: weights in units of the kernel."""
    reading = dict(leaves_of(ChipArray, readings))[path].reading
    return np.asarray(reading.mean * reading.scale)[..., 0, 0, :, :]


def test_steps_that_share_parameters_share_a_chip_and_stacks_are_one_for_each():
    """What the model computes on imperfect chips, unrolled by hand on what the cells of these chips hold."""

    @jax.jit
    def on_chips(x):
        found = []
        for name in ("scan", "stack"):
            model = convert(Model(FORMS[name][0]), WRITTEN)
            v = Model(FORMS[name][0]).init(KEY, x)
            chip = program(model, v, KEY, x).at(1.0, read_noise=False)
            found.append((v["params"], chip.readings, model.apply(chip.variables, x)))
        return found

    (cell, of_cell, shared), (layers, of_stack, stacked) = on_chips(X)
    w, u = held(of_cell, "cell/x"), held(of_cell, "cell/h")
    assert np.abs(w - cell["cell"]["x"]["kernel"]).max() > 0.01  # written imperfectly
    h = np.zeros((4, WIDTH))
    for t in range(STEPS):
        h = np.tanh(h @ u + X[:, t] @ w)  # biases are zero
        np.testing.assert_allclose(shared[:, t], h, atol=1e-5)
    h, kernels = X[:, 0], held(of_stack, "stack/Dense_0")
    errors = kernels - np.moveaxis(layers["stack"]["Dense_0"]["kernel"], 1, 0)
    assert np.abs(np.corrcoef(errors.reshape(STEPS, -1))[np.triu_indices(STEPS, 1)]).max() < 0.7  # of 25 cells each
    for i in range(STEPS):
        h = np.tanh(h @ kernels[i])
    np.testing.assert_allclose(stacked, h, atol=1e-5)


@pytest.mark.parametrize("name", ["scan", "vmap", "ensemble"])
def test_every_step_reads_with_noise_of_its_own(name):
    """Equal inputs at every step: differences are noise, uncorrelated from step to step."""
    form = FORMS[name][0]
    model = convert(Model(form), READ)
    x = np.broadcast_to(np.random.default_rng(1).normal(size=(400, 1, WIDTH)), (400, STEPS, WIDTH)).astype(np.float32)

    @jax.jit
    def run(x):
        v = Model(form).init(KEY, x)
        if name == "scan":  # no recurrence
            v["params"]["cell"]["h"]["kernel"] *= 0.0
        chip = program(model, v, KEY, x)
        return model.apply(chip.variables, x, rngs={"analog": KEY}) - Model(form).apply(v, x)

    noise = np.moveaxis(np.asarray(run(x)), 1, 0).reshape(STEPS, -1)
    assert noise.std(axis=1).min() > 1e-3
    correlation = np.corrcoef(noise)[np.triu_indices(STEPS, 1)]
    # 2,000 values, of which five an example share its noise's scale: 4 standard errors of 1 / sqrt(2000 / 2) each.
    assert np.abs(correlation).max() < 4 / np.sqrt(1000)


def test_what_the_author_names_is_left_to_him():
    """All steps read with the same noise, as this author wants it."""
    options = {**SHARED, "split_rngs": {"params": False, "analog": False}}
    model = Model(lambda model, x: nn.scan(Cell, **options)(name="cell")(start(x), x)[1])
    x = np.broadcast_to(X[:, :1], X.shape)

    @jax.jit
    def run(x):
        v = model.init(KEY, x)
        v["params"]["cell"]["h"]["kernel"] *= 0.0
        return convert(model, READ).apply(v, x, rngs={"analog": KEY})

    y = run(x)
    np.testing.assert_allclose(y, np.broadcast_to(y[:, :1], y.shape), atol=1e-6)
    hidden = nn.scan(Cell, **{**SHARED, "variable_broadcast": "params", "variable_carry": ["analog", "ranges"]})
    model = Model(lambda model, x: hidden(name="cell")(start(x), x)[1])
    v = jax.jit(model.init)(KEY, X)
    with pytest.raises((InputError, TypeError)):  # a carry cannot begin to exist in a loop
        jax.eval_shape(lambda: program(convert(model, EXACT), v, KEY, X).cells)


EARLY = """
import flax.linen as nn, jax, jax.numpy as jnp
from flax.core import lift
before = lift.scan
class Cell(nn.Module):
    @nn.compact
    def __call__(self, h, x):
        h = jnp.tanh(nn.Dense(5)(h) + x)
        return h, h
class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        return CELL()(x[:, 0], x)[1]
CELL = nn.scan(Cell, variable_broadcast="params", split_rngs={"params": False}, in_axes=1, out_axes=1)
import analogsim, analogsim.linen
assert lift.scan is not before and lift.scan.__name__ == "scan"
x = jnp.ones((2, 3, 5))
v = Net().init(jax.random.key(0), x)
model = analogsim.convert(Net(), analogsim.preset("pcm"))
chip = jax.eval_shape(lambda: analogsim.program(model, v, jax.random.key(1), x))
assert len(chip.cells) == 1, chip.cells
"""


def test_cells_that_were_transformed_before_the_import():
    subprocess.run([sys.executable, "-c", EARLY], check=True, timeout=120)
