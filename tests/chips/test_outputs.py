"""A metric is given all that a model returns, for all examples, however the work is cut; or the model is refused."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import ADC, ChipScores, Hardware, InputError, convert, evaluate, preset, sweep
from analogsim.chips.metrics import accuracy

N, TOKENS, CLASSES = 6, 4, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, TOKENS, 5)).astype(np.float32)
KERNEL = RNG.normal(size=(5, CLASSES)).astype(np.float32)
VARIABLES = {"params": {"Dense_0": {"kernel": KERNEL}}}
LOGITS = X @ KERNEL  # [N, TOKENS, CLASSES]
LABELS = np.where(RNG.random((N, TOKENS)) < 0.5, LOGITS.argmax(-1), 0)
ROUNDING = 30 * 2**-20  # sums of five products below 30 in float32


class Net(nn.Module):
    """One layer over tokens, whose outputs leave it in a form of the caller's choice."""

    form: str

    @nn.compact
    def __call__(self, x):
        y = nn.Dense(CLASSES, use_bias=False)(x)
        return {
            "dictionary": lambda: {"logits": y, "pooled": y.mean(axis=1)},
            "tuple": lambda: (y.mean(axis=1), {"all": [y]}),
            "tokens": lambda: y.reshape(-1, CLASSES),
            "one": lambda: y.mean(axis=(1, 2)),
            "scalar": lambda: y.mean(),
            "time first": lambda: y.swapaxes(0, 1),
            "of the batch": lambda: y - y.mean(axis=0),
            "statistics": lambda: (y[:, 0], y.mean(axis=(0, 1))),
            "nothing": lambda: None,
        }[self.form]()


def run(form, metric, labels=LABELS, hardware="ideal", **options):
    model = convert(Net(form), preset(hardware) if isinstance(hardware, str) else hardware)
    return evaluate(
        model, VARIABLES, X, labels, key=jax.random.key(0), chips=1, times=(0.0,), metric=metric, **options
    )  # fmt: skip


@pytest.mark.parametrize(
    ("form", "metric", "expected"),
    [
        ("dictionary", lambda o, t: accuracy(o["logits"], t), (LOGITS.argmax(-1) == LABELS).mean()),
        ("dictionary", lambda o, t: jnp.max(jnp.abs(o["pooled"] - LOGITS.mean(1))), 0),
        ("tuple", lambda o, t: jnp.max(jnp.abs(o[1]["all"][0] - LOGITS) + jnp.abs(o[0] - LOGITS.mean(1))[:, None]), 0),
        ("tokens", lambda o, t: accuracy(o, t.reshape(-1)), (LOGITS.argmax(-1) == LABELS).mean()),
        ("tokens", lambda o, t: jnp.max(jnp.abs(o - LOGITS.reshape(-1, CLASSES))), 0),
        ("one", lambda o, t: jnp.max(jnp.abs(o - LOGITS.mean((1, 2)))), 0),
    ],
    ids=["dictionary", "pooled", "tuple", "tokens", "order of tokens", "one number each"],
)
def test_the_metric_gets_the_whole_output_of_every_example(form, metric, expected):
    found = run(form, metric, batch_size=4)
    for score in (float(found.digital), float(found.score.max())):
        assert score == pytest.approx(expected, abs=ROUNDING)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("scalar", r"output: has shape \(\) for one example and \(\) for two: .* batched=True"),
        ("time first", r"output: has shape \(4, 1, 3\) for one example and \(4, 2, 3\) for two: its first axis"),
        ("statistics", r"output\[1\]: has shape \(3,\) for one example and \(3,\) for two"),
        ("nothing", "output: the model returns no array"),
    ],
)
def test_outputs_without_examples_are_refused_by_name(form, message):
    with pytest.raises(InputError, match=message):
        run(form, lambda o, t: 0.0)
    scores = ChipScores(Net(form), VARIABLES, X, LABELS, lambda o, t: 0.0)
    with pytest.raises(InputError, match=message):
        sweep(scores, preset("ideal"), over={"rows": [4]}, chips=1, key=jax.random.key(0), progress=False)


def test_a_model_that_looks_at_its_batch_sees_one_example_or_all():
    # y - mean(y) over the batch: nothing of a single example, whatever the batch size; with batched=True, all of x.
    largest = lambda o, t: jnp.max(jnp.abs(o))  # noqa: E731
    whole = np.abs(LOGITS - LOGITS.mean(axis=0)).max()
    for size in (1, 4):
        assert float(run("of the batch", largest, batch_size=size).digital) == 0
    found = run("of the batch", largest, batched=True)
    assert float(found.digital) == pytest.approx(whole, abs=ROUNDING)
    assert float(found.score.max()) == pytest.approx(whole, abs=ROUNDING)
    assert float(run("scalar", lambda o, t: o, batched=True).score.max()) == pytest.approx(LOGITS.mean(), abs=ROUNDING)
    scores = ChipScores(Net("scalar"), VARIABLES, X, LABELS, lambda o, t: o, batched=True)
    swept = sweep(scores, preset("ideal"), over={"rows": [4]}, chips=1, key=jax.random.key(0), progress=False)
    assert float(swept.score.max()) == pytest.approx(LOGITS.mean(), abs=ROUNDING)
    with pytest.raises(InputError, match="batch_size = 4: has no effect with batched=True"):
        run("scalar", lambda o, t: o, batched=True, batch_size=4)
    with pytest.raises(InputError, match="batched = 1: must be True or False"):
        run("scalar", lambda o, t: o, batched=1)


def test_every_example_has_noise_of_its_own_in_either_way():
    # A converter's noise of 0.1 of full scale: of N TOKENS CLASSES numbers no two have the same error.
    hardware = Hardware(adc=ADC(bits=24, range=20.0, noise=0.1))
    nearest = lambda o, t: jnp.min(jnp.diff(jnp.sort((o["logits"] - LOGITS).ravel())))  # noqa: E731
    for batched in (False, True):
        assert float(run("dictionary", nearest, hardware=hardware, batched=batched).score.max()) > 1e-5


def test_accuracy_asks_for_one_array():
    with pytest.raises(InputError, match=r"outputs = dict: accuracy takes one array; select it with metric=lambda"):
        run("dictionary", accuracy)
