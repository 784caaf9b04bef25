"""Inputs of every form go into everything that runs a model: pytrees, keywords, what is shared, what is no array."""

import copy
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import analogsim
from analogsim import (
    DAC,
    ChipScores,
    Hardware,
    InputError,
    Inputs,
    Shared,
    calibrate,
    convert,
    energy,
    evaluate,
    program,
    summary,
    sweep,
)
from analogsim.base.call_inputs import Sample, inputs_of, sample_from_text, sample_text
from analogsim.training import fine_tune, make_step, sensitivity

N = 6
RNG = np.random.default_rng(0)
A, B = (RNG.normal(size=(N, n)).astype(np.float32) for n in (4, 5))
X = {"a": A, "b": [B]}
MASK = RNG.random((N, N)) > 0.5  # as wide as there are examples: only Shared tells a causal mask from one an example
BIAS = RNG.normal(size=(N, N)).astype(np.float32)
LABELS = np.arange(N) % 3
KEY = jax.random.key(0)
IDEAL = analogsim.preset("ideal")

#: What the model computes, in NumPy: x["a"] W, masked row by row, plus rows of a bias that all examples share.
KERNEL = RNG.normal(size=(4, N)).astype(np.float32)
EXPECTED = np.where(MASK, A @ KERNEL + B.sum(axis=1, keepdims=True), 0) * 2.0 + BIAS[2]


class Net(nn.Module):
    """A dictionary with a list in it, a mask and a number by keyword, a bias that is shared."""

    @nn.compact
    def __call__(self, x, *, mask, bias, factor=1.0, row=0):
        y = nn.Dense(N, use_bias=False)(x["a"]) + x["b"][0].sum(axis=1, keepdims=True)
        return jnp.where(mask, y, 0) * factor + bias[row]


class NnxNet(nnx.Module):
    """The same."""

    def __init__(self, rngs):
        self.dense = nnx.Linear(4, N, use_bias=False, rngs=rngs)
        self.dense.kernel[...] = jnp.asarray(KERNEL)

    def __call__(self, x, *, mask, bias, factor=1.0, row=0):
        y = self.dense(x["a"]) + x["b"][0].sum(axis=1, keepdims=True)
        return jnp.where(mask, y, 0) * factor + bias[row]


LINEN = convert(Net(), IDEAL), {"params": {"Dense_0": {"kernel": KERNEL}}}
NNX = convert(NnxNet(nnx.Rngs(0)), IDEAL, rngs=nnx.Rngs(1)), None
KEYWORDS = dict(mask=MASK, bias=Shared(BIAS), factor=2.0, row=2)
FORMS = {"keywords": (X, KEYWORDS), "Inputs": (Inputs(X, mask=MASK, bias=Shared(BIAS)), dict(factor=2.0, row=2))}


def distance(outputs, labels):
    return jnp.max(jnp.abs(outputs - labels))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bound", [LINEN, NNX], ids=["linen", "nnx"])
def test_a_model_of_dictionaries_and_keywords_is_computed_as_in_numpy(bound, form):
    x, options = FORMS[form]
    found = evaluate(
        *bound, x, EXPECTED, key=KEY, chips=1, times=(0.0,), metric=distance, batch_size=4, **options
    )  # fmt: skip
    # Eight roundings of numbers below 20 in float32.
    assert float(found.digital) < 20 * 2**-20
    assert float(found.score.max()) < 20 * 2**-20


@pytest.mark.parametrize("bound", [LINEN, NNX], ids=["linen", "nnx"])
def test_arrays_by_keyword_work_again_and_again(bound):
    for mask in (MASK, ~MASK, jnp.asarray(MASK)):
        chip = program(*bound, KEY, X, **(KEYWORDS | {"mask": mask}))
    assert chip.time_s == 0
    assert len(summary(*bound, X, **KEYWORDS)) == 1
    assert energy.compare(*bound, X, batch=1, systems=(), **KEYWORDS).macs == 4 * N


def test_what_was_calibrated_with_needs_no_input_to_be_programmed():
    model, variables = convert(Net(), analogsim.preset("pcm")), LINEN[1]
    held = calibrate(model, variables, X, method="max", **KEYWORDS)
    assert float(held["ranges"]["Dense_0"]["analog"]["input"]) == np.abs(A).max()
    batches = [
        Inputs(*jax.tree.map(lambda a, s=s: a[s], (X,)), mask=MASK[s], bias=Shared(BIAS))
        for s in (slice(0, 4), slice(4, N))
    ]
    again = calibrate(model, variables, batches, method="max", factor=2.0, row=2)
    assert float(again["ranges"]["Dense_0"]["analog"]["input"]) == np.abs(A).max()
    assert analogsim.range_report(model, held, X, **KEYWORDS)[0].inputs_clipped == 0
    chip = program(model, held, KEY, factor=2.0, row=2)
    assert chip.cells["Dense_0"]["analog"]["array"].n_in == 4
    sample = held["ranges"]["sample"]
    for back in (copy.deepcopy(sample), sample_from_text(json.loads(json.dumps(sample_text(sample))))):
        assert back == sample
        assert hash(back) == hash(sample)
    zeros, _ = inputs_of(sample.inputs())
    shapes = zeros.call(lambda x, mask, bias: (x["a"].shape, x["b"][0].shape, mask.shape, mask.dtype, bias.shape))
    assert shapes == ((1, 4), (1, 5), (1, N), bool, (N, N))  # what is shared is whole


def test_a_chip_of_a_model_with_such_inputs_is_saved(tmp_path):
    held = {**LINEN[1], "ranges": {"sample": Sample.of(inputs_of(X, KEYWORDS)[0])}}
    options = dict(factor=2.0, row=2)
    chip = program(LINEN[0], held, KEY, **options)
    analogsim.save(tmp_path / "chip", LINEN[0], held, chip, **options)
    found = analogsim.restore(tmp_path / "chip", LINEN[0], **options)
    assert found.variables["ranges"]["sample"] == held["ranges"]["sample"]


def test_training_takes_them_too():
    x, options = FORMS["Inputs"]
    labels = EXPECTED.argmax(axis=1)
    seen = []

    def teacher(x):  # gets what was given, cut to its examples
        seen.append((x.kwargs["mask"].shape, x.kwargs["bias"].value.shape))
        return jnp.zeros((len(x.kwargs["mask"]), N))

    tuned = fine_tune(
        *LINEN, X, labels, key=KEY, epochs=1, batch_size=2, micro_batches=2, teacher=teacher, **KEYWORDS
    )  # fmt: skip
    assert tuned.variables["params"]["Dense_0"]["kernel"].shape == (4, N)
    assert seen[0] == ((N, N), (N, N))
    step = make_step(*LINEN, x, optimizer=optax.sgd(0.0), **options)
    _, found = jax.jit(step)(step.initial_state, x, labels, KEY)
    assert float(found.accuracy) == 1.0  # labels are the largest outputs of this very network
    with pytest.raises(InputError, match=r"mask: holds an array; pass it together with x, as Inputs\(x, mask=...\)"):
        make_step(*LINEN, X, optimizer=optax.sgd(0.0), **KEYWORDS)
    noisy = convert(Net(), Hardware(dac=DAC(noise=0.1)))
    gradients = sensitivity(noisy, LINEN[1], X, labels, key=KEY, chips=1, parameters=("dac.noise",), **KEYWORDS)
    assert float(abs(gradients.data.gradient).max()) > 0


def test_a_sweep_takes_them_and_goes_on_with_the_same_only(tmp_path):
    def swept(mask):
        scores = ChipScores(Net(), LINEN[1], X, EXPECTED, distance, options=KEYWORDS | {"mask": mask})
        return sweep(scores, IDEAL, over={"rows": [4]}, chips=1, key=KEY, path=tmp_path / "a.nc", progress=False)

    assert float(swept(MASK).score.max()) < 20 * 2**-20
    assert float(swept(jnp.asarray(MASK)).score.max()) < 20 * 2**-20
    with pytest.raises(InputError, match="differs in the measurement"):
        swept(~MASK)


def test_what_is_no_array_stays_what_it_is():
    x, options = inputs_of(
        (np.ones((2, 3)), 0.5, "mean", None), {"train": False, "ids": Shared([1, 2]), "names": ["a"]}
    )
    assert options == {"train": False, "names": ["a"]}
    args = x.call(lambda *args, ids: (*args[1:], ids.tolist()))
    assert args == (0.5, "mean", None, [1, 2])
    assert inputs_of([[1, 2], [3, 4]])[0].call(lambda a: a.shape) == (2, 2)
    assert jax.tree.structure(inputs_of((A, 1))[0]) != jax.tree.structure(inputs_of((A, 1.0))[0])


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (X, dict(mask=MASK[:3], bias=Shared(BIAS)), r"x: shapes .*: must be \[n, \.\.\.\], .* analogsim\.Shared"),
        (X, dict(mask=MASK, bias=np.array(1.0)), r"x: shapes .*\(\).*analogsim\.Shared"),
        (Inputs(X, mask=MASK), dict(mask=MASK, bias=Shared(BIAS)), "mask: is given twice"),
        ([A, B], {}, r"x = list: must be an array, a tuple of inputs, or Inputs"),
        ({"a": A, "b": object()}, {}, r"x\['b'\] = object: must be an array of numbers"),
        ((A, np.array(["a"] * N)), {}, r"x\[1\] = ndarray: must be an array of numbers"),
        ("a", {}, "x = str: must be an array of numbers"),
        ({"a": A[:0], "b": [B[:0]]}, dict(mask=MASK[:0], bias=Shared(BIAS)), "must hold at least one example"),
    ],
)  # fmt: skip
def test_what_is_no_input_is_refused_in_one_sentence(x, options, message):
    with pytest.raises(InputError, match=message):
        evaluate(*LINEN, x, LABELS, key=KEY, chips=1, times=(0.0,), **options)
