"""Layers that multiply with a matrix which they compute: what is written onto a chip is what is multiplied with.

On exact hardware the plain layer, with its normalisation, is the second implementation, and so are its gradients.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import convert, preset, program
from analogsim.models import leaves_of
from analogsim.tiles import Reading
from tests.test_every_layer import assert_close, image, randomised, with_slopes

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
            exact, trained = (with_slopes(functools.partial(run, m), params, x) for m in (model, analog))
        else:
            exact, trained = ((run(m, params, x),) for m in (model, analog))
        chip = program(analog, {**rest, "params": params}, KEY, x)
        return exact, trained, analog.apply(chip.variables, x), chip.readings

    exact, trained, programmed, readings = everything(x)
    assert len(leaves_of(Reading, readings)) == (5 if kind is nn.Dense else 3)
    assert_close(trained, exact)
    assert_close(programmed, exact[0])
