"""Layers that multiply with a matrix which they compute: what is written onto a chip is what is multiplied with.

On exact hardware the plain layer, with its normalisation, is the second implementation, and so are its gradients.
"""

import contextlib
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import analogsim
from analogsim import InputError, convert, preset, program
from analogsim.models.bound import leaves_of
from analogsim.signal_path import ChipArray
from tests.layers.test_every_layer import assert_close, image, randomised, with_gradients

KEY = jax.random.key(0)
EXACT = preset("ideal", rows=20, columns=6)
IDS = np.array([[0, 3, 2], [7, 2, 2]])


def standardised(w):
    """Weight standardisation: zero mean and a variance of one over all axes but the last."""
    axes = tuple(range(w.ndim - 1))
    return (w - w.mean(axes)) / (w.std(axes) + 1e-3)


def with_own_parameters(kind):
    """A subclass that standardises its matrix where it asks for it."""

    class Standardised(kind):
        def param(self, name, *args, **kwargs):
            value = super().param(name, *args, **kwargs)
            return standardised(value) if name in ("kernel", "embedding") else value

    return Standardised


#: name: (layer's class, arguments, input)
LINEN = {
    "Dense": (nn.Dense, (7,), {}, image(3, 41)),
    "DenseGeneral": (nn.DenseGeneral, ((2, 5),), {"axis": (-2, -1)}, image(3, 4, 6)),
    "Einsum": (nn.Einsum, ((2, 6, 4), "btd,hdk->bhkt"), {"use_bias": True}, image(3, 5, 6)),
    "Conv": (nn.Conv, (7, (3, 2)), {"feature_group_count": 1}, image(2, 5, 5, 4)),
    "groups": (nn.Conv, (8, (3,)), {"feature_group_count": 4}, image(2, 6, 12)),
    "ConvTranspose": (nn.ConvTranspose, (4, (2, 3)), {"strides": (3, 2), "padding": "VALID"}, image(2, 4, 3, 5)),
    "transpose_kernel": (nn.ConvTranspose, (4, (4, 3), (2, 2)), {"transpose_kernel": True}, image(2, 3, 5, 2)),
    "Embed": (nn.Embed, (45, 7), {}, IDS),
}


class Normalised(nn.Module):
    """The layer by itself and in Flax's wrappers, on the same input."""

    layer: type
    args: tuple
    options: dict

    @nn.compact
    def __call__(self, x):
        def make(kind=self.layer, **names):
            return kind(*self.args, **self.options, **names)

        outputs = [
            make(with_own_parameters(self.layer), name="own")(x),
            nn.WeightNorm(make(), variable_filter={"embedding", "kernel"})(x),
            nn.SpectralNorm(make())(x, update_stats=False),
        ]
        if self.layer is nn.Dense:
            bounded = lambda v: jax.tree.map(jnp.tanh, v)  # noqa: E731
            mapped = nn.map_variables(self.layer, "params", bounded, init=self.is_initializing())
            outputs += [make(mapped, name="mapped")(x), nn.WeightNorm(make(), variable_filter=None)(x)]
        return jnp.concatenate([y.ravel() for y in outputs])


@pytest.mark.parametrize("name", LINEN)
def test_linen_layers_write_what_they_multiply_with(name):
    kind, args, options, x = LINEN[name]
    model = Normalised(kind, args, options)
    analog = convert(model, EXACT)

    @jax.jit
    def everything(x):
        variables = model.init(KEY, x)
        params, rest = randomised(variables["params"]), {k: v for k, v in variables.items() if k != "params"}

        def run(model, p, a):
            return model.apply({**rest, "params": p}, a)

        if kind is nn.Dense:  # gradients reach what the matrix is computed from
            exact, trained = (with_gradients(functools.partial(run, m), params, x) for m in (model, analog))
        else:
            exact, trained = ((run(m, params, x),) for m in (model, analog))
        chip = program(analog, {**rest, "params": params}, KEY, x)
        return exact, trained, analog.apply(chip.variables, x), chip.readings

    exact, trained, programmed, readings = everything(x)
    assert len(leaves_of(ChipArray, readings)) == (5 if kind is nn.Dense else 3)
    assert_close(trained, exact)
    assert_close(programmed, exact[0])


class Standardised(nnx.Conv):
    """A convolution that standardises its kernel in the call and gives it back."""

    def __call__(self, x):
        held = self.kernel[...]
        self.kernel[...] = standardised(held)
        y = super().__call__(x)
        self.kernel[...] = held
        return y


class InPlace(nnx.Module):
    """A user's own wrapper, which does not show in the layer."""

    def __init__(self, layer):
        self.layer = layer

    def __call__(self, x):
        kernel = self.layer.kernel
        kernel.set_value(jnp.tanh(kernel.get_value()))
        return self.layer(x)


def promoted(values, *, dtype=None, **options):
    """Halves what is multiplied with."""
    return nnx.nn.dtypes.promote_dtype((values[0], values[1] / 2, *values[2:]), dtype=dtype, **options)


def linear(r):
    return nnx.Linear(41, 7, rngs=r)


def weight_norm(make, **options):
    return lambda r: nnx.WeightNorm(make(r), rngs=r, **options)


def spectral_norm(make, **options):
    return lambda r: nnx.SpectralNorm(make(r), rngs=r, **options)


def embed(r):
    return nnx.Embed(45, 7, rngs=r)


#: name: (layer, input)
NNX = {
    "own call": (lambda r: Standardised(4, 6, (3, 2), rngs=r), image(2, 5, 5, 4)),
    "in place": (lambda r: InPlace(linear(r)), image(3, 41)),
    "promote_dtype": (lambda r: nnx.Linear(41, 7, promote_dtype=promoted, rngs=r), image(3, 41)),
    "weight": (weight_norm(linear), image(3, 41)),
    "weight of general": (
        weight_norm(lambda r: nnx.LinearGeneral((4, 6), (2, 5), axis=(-2, -1), rngs=r), feature_axes=(-2, -1)),
        image(3, 4, 6),
    ),
    "weight of einsum": (weight_norm(lambda r: nnx.Einsum("btd,dhk->bthk", (6, 2, 4), rngs=r)), image(3, 5, 6)),
    "weight of groups": (weight_norm(lambda r: nnx.Conv(12, 8, (3,), feature_group_count=4, rngs=r)), image(2, 6, 12)),
    "weight of table": (weight_norm(embed, variable_filter=nnx.PathContains("embedding")), IDS),
    "spectral": (spectral_norm(linear), image(3, 41)),
    "spectral, still": (spectral_norm(linear, update_stats=False), image(3, 41)),
    "spectral of transposed": (
        spectral_norm(lambda r: nnx.ConvTranspose(3, 4, (4, 3), (2, 1), transpose_kernel=True, rngs=r)),
        image(2, 3, 5, 3),
    ),
    "spectral of table": (spectral_norm(embed), IDS),
}  # fmt: skip


@pytest.mark.parametrize("name", NNX)
def test_nnx_layers_write_what_they_multiply_with(name):
    make, x = NNX[name]

    @jax.jit
    def everything(key, x):
        plain = make(nnx.Rngs(key))
        nnx.update(plain, randomised(nnx.state(plain, nnx.Param)))
        analog = convert(plain, EXACT, x=x if name == "own call" else None)
        before = nnx.state(analog)
        chip = program(analog, key=key, x=x)
        after = nnx.state(analog)
        found = []
        for model in (plain, analog, analogsim.nnx.on_chip(analog, chip)):
            graph, params, rest = nnx.split(model, nnx.Param, ...)
            run = lambda p, a, graph=graph, rest=rest: nnx.merge(graph, p, rest, copy=True)(a)  # noqa: E731
            gradients = name in ("weight", "own call")
            found.append(with_gradients(run, params, x) if gradients else run(params, x))
        return *map(jax.tree.leaves, found), jax.tree.leaves(before), jax.tree.leaves(after)

    exact, trained, programmed, before, after = everything(KEY, x)
    assert_close(trained, exact)
    assert_close(programmed, exact)
    jax.tree.map(np.testing.assert_array_equal, before, after)  # statistics and kernels are as they were


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("own call", "subclass of Conv with its own code"),
        ("promote_dtype", "a custom promote_dtype"),
        ("weight", "layer layer_instance: nnx.WeightNorm normalises"),
        ("spectral of transposed", "nnx.SpectralNorm normalises"),
    ],
)
def test_nnx_layers_that_may_compute_their_matrix_ask_for_an_input(name, why):
    with pytest.warns(match="Pass x") if name == "own call" else contextlib.nullcontext():
        analog = convert(NNX[name][0](nnx.Rngs(0)), EXACT)
    with pytest.raises(InputError, match=rf"{why}.*program\(model, key=key, x=x\)"):
        jax.eval_shape(lambda: program(analog, key=KEY).cells)


def test_evaluation_scores_what_is_multiplied():
    """A chip of an exact spectrally normalised layer makes no error at all."""
    model = NNX["spectral"][0](nnx.Rngs(0))
    x = image(8, 41)
    y = nnx.clone(model)(x)
    found = analogsim.evaluate(
        convert(model, EXACT), None, x, y, key=KEY, chips=1, metric=lambda o, t: jnp.abs(o - t).max()
    )
    assert float(np.max(found.score)) < 1e-5


class Deep(nnx.Module):
    """Three layers in one, stacked."""

    def __init__(self, rngs):
        make = nnx.vmap(lambda r: nnx.Linear(5, 5, rngs=r), in_axes=0, out_axes=0)
        self.layers = make(rngs.split(3))

    def __call__(self, x):
        step = nnx.scan(lambda x, layer: jnp.tanh(layer(x)), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        return step(x, self.layers)


class Compiled(nnx.Module):
    def __init__(self, kind, rngs):
        self.kind, self.layer = kind, nnx.Linear(5, 5, rngs=rngs)

    def __call__(self, x):
        return self.kind(lambda layer, x: layer(x))(self.layer, x)


@pytest.mark.parametrize(
    "make",
    [
        Deep,
        lambda r: Compiled(nnx.remat, r),
        lambda r: Compiled(nnx.jit, r),
        lambda r: nnx.RNN(nnx.GRUCell(5, 4, rngs=r)),
    ],
    ids=["scan", "remat", "jit", "RNN"],
)
def test_nnx_transformations_give_their_kernels(make):
    """Of plain layers an input changes nothing: the same matrices are written, each of a stack its own."""
    x = image(2, 3, 5)

    @jax.jit
    def both(key):
        model = make(nnx.Rngs(key))
        analog = convert(model, EXACT)
        chips = [program(analog, key=key, x=given) for given in (None, x)]
        return chips[0].readings, chips[1].readings, model(x), analogsim.nnx.on_chip(analog, chips[1])(x)

    without, given, exact, on_chip = both(KEY)
    jax.tree.map(np.testing.assert_array_equal, without, given)
    assert_close(on_chip, exact)
