"""Models as they are run: loops and transformations inside, training mode refused, streams of their own on keys."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from analogsim import (
    ADC,
    ChipScores,
    Hardware,
    InputError,
    calibrate,
    convert,
    energy,
    evaluate,
    observe,
    preset,
    program,
    summary,
    sweep,
)
from analogsim.nnx import on_chip
from analogsim.training import sensitivity

N = 8
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 5, 4)).astype(np.float32)
KEY = jax.random.key(0)
ROUNDING = 2**-18  # products and sums of a few numbers below 8 in float32


def distance(outputs, labels):
    return jnp.max(jnp.abs(outputs - labels))


# --- loops and transformations ---------------------------------------------------------------------------------------


class Recurrent(nnx.Module):
    """``nnx.RNN`` runs its cell in ``nnx.scan``."""

    def __init__(self, rngs):
        self.rnn = nnx.RNN(nnx.SimpleCell(4, 6, rngs=rngs))

    def __call__(self, x):
        return self.rnn(x)[:, -1]

    def in_numpy(self, x):
        cell, h = self.rnn.cell, np.zeros((len(x), 6))
        for t in range(x.shape[1]):
            h = np.tanh(x[:, t] @ cell.dense_i.kernel[...] + cell.dense_i.bias[...] + h @ cell.dense_h.kernel[...])
        return h


class Transformed(nnx.Module):
    """``nnx.remat``, ``nnx.jit`` and ``nnx.cond`` around layers."""

    def __init__(self, rngs):
        self.a, self.b, self.c = (nnx.Linear(4, 4, use_bias=False, rngs=rngs) for _ in range(3))

    def __call__(self, x):
        once = lambda layer, x: jnp.tanh(layer(x))  # noqa: E731
        x = nnx.jit(once)(self.b, nnx.remat(once)(self.a, x[:, 0]))
        return nnx.cond(True, once, lambda layer, x: x, self.c, x)

    def in_numpy(self, x):
        x = x[:, 0]
        for layer in (self.a, self.b, self.c):
            x = np.tanh(x @ layer.kernel[...])
        return x


class Stack(nnx.Module):
    """Layers that ``nnx.vmap`` stacks and ``nnx.scan`` runs."""

    def __init__(self, rngs):
        make = nnx.vmap(lambda rngs: nnx.Linear(4, 4, use_bias=False, rngs=rngs), in_axes=(0,), out_axes=0)
        self.layers = nnx.split_rngs(splits=3)(make)(rngs)

    def __call__(self, x):
        return nnx.scan(lambda x, layer: jnp.tanh(layer(x)), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)(
            x[:, 0], self.layers
        )

    def in_numpy(self, x):
        x = x[:, 0]
        for kernel in np.asarray(self.layers.kernel[...]):
            x = np.tanh(x @ kernel)
        return x


@pytest.mark.parametrize("kind", [Recurrent, Transformed, Stack])
def test_nnx_models_with_transformations_inside_run_everywhere(kind):
    plain = kind(nnx.Rngs(0))
    expected = plain.in_numpy(X).astype(np.float32)
    model = convert(plain, preset("ideal"), rngs=nnx.Rngs(1))
    found = evaluate(model, None, X, expected, key=KEY, chips=1, times=(0.0,), metric=distance)
    assert float(found.digital) < ROUNDING
    assert float(found.score.max()) < ROUNDING
    if kind is not Recurrent:  # eagerly, step by step
        calibrate(model, None, X[:2])
    chip = program(model, key=KEY)
    np.testing.assert_allclose(on_chip(model, chip, key=KEY)(X), expected, atol=ROUNDING)
    assert len(summary(model, x=X)) == len(chip.cells)
    assert (
        energy.compare(model, None, X, batch=1, systems=()).macs
        == {Recurrent: 5 * 60, Transformed: 48, Stack: 48}[kind]
    )


def test_each_layer_of_a_stack_trains_on_noise_of_its_own():
    # Equal kernels and inputs: what differs between the entries of the stack is their noise alone.
    model = convert(Stack(nnx.Rngs(0)), Hardware(adc=ADC(bits=24, range=20.0, noise=0.1)), rngs=nnx.Rngs(1))
    model.layers.kernel[...] = jnp.broadcast_to(jnp.eye(4), (3, 4, 4))
    each = nnx.vmap(lambda layer, x: layer(x), in_axes=(0, None))(model.layers, jnp.ones((2, 4)))
    assert np.unique(np.asarray(each)).size == each.size


# --- training mode ---------------------------------------------------------------------------------------------------


class Net(nn.Module):
    """A layer of ones, dropout and batch normalisation."""

    dropout: bool = False
    norm: bool = False

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(4, use_bias=False)(x)
        if self.norm:
            x = nn.BatchNorm(use_running_average=False)(x)
        return nn.Dropout(0.5, deterministic=not self.dropout)(x)


class NnxNet(nnx.Module):
    """The same."""

    def __init__(self, dropout=False, norm=False):
        rngs = nnx.Rngs(0)
        self.dense = nnx.Linear(4, 4, use_bias=False, rngs=rngs)
        self.dense.kernel[...] = jnp.eye(4)
        self.norm = nnx.BatchNorm(4, rngs=rngs, use_running_average=not norm)
        self.dropout = nnx.Dropout(0.5, deterministic=not dropout, rngs=rngs)

    def __call__(self, x):
        return self.dropout(self.norm(self.dense(x)))


def linen(hardware, **flags):
    stats = {"batch_stats": {"BatchNorm_0": {"mean": np.zeros(4, np.float32), "var": np.ones(4, np.float32)}}}
    params = {"Dense_0": {"kernel": np.eye(4, dtype=np.float32)}}
    params |= {"BatchNorm_0": {"scale": np.ones(4, np.float32), "bias": np.zeros(4, np.float32)}}
    return convert(Net(**flags), hardware), {"params": params, **stats}


def nnx_model(hardware, **flags):
    return convert(NnxNet(**flags), hardware, rngs=nnx.Rngs(1)), None


def attempts(make, flags):
    model, variables = make(preset("ideal"), **flags)
    labels = np.zeros(N, int)
    swept = ChipScores(model, variables, X[:, 0], labels)
    return [
        lambda: evaluate(model, variables, X[:, 0], labels, key=KEY, chips=1, times=(0.0,)),
        lambda: calibrate(model, variables, X[:, 0]),
        lambda: observe(model, variables, X[:, 0]),
        lambda: sensitivity(model, variables, X[:, 0], labels, key=KEY, chips=1),
        lambda: sweep(swept, over={"rows": [4]}, chips=1, key=KEY, progress=False),
    ]


@pytest.mark.parametrize(
    ("make", "flags", "message"),
    [
        (linen, dict(dropout=True), r"the model draws random numbers: Dropout_0 needs PRNG for \"dropout\"; .*rngs="),
        (linen, dict(norm=True), r"the model is called as in training: .* \"/BatchNorm_0\" .*train=False"),
        (
            nnx_model,
            dict(dropout=True),
            r"layer dropout: draws .* 'dropout', .* call model.eval\(\) first, or pass rngs=",
        ),
        (nnx_model, dict(norm=True), r"layer norm: is in training mode .* call model.eval\(\) first"),
    ],
    ids=["linen dropout", "linen norm", "nnx dropout", "nnx norm"],
)
def test_a_model_left_in_training_mode_is_refused_by_name(make, flags, message):
    for attempt in attempts(make, flags):
        with pytest.raises(InputError, match=message):
            attempt()


# --- streams of the model's own --------------------------------------------------------------------------------------


def gathered(make, **options):
    """Outputs of every example on two chips at two times, and on the exact model: ones that are dropped or doubled."""
    model, variables = make(preset("ideal"), dropout=True)
    rows, found = 40, []
    options = dict(key=KEY, rngs={"dropout": jax.random.key(7)}) | options
    evaluate(
        model, variables, np.ones((rows, 4), np.float32), np.zeros(rows), chips=2, times=(0.0, 1.0), on_host=True,
        metric=lambda o, t: found.append(np.round(o / 2)) or 0.0, **options,
    )  # fmt: skip
    return np.array(found)  # [exact and four of chips, rows, 4]


@pytest.mark.parametrize("make", [linen, nnx_model])
def test_dropout_that_stays_on_draws_anew_for_every_example_chip_and_time(make):
    found = gathered(make)
    # 800 draws of one half: a mean within four standard errors, which chance leaves once in 16,000.
    assert set(np.unique(found)) == {0, 1}
    assert abs(found.mean() - 0.5) < 4 * 0.5 / np.sqrt(found.size)
    for a in range(len(found)):
        for b in range(a):
            # Two independent draws agree in half of 160 places.
            assert abs(np.mean(found[a] == found[b]) - 0.5) < 4 * 0.5 / np.sqrt(found[a].size)
    assert len({tuple(row) for row in found[0]}) > 10  # of 16 patterns: examples differ, too
    np.testing.assert_array_equal(gathered(make, batch_size=7), found)


@pytest.mark.parametrize("make", [linen, nnx_model])
def test_streams_go_into_everything(make):
    model, variables = make(preset("ideal"), dropout=True)
    x, how = X[:, 0], dict(rngs={"dropout": jax.random.key(7)})
    calibrated = calibrate(model, variables, x, method="max", **how)
    assert len(observe(model, variables, x, **how)) == 1
    program(model, calibrated, KEY, x, **how)
    assert len(summary(model, variables, x, **(how if variables else {}))) == 1
    for rngs, message in (
        ({"analog": KEY}, "rngs: 'analog' follows from key"),
        ({"dropout": 3}, r"rngs\['dropout'\] = 3: must be a random key"),
        (KEY, "rngs = .*: must be a dictionary of keys by name"),
    ):
        with pytest.raises(InputError, match=message):
            calibrate(model, variables, x, rngs=rngs)
    assert energy.compare(model, calibrated, x, batch=1, systems=(), **how).macs == 16
