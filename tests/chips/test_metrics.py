"""Scores that are no numbers are refused; metrics in Python give what compiled ones give."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import ADC, ChipScores, Hardware, InputError, Shared, convert, evaluate, preset, sweep
from analogsim.chips.metrics import accuracy, on_numpy

N = 12
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 5)).astype(np.float32)
KERNEL = RNG.normal(size=(5, 3)).astype(np.float32)
VARIABLES = {"params": {"Dense_0": {"kernel": KERNEL, "bias": np.zeros(3, np.float32)}}}
LABELS = np.arange(N) % 3
KEY = jax.random.key(0)

#: Conversions with noise, so that every chip, time and example scores differently.
NOISY = Hardware(adc=ADC(bits=24, range=20.0, noise=0.1))


class Net(nn.Module):
    """A layer, and what makes its outputs no numbers."""

    break_it: str = ""

    @nn.compact
    def __call__(self, x, mask=None):
        y = nn.Dense(3)(x)
        if self.break_it == "root":
            y = jnp.sqrt(y - 100)
        return y if mask is None else y + mask


def run(x=X, labels=LABELS, hardware=NOISY, model=None, variables=VARIABLES, **options):
    options = dict(key=KEY, chips=2, times=("1 s", "1 h")) | options
    return evaluate(convert(model or Net(), hardware), variables, x, labels, **options)


def at(array, index, value):
    array = np.array(array, np.float64)
    array[index] = value
    return array


# --- numbers that go in ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (at(LABELS, 4, 99), r"labels: 99.0 at \[4\]: must be an integer between 0 and 2, a class"),
        (np.where(LABELS == 2, 3, LABELS), r"labels: 3 at \[2\]: must be an integer between 0 and 2"),
        (LABELS - 1, r"labels: -1 at \[0\]: must be an integer"),
        (at(LABELS, 7, 0.5), r"labels: 0.5 at \[7\]: must be an integer"),
        (at(LABELS, 7, np.nan), r"labels: nan at \[7\]: must be finite"),
        (np.array(["cat"] * N), "labels = ndarray: must be an array of numbers"),
        (5, r"labels: shape \(\) does not match 12 examples"),
    ],
    ids=["too large", "one too large", "negative", "half", "nan", "text", "one"],
)
def test_labels_that_are_no_class_are_refused(labels, message):
    with pytest.raises(InputError, match=message):
        run(labels=labels)
    scored = lambda: ChipScores(Net(), VARIABLES, X, labels)  # noqa: E731
    with pytest.raises(InputError, match=message):
        sweep(scored(), NOISY, over={"rows": [4]}, chips=1, key=KEY, progress=False)


def test_inputs_that_are_not_finite_are_refused_by_place():
    for value in (np.nan, np.inf, -np.inf):
        with pytest.raises(InputError, match=rf"x: {value} at \[3, 1\]: must be finite"):
            run(at(X, (3, 1), value))
    mask = np.zeros(3)
    with pytest.raises(InputError, match=r"mask: nan at \[1\]: must be no NaN"):
        run(mask=Shared(at(mask, 1, np.nan)))
    # Masks are made of infinities: with the first two classes masked, the third is always the largest.
    masked = run(mask=Shared(at(mask, [0, 1], -np.inf)), times=(0.0,), chips=1)
    assert float(masked.digital) == pytest.approx(np.mean(LABELS == 2)) == float(masked.score.max())


# --- numbers that come out -------------------------------------------------------------------------------------------


def test_outputs_that_are_no_numbers_are_no_scores():
    # A root of negative numbers: its largest output would be class 0, and right for labels 0.
    with pytest.raises(InputError, match="output: holds NaN on the digital model"):
        run(model=Net("root"), labels=np.zeros(N, int))
    with pytest.raises(InputError, match="output: holds NaN on the digital model"):
        run(model=Net("root"), metric=lambda o, t: np.mean(o.argmax(-1) == t), on_host=True)
    with pytest.raises(
        InputError, match="metric: is inf on the digital model, whose outputs are not NaN: must be finite"
    ):
        run(metric=lambda o, t: 1 / jnp.sum(0 * t))
    with pytest.raises(
        InputError, match=r"output: holds NaN on the digital model; layer Dense_0: its output is the first"
    ):
        run(np.full_like(X, 3e38), labels=np.zeros(N, int))
    outputs = at(np.eye(3)[LABELS], (2, 1), np.nan)
    assert np.isnan(accuracy(outputs, LABELS))
    assert np.isnan(accuracy(np.eye(3)[LABELS], at(LABELS, 0, 7)))
    assert float(accuracy(np.eye(3)[LABELS], LABELS)) == 1.0


def test_a_chip_whose_outputs_are_no_numbers_is_named():
    # The exact outputs are zeros; with noise, half of them are negative and have no root.
    variables = {"params": {"Dense_0": {"kernel": np.eye(5, 3, dtype=np.float32), "bias": np.zeros(3, np.float32)}}}
    x = X * [0, 0, 0, 1, 1]

    class Root(Net):
        @nn.compact
        def __call__(self, x):
            return jnp.sqrt(nn.Dense(3)(x))

    for options in (dict(metric=lambda o, t: jnp.mean(o)), dict(metric=lambda o, t: np.mean(o), on_host=True)):
        with pytest.raises(InputError, match=r"metric: is nan on chip 0 at 1 s \(compensation 'none'\)"):
            run(x, model=Root(), variables=variables, **options)
    scores = ChipScores(Root(), variables, x, LABELS, lambda o, t: jnp.mean(o))
    with pytest.warns(UserWarning, match=r"score: is nan on chip 0 at rows = 4, .*and in 1 more"):
        found = sweep(scores, NOISY, over={"rows": [4]}, chips=2, key=KEY, progress=False)
    assert np.isnan(found.score.values).all()
    assert found.attrs["complete"]


# --- metrics in Python -----------------------------------------------------------------------------------------------


def errors(xp):
    """A number in which every rounding shows, by jax.numpy or NumPy."""
    return lambda o, t: xp.mean(xp.abs(o) * (1 + t)[:, None])


def test_a_metric_in_python_scores_what_a_compiled_one_does():
    compiled = run(metric=errors(jnp), batch_size=5, compensation=("none", "global"))
    seen = []

    def metric(outputs, labels):
        assert type(outputs) is np.ndarray
        assert outputs.shape == (N, 3)
        seen.append(labels)
        return errors(np)(outputs, np.asarray(labels))

    plain = LABELS.tolist()
    found = run(labels=plain, metric=metric, on_host=True, compensation=("none", "global"))
    # Sums of a few numbers below 20 in float32, in another order.
    np.testing.assert_allclose(found.score, compiled.score, rtol=1e-5)
    assert float(found.digital) == pytest.approx(float(compiled.digital), rel=1e-5)
    assert np.unique(found.score.values.round(5)).size == 4  # two chips and times; compensations share their noise here
    assert len(seen) == 9
    assert all(labels is plain for labels in seen)


def test_texts_are_compared_with_texts():
    # Edit distance of decoded words, as it would be of a recogniser: counted by hand here.
    words = np.array(["".join("abc"[i] for i in np.roll(np.arange(3), n)) for n in range(N)], object)

    def metric(outputs, labels):
        decoded = ["".join("abc"[i] for i in row.argsort()[::-1]) for row in outputs]
        return sum(a != b for one, other in zip(decoded, labels, strict=True) for a, b in zip(one, other, strict=True))

    found = run(labels=list(words), metric=metric, on_host=True, hardware=preset("ideal"), chips=1, times=(0.0,))
    order = (X @ KERNEL).argsort(axis=1)[:, ::-1]
    expected = sum(
        "abc"[i] != c for row, word in zip(order, words, strict=True) for i, c in zip(row, word, strict=True)
    )
    assert float(found.digital) == float(found.score.max()) == expected


def test_a_sweep_takes_metrics_in_python_and_goes_on(tmp_path):
    over = {"adc.noise": [0.1, 0.2], "time": ["1 s", "1 h"]}

    def swept(metrics, **options):
        scores = ChipScores(Net(), VARIABLES, X, LABELS, metrics, **options)
        return sweep(scores, NOISY, over=over, chips=2, key=KEY, path=tmp_path / "a.nc", progress=False)

    python = swept({"error": errors(np), "best": lambda o, t: o.max()}, on_host=True)
    again = swept({"error": errors(np), "best": lambda o, t: o.max()}, on_host=True)
    np.testing.assert_array_equal(again.error, python.error)
    with pytest.raises(InputError, match="differs in the measurement"):
        swept({"error": errors(np), "best": lambda o, t: o.min()}, on_host=True)
    (tmp_path / "a.nc").unlink()
    compiled = swept({"error": errors(jnp), "best": lambda o, t: o.max()})
    np.testing.assert_allclose(python.error, compiled.error, rtol=1e-5)
    np.testing.assert_allclose(python.best, compiled.best, rtol=1e-5)
    scores = ChipScores(Net(), VARIABLES, X, LABELS, on_host=True)
    with pytest.raises(InputError, match="chip_batch_size = 2: has no effect with on_host = True"):
        sweep(scores, NOISY, over=over, chips=1, key=KEY, chip_batch_size=2, progress=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(metric=lambda o, t: o.mean(axis=0)), r"metric: returns shape \(3,\): must be one number"),
        (dict(metric=lambda o, t: "good"), "metric: returned 'good': must be one real number"),
        (dict(metric=lambda o, t: None), "metric: returned None: must be one real number"),
        (dict(metric=lambda o, t: 1j), "metric: returned 1j: must be one real number"),
        (dict(labels=LABELS[:-1]), "labels: 11 of them do not match 12 examples in x"),
        (dict(chip_batch_size=2), "chip_batch_size = 2: has no effect with on_host=True"),
        (dict(on_host=1), "on_host = 1: must be True or False"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_no_score_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        run(**(dict(metric=lambda o, t: 0.0, on_host=True) | options))


def test_numbers_of_every_kind_are_scores():
    for score in (1, True, np.float32(1), np.array(1), jnp.asarray(1.0), np.bool_(True)):
        assert on_numpy(lambda o, t, s=score: s, {"y": X}, None) == 1.0
    assert np.isnan(on_numpy(lambda o, t: 1.0, {"y": [at(X, 0, np.nan)]}, None))
