"""Accuracy of sampled, ageing chips: the numbers belong to a key, not to how the work is cut up."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import ADC, DAC, Hardware, InputError, calibrate, evaluate, preset, program
from analogsim.chips.evaluation import accuracy
from analogsim.devices import Crossbar, DigitalMemory, ReRAM
from analogsim.linen import AnalogDense

N = 20
TIMES = ("1 s", "1 day")

#: Random cells, reads and conversions; no staircase that would turn a rounding difference into a whole code.
HARDWARE = Hardware(store=Crossbar(cell=ReRAM()), rows=5, adc=ADC(bits=24, range=20.0, noise=0.1))


class Tiny(nn.Module):
    """One analog layer: 8 inputs, 3 classes."""

    hardware: Hardware

    @nn.compact
    def __call__(self, x):
        return AnalogDense(3, hardware=self.hardware)(x)


def mean_output(outputs, labels):
    """A score that shows every rounding."""
    return jnp.mean(outputs[:, 0] * (1 + labels))


@pytest.fixture(scope="module")
def data():
    """Inputs, labels and a plain kernel."""
    random = np.random.default_rng(1)
    x, kernel = (random.normal(size=shape).astype(np.float32) for shape in ((N, 8), (8, 3)))
    variables = {"params": {"Dense_0": {"kernel": kernel, "bias": np.ones(3, np.float32)}}}
    return variables, x, np.arange(N) % 3


def scores(data, hardware=HARDWARE, **options):
    """``[compensation, chip, time]``."""
    variables, x, labels = data
    options = dict(key=jax.random.key(3), chips=3, times=TIMES, metric=mean_output) | options
    return evaluate(Tiny(hardware), variables, x, labels, **options).score.values


@pytest.fixture(scope="module")
def reference(data):
    """Three chips, everything at once."""
    return scores(data)


def test_every_chip_time_and_read_differs(reference):
    assert reference.shape == (1, 3, 2)
    assert np.unique(reference).size == 6


@pytest.mark.parametrize("options", [dict(batch_size=1), dict(batch_size=7, chip_batch_size=2)], ids=str)
def test_scores_do_not_depend_on_how_the_work_is_cut(data, reference, options):
    np.testing.assert_allclose(scores(data, **options), reference, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("chips", [1, 21])
def test_a_chip_is_the_same_however_many_there_are(data, reference, chips):
    # 21 chips run in blocks of two, the last one past the end.
    more = scores(data, chips=chips)
    assert more.shape == (1, chips, 2)
    np.testing.assert_allclose(more[:, :3], reference[:, :chips], rtol=1e-5, atol=1e-5)
    assert np.unique(more).size == more.size


def test_every_example_chip_and_time_has_its_own_noise_and_compensations_share_it():
    # Exact cells, equal inputs: what varies is the noise of the converter alone, 0.1 of the largest weight and input.
    n, std = 2000, 0.1 * 2 * 3
    variables = {"params": {"Dense_0": {"kernel": np.full((8, 3), 2.0, np.float32), "bias": np.zeros(3, np.float32)}}}
    deviation = evaluate(
        Tiny(Hardware(adc=ADC(bits=24, range=20.0, noise=0.1))), variables, np.full((n, 8), 3, np.float32), np.zeros(n),
        key=jax.random.key(5), chips=2, times=(1.0, 2.0), compensation=("none", "global"),
        metric=lambda outputs, labels: outputs[:, 0].std(),
    ).score.values  # fmt: skip
    assert np.all(np.abs(deviation / std - 1) < 4 / np.sqrt(2 * n))
    assert np.unique(deviation[0]).size == 4  # two chips, two times
    np.testing.assert_array_equal(deviation[0], deviation[1])


def test_another_key_is_another_set_of_chips(data, reference):
    assert not np.any(np.isclose(scores(data, key=jax.random.key(4)), reference, rtol=1e-6))


def test_every_chip_is_fabricated_anew_and_read_at_any_age(data):
    # Without noise of reading, a score is that of the cells alone: three chips, each with two ages in either order.
    quiet = HARDWARE.replace(adc=None)
    forward = scores(data, quiet, times=("1 s", "1 day"))
    backward = scores(data, quiet, times=(86400, "1 s"))
    np.testing.assert_allclose(backward[..., ::-1], forward, rtol=1e-5)
    assert np.unique(np.round(forward, 3)).size == 6


def test_the_noise_of_a_read_follows_from_its_time_not_from_its_neighbours(data):
    # Converters are noisy here: the same day gives the same score, wherever it stands in the list and alone.
    forward, backward, alone = (scores(data, times=t) for t in (("1 s", "1 day"), ("1 day", "1 s"), (86400.0,)))
    np.testing.assert_allclose(backward[..., ::-1], forward, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(alone[..., 0], forward[..., 1], rtol=1e-5, atol=1e-5)


def test_compensations_are_compared_on_the_same_chips(data):
    variables, x, labels = data
    result = evaluate(
        Tiny(preset("pcm", **{"adc.bits": 24})), variables, x, labels, key=jax.random.key(3), chips=2, times=["1 year"],
        compensation=("global", "none"), metric=lambda outputs, labels: jnp.abs(outputs - 1).mean(),
    )  # fmt: skip
    assert list(result.compensation.values) == ["global", "none"]
    score, exact = result.score.values[:, :, 0], float(result.digital)
    # nu is 0.05 to 0.1 and more: half to three quarters of the signal is lost after a year, and restored.
    assert np.all(np.abs(score[0] / exact - 1) < 0.25)
    assert np.all((score[1] / exact > 0.2) & (score[1] / exact < 0.6))


def test_deterministic_hardware_scores_like_numpy(data):
    variables, x, labels = data
    hardware = Hardware(store=DigitalMemory(bits=3), dac=DAC(bits=3))
    result = evaluate(Tiny(hardware), variables, x, labels, key=jax.random.key(3), chips=2, times=(0.0,))
    w, a = (np.asarray(v, np.float64) for v in (variables["params"]["Dense_0"]["kernel"], x))
    scale, largest = np.abs(w).max(axis=0), np.abs(a).max(axis=1, keepdims=True)
    outputs = np.round(a / largest * 3) @ np.round(w / scale * 3) * scale * largest / 9 + 1
    np.testing.assert_allclose(result.score, np.mean(outputs.argmax(1) == labels), rtol=1e-6)
    assert float(result.digital) == pytest.approx(np.mean((a @ w + 1).argmax(1) == labels))


def test_the_dataset_says_what_it_holds(data):
    variables, x, labels = data
    seen = []
    result = evaluate(
        Tiny(HARDWARE), variables, x, labels, key=jax.random.key(3), chips=3, times=TIMES, metric=mean_output,
        on_progress=seen.append,
    )  # fmt: skip
    assert result.score.dims == ("compensation", "chip", "time")
    np.testing.assert_array_equal(result.time, [1.0, 86400.0])
    assert list(result.time_label.values) == ["1 s", "1 day"]
    assert result.time.attrs["units"] == "s"
    assert list(result.compensation.values) == ["none"]
    assert sum(seen) == 3


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(key=0), r"key = 0: must be a random key, for example jax.random.key\(0\)"),
        (dict(key=None), "key = None: must be a random key"),
        (dict(key=jnp.zeros(2)), "key = .*: must be a random key"),
        (
            dict(key=jax.random.split(jax.random.key(0), 3)),
            r"key: an array of keys of shape \(3,\): must be one key; .*n",
        ),
        (dict(key=jnp.zeros(5, jnp.uint32)), "key = "),
        (dict(times=("-1 s",)), "time = .*: must be finite and at least 0"),
        (dict(times=("3 fortnights",)), "time = '3 fortnights': unknown unit"),
        (dict(times=("1 month",)), r"layer Dense_0: time = 2.6298e\+06: .* data only from 0 to 172800"),
        (dict(times=(float("nan"),)), "time = nan: must be finite"),
        (dict(times=(np.float32(-5),)), "time = "),
        (dict(times=()), "times = "),
        (dict(times="1 day"), "times = "),
        (dict(times=1.0), "times = 1.0: must be a sequence of times"),
        (dict(times=(1, "1 s")), r"times = \(1, '1 s'\): 1 s is given more than once"),
        (dict(times=(1e30,)), r"time = 1e\+30: must be at most 1e\+12"),
        (dict(chips=0), "chips = 0: must be an integer of at least 1"),
        (dict(chips=2.5), "chips = 2.5: must be an integer"),
        (dict(batch_size=-1), "batch_size = -1: must be an integer of at least 1"),
        (dict(chip_batch_size=0), "chip_batch_size = 0: must be an integer of at least 1"),
        (dict(chip_batch_size=-2), "chip_batch_size = -2: must be an integer of at least 1"),
        (
            dict(compensation="globl"),
            "compensation = 'globl': must be one of none, global, column; did you mean 'global'?",
        ),
        (dict(compensation=()), r"compensation = \(\)"),
        (dict(compensation=("none", 3)), "compensation = 3: must be one of none, global"),
        (dict(compensation=True), "compensation = True: must be one of none, global, column$"),
        (dict(compensation=("global", "global")), "'global' is given more than once"),
        (dict(compensation=("none", None)), r"'none' is given more than once \(None stands for 'none'\)"),
        (dict(metric="accuracy"), r"metric = 'accuracy': must be a function metric\(outputs, labels\)"),
        (dict(metric=None), "metric = None: must be a function"),
        (dict(metric=lambda o, t: jnp.argmax(o, -1) == t), r"metric: returns shape \(20,\): must be one number"),
        (dict(metric=lambda o, t: np.mean(np.asarray(o))), "metric: .* write it with jax.numpy instead of numpy"),
        (dict(metric=lambda o, t: float(jnp.mean(o))), r"metric: .* without float\(\)"),
        (dict(metric=lambda o, t: 1.0 if o[0, 0] > 0 else 0.0), "metric: .* 'if' on values"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_options_are_refused(data, options, message):
    with pytest.raises(InputError, match=message):
        scores(data, **options)


@pytest.mark.parametrize(
    ("x", "labels", "message"),
    [
        (np.ones((20, 8)), np.zeros((20, 1)), r"labels: shape \(20, 1\): .* shape \(20,\) for outputs"),
        (np.ones((20, 8)), np.eye(3)[np.arange(20) % 3], r"labels: shape \(20, 3\): .* with labels.argmax\(-1\)"),
        (np.ones((0, 8)), np.zeros(0), r"x: shape \(0, 8\): must hold at least one example"),
        (np.ones(()), np.zeros(1), r"x: shapes \[\(\)\]: must be \[n, \.\.\.\]"),
        ((np.ones((20, 8)), np.ones((10, 8))), np.zeros(20), r"x: shapes .*: must be \[n, \.\.\.\], with the same n"),
    ],
)  # fmt: skip
def test_data_that_would_give_a_wrong_accuracy_are_refused(data, x, labels, message):
    with pytest.raises(InputError, match=message):
        evaluate(Tiny(HARDWARE), data[0], x, labels, key=jax.random.key(3), chips=1, times=(1.0,))


def test_accuracy_counts_every_label_of_a_sequence():
    outputs = np.array([[[1.0, 2], [3, 1]], [[0, 1], [0, 1]]])  # largest: 1, 0; 1, 1
    assert float(accuracy(outputs, np.array([[1, 0], [0, 1]]))) == 0.75
    with pytest.raises(InputError, match="give another metric"):  # the largest of one output is always the first
        accuracy(np.ones((4, 1)), np.zeros(4))


def test_weights_that_are_no_numbers_are_refused(data):
    variables, x, labels = data
    for bad in (np.nan, np.inf):
        broken = jax.tree.map(np.copy, variables)
        broken["params"]["Dense_0"]["kernel"][2, 1] = bad
        for attempt in (
            lambda v: evaluate(Tiny(HARDWARE), v, x, labels, key=jax.random.key(3), chips=1, times=(1.0,)),
            lambda v: program(Tiny(HARDWARE), v, jax.random.key(3), x),
        ):
            with pytest.raises(InputError, match=r"layer Dense_0: its weights hold NaN or infinity"):
                attempt(broken)


def test_mismatched_labels_and_models_without_analog_layers_are_refused(data):
    variables, x, labels = data
    with pytest.raises(InputError, match=r"labels: shape \(19,\) does not match 20 examples in x"):
        evaluate(Tiny(HARDWARE), variables, x, labels[:-1], key=jax.random.key(3), chips=1)
    with pytest.raises(InputError, match="the model has no analog layer"):
        evaluate(Tiny(None), variables, x, labels, key=jax.random.key(3), chips=1)
    with pytest.raises(InputError, match=r"must be a flax\.linen or flax\.nnx module"):
        evaluate(None, variables, x, labels, key=jax.random.key(3), chips=1)
    with pytest.raises(InputError, match="must be a Linen model's variables"):
        evaluate(Tiny(HARDWARE), {}, x, labels, key=jax.random.key(3), chips=1)


@pytest.mark.parametrize("columns", [3, 2])
def test_calibrated_ranges_are_those_of_the_quantiles(data, columns):
    variables, x, _ = data
    hardware = Hardware(rows=4, columns=columns, dac=DAC(), adc=ADC())
    ranges = calibrate(Tiny(hardware), variables, x, quantile=0.9, margin=1.25)["ranges"]["Dense_0"]["analog"]
    a, w = (np.asarray(v, np.float64) for v in (x, variables["params"]["Dense_0"]["kernel"]))
    bound = np.quantile(np.abs(a), 0.9)
    # Two tiles along the inputs; a column that a tile has but the matrix has not is never converted.
    code = np.round(np.clip(a / bound, -1, 1) * 127) / 127  # what the 8-bit DAC drives
    partial = [code[:, s] @ (w[s] / np.abs(w[s]).max(axis=0)) for s in (slice(0, 4), slice(4, 8))]
    assert float(ranges["input"]) == pytest.approx(bound, rel=1e-5)
    assert float(ranges["output"]) == pytest.approx(1.25 * np.quantile(np.abs(partial), 0.9), rel=1e-5)


def test_a_chip_is_read_at_one_time(data):
    # Two times on three columns would fail deep inside; three would quietly age every column differently.
    variables, x, _ = data
    chip = program(Tiny(HARDWARE), variables, jax.random.key(3), x)
    for times in (np.array([1.0, 10.0, 100.0]), jnp.asarray(np.array([1.0, 10.0, 100.0]))):
        with pytest.raises(InputError, match="time = "):
            chip.at(times)


def test_layers_with_different_settings_of_drift_compensation():
    hardware = Hardware(store=DigitalMemory())
    model = nn.Sequential([AnalogDense(3, hardware=hardware.replace(drift_compensation=c)) for c in ("none", "global")])
    x = jnp.ones((2, 4))
    scored = evaluate(model, model.init(jax.random.key(0), x), x, jnp.zeros(2), key=jax.random.key(1), chips=1,
                      times=["1 s"], metric=mean_output, compensation=[None, "none"])  # fmt: skip
    assert list(scored.compensation.values) == ["hardware", "none"]
