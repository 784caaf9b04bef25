"""Every task is one compiled program or two, and other keys, times, levels and data compile nothing."""

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import nnx

from analogsim import ChipScores, calibrate, convert, evaluate, preset, program, summary, sweep
from analogsim.training import AdditiveNoise, fine_tune, sensitivity
from tests.support.limits import LIMITS

MOST = LIMITS["compilations"]

HARDWARE = preset("pcm", training=AdditiveNoise(std=0.05))
# On the device: a copy of NumPy's arrays is one more program for every shape.
X, OTHER_X = (jax.device_put(a) for a in np.random.default_rng(0).normal(size=(2, 23, 13)).astype(np.float32))
LABELS = jax.device_put(np.arange(23) % 5)
MODEL = convert(nn.Sequential([nn.Dense(7), nn.relu, nn.Dense(5)]), HARDWARE)
WEIGHTS = np.random.default_rng(1)
VARIABLES = {
    "params": {
        name: {"kernel": WEIGHTS.normal(size=shape).astype(np.float32), "bias": np.zeros(shape[1], np.float32)}
        for name, shape in (("layers_0", (13, 7)), ("layers_2", (7, 5)))
    }
}
KEY, OTHER_KEY = jax.random.key(0), jax.random.key(1)


@pytest.fixture
def programs():
    """A function that counts the programs that a call lowers, whether or not the compiler's cache holds them."""
    lowered = []

    def note(event, duration, **_):
        if event == "/jax/core/compile/jaxpr_to_mlir_module_duration":
            lowered.append(event)

    def count(function):
        lowered.clear()
        function()
        return len(lowered)

    jax.monitoring.register_event_duration_secs_listener(note)
    yield count
    jax.monitoring.unregister_event_duration_listener(note)


def test_an_operation_outside_of_a_program_counts(programs):
    x = jax.device_put(np.zeros((3, 11, 7)))
    assert programs(lambda: x + 1) == 1
    assert programs(lambda: x + 2) == 0


def test_chips(programs):
    assert programs(lambda: summary(MODEL, VARIABLES, X)) == MOST["summary"]
    assert programs(lambda: calibrate(MODEL, VARIABLES, X)) <= MOST["calibrate"]
    assert programs(lambda: calibrate(MODEL, VARIABLES, OTHER_X)) == 0
    assert programs(lambda: program(MODEL, VARIABLES, KEY, X)) <= MOST["program"]
    assert programs(lambda: program(MODEL, VARIABLES, OTHER_KEY, OTHER_X).at("1 year").variables) == 0


class NnxNet(nnx.Module):
    """The layers of ``MODEL``, one after the other."""

    def __init__(self, rngs):
        self.first, self.second = nnx.Linear(13, 7, rngs=rngs), nnx.Linear(7, 5, rngs=rngs)

    def __call__(self, x):
        return self.second(nnx.relu(self.first(x)))


def test_calibrating_an_nnx_model(programs):
    model = convert(NnxNet(nnx.Rngs(0)), HARDWARE)
    assert programs(lambda: calibrate(model, None, X)) <= MOST["calibrate"]
    calibrate(model, None, X)  # the first calibration set ranges, which are a part of the model
    assert programs(lambda: calibrate(model, None, OTHER_X)) == 0


def test_calibrating_in_batches(programs):
    calibrate(MODEL, VARIABLES, X, batch_size=9)  # 9, 9 and 5 examples
    assert programs(lambda: calibrate(MODEL, VARIABLES, OTHER_X, batch_size=9)) == 0


def test_evaluations(programs):
    def scores(key, x, times):
        evaluate(MODEL, VARIABLES, x, LABELS, key=key, chips=2, times=times)

    assert programs(lambda: scores(KEY, X, ["1 s"])) <= MOST["evaluate"]
    assert programs(lambda: scores(OTHER_KEY, OTHER_X, ["1 day"])) == 0

    over = lambda levels: {"store.cell.programming_noise": levels}  # noqa: E731
    scored = ChipScores(MODEL, VARIABLES, X, LABELS)
    assert programs(lambda: sweep(scored, over=over([0.5, 1.0]), key=KEY, chips=2)) <= MOST["sweep"]
    assert programs(lambda: sweep(scored, over=over([0.6, 1.2]), key=OTHER_KEY, chips=2)) <= 2


def test_sensitivity(programs):
    def effects(key, x):
        names = ("adc.noise", "adc.bits")
        sensitivity(MODEL, VARIABLES, x, LABELS, key=key, chips=2, parameters=names)

    assert programs(lambda: effects(KEY, X)) <= MOST["sensitivity"]
    assert programs(lambda: effects(OTHER_KEY, OTHER_X)) == 0


@pytest.mark.parametrize("front_end", ["linen", "nnx"])
def test_fine_tuning(programs, front_end):
    model, variables = MODEL, VARIABLES
    if front_end == "nnx":  # converted without rngs: its hooks have no stream of noise before training
        rngs = nnx.Rngs(0)
        model, variables = convert(nnx.Linear(13, 5, rngs=rngs), HARDWARE), None

    def tune(key, x, ramp):
        tuned = fine_tune(model, variables, x, LABELS, key=key, epochs=2, batch_size=8, ramp=ramp)
        assert np.all(np.isfinite(tuned.loss))

    # The teacher's logits, the state of the optimiser, the order of an epoch, a step.
    assert programs(lambda: tune(KEY, X, 0.5)) <= MOST["fine_tune"]
    assert programs(lambda: tune(OTHER_KEY, OTHER_X, 0.25)) == 0


def test_numbers_of_a_description_may_be_arrays():
    def ranges(bits):
        model = convert(nnx.Linear(13, 5, rngs=nnx.Rngs(0)), HARDWARE.replace(**{"dac.bits": bits, "adc.bits": bits}))
        calibrate(model, None, X)
        return [float(a) for a in jax.tree.leaves(nnx.state(model)) if a.dtype == np.float32 and a.ndim == 0]

    known = ranges(8)
    assert len(known) >= 2
    assert ranges(jax.numpy.asarray(8)) == known
