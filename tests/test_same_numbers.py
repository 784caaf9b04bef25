"""Twenty results, taken from every part of the program, are what they were.

The expected values are recorded from the program itself: this file only guards against unintended change, as when files
move and names change. That results are right is tested elsewhere. Values that change on purpose are recorded anew:

    python tests/test_same_numbers.py --record     # prints every difference, and writes tests/data/same_numbers.json

Records are taken field by field in their order, without the fields' names and without words, so that renaming changes
nothing here but imports.
"""

import argparse
import dataclasses
import hashlib
import json
import pathlib
import tempfile
import tomllib

import jax
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

EXPECTED = pathlib.Path(__file__).parent / "data" / "same_numbers.json"

#: Relative to an array's largest number. float32 rounds to 6e-8, and XLA fuses, contracts and approximates differently
#: for every instruction set and level of optimisation: results move by up to 1.6e-6 between -O0, -O2 and AVX2. One code
#: of a converter of 20 bits, which rounding may move, is 2e-6 of its range.
TOLERANCE = 2e-5
#: A bank's variance is of what its locks leave, small differences of large numbers: it moves by 2.7e-5.
LARGER_TOLERANCES = {"ring_bank": 2e-4}
#: What is counted, drawn or summed without XLA's arithmetic.
EXACT = ("descriptions", "draws_of_a_sweep")

RESULTS = {}


def result(function):
    """Add a function of one key, which returns named arrays, to the results."""
    RESULTS[function.__name__] = function
    return function


def grid(*shape):
    """Numbers in [-1, 1) by integer arithmetic, the same on every machine."""
    steps = np.arange(1, 1 + int(np.prod(shape))) * 7919 % 10007
    return np.float32(2 * steps / 10007 - 1).reshape(shape)


def numbers(record):
    """The numbers of a nested record in the order of its fields; words and what is absent are left out."""
    if dataclasses.is_dataclass(record):
        record = [getattr(record, f.name) for f in dataclasses.fields(record)]
    if isinstance(record, dict):
        record = list(record.values())
    if isinstance(record, (tuple, list)):
        return [number for part in record for number in numbers(part)]
    return [] if record is None or isinstance(record, str) else np.ravel(record).astype(float).tolist()


def digest(strings):
    return hashlib.sha256("\n".join(strings).encode()).hexdigest()


MLP = nn.Sequential([nn.Dense(6), nn.relu, nn.Dense(3)])
PARAMS = {"params": {"layers_0": {"kernel": grid(8, 6), "bias": grid(6)},
                     "layers_2": {"kernel": grid(6, 3), "bias": grid(3)}}}  # fmt: skip
X, LABELS = grid(12, 8), np.arange(12) % 3


def score(outputs, labels):
    """Unlike accuracy, it shows every rounding."""
    return (outputs[:, 0] * (1 + labels)).mean()


def on_hardware(plain=MLP, variables=PARAMS, **changes):
    """A model on PCM, with converters so fine that rounding elsewhere seldom moves one of their codes by much."""
    from analogsim import calibrate, convert, preset

    model = convert(plain, preset("pcm", **{"adc.bits": 20, "dac.bits": 20} | changes))
    return model, calibrate(model, variables, X)


def layer_on_hardware():
    return on_hardware(nn.Dense(3), {"params": {"kernel": grid(8, 3), "bias": grid(3)}})


def stored(store, key, weights, time_s):
    """Mean and variance of what a store holds, and one sampled read."""

    @jax.jit
    def both(store, key):
        first, second = jax.random.split(key)
        state = store.program(first, weights)
        moments = store.read(state, time_s)
        return {"mean": moments.mean, "variance": moments.variance, "read": store.read(state, time_s, second).mean}

    return {part: array for part, array in both(store, key).items() if array is not None}


@result
def pcm_crossbar(key):
    from analogsim.devices import PCM, Crossbar

    return stored(Crossbar(cell=PCM()), key, grid(6, 4), 86400.0)


@result
def reram_with_faults(key):
    from analogsim.devices import BitSlices, Crossbar, Differential, Faults, ReRAM

    mapping = Differential(slices=BitSlices(widths=(2, 2)))
    return stored(Crossbar(cell=ReRAM(), mapping=mapping, faults=Faults(stuck_off=0.1)), key, grid(6, 4), 3600.0)


@result
def mzi_mesh(key):
    from analogsim.devices import MZIMesh

    return stored(MZIMesh(), key, grid(4, 4), 0.0)


@result
def ring_bank(key):
    from analogsim.devices import RingBank

    return stored(RingBank(), key, grid(4, 3), 0.0)


@result
def fading_light(key):
    from analogsim.devices import DelayLine, FadingLight

    return stored(FadingLight(medium=DelayLine()), key, grid(4, 3), 1e-5)


@result
def amplitude_store(key):
    from analogsim.devices import AmplitudeStore

    return stored(AmplitudeStore(), key, grid(4, 3), 1e-6)


@result
def sar_adc(key):
    from analogsim.converters import SARADC

    adc = SARADC(bits=8, capacitor_mismatch=0.02, comparator_offset=0.02)
    codes = jax.jit(lambda key, y: adc.convert(y, 1.0, adc.fabricate(key, 3)))(key, grid(40, 3))
    return {"converted": codes}


@result
def tensor_train(key):
    from analogsim.codecs import TensorTrain, compress

    kernel = grid(24, 16) + np.float32(0.1) * np.asarray(jax.random.normal(key, (24, 16)))
    variables = {"params": {"kernel": kernel, "bias": grid(16)}}
    slim = compress(nn.Dense(16), variables, grid(2, 24), TensorTrain(cores=2, rank=4))
    return {"outputs": jax.jit(slim.model.apply)(slim.variables, grid(2, 24))}


@result
def program_matrix(key):
    from analogsim import preset, program_matrix

    hardware = preset("reram", **{"adc.bits": 20, "dac.bits": 20}, rows=4, columns=4)
    pair = program_matrix(grid(6, 8), hardware, key=key, inputs=X).at("1 day")
    return {"forward": pair.forward(X, key=key)}


@result
def linen_layer_in_training(key):
    from analogsim import preset
    from analogsim.linen import AnalogDense
    from analogsim.training import DeviceNoise

    layer = AnalogDense(3, hardware=preset("pcm", **{"adc.bits": 20, "dac.bits": 20}, training=DeviceNoise(time_s=60)))

    @jax.jit
    def loss(kernel, key):
        outputs = layer.apply({"params": {"kernel": kernel, "bias": grid(3)}}, X, rngs={"analog": key})
        return (outputs**2).mean(), outputs

    gradient, outputs = jax.grad(loss, has_aux=True)(grid(8, 3), key)
    return {"outputs": outputs, "gradient": gradient}


@result
def nnx_convolution(key):
    from analogsim import preset
    from analogsim.nnx import AnalogConv

    @jax.jit
    def run(key):
        hardware = preset("pcm", **{"adc.bits": 20, "dac.bits": 20})
        layer = AnalogConv(2, 3, (2,), hardware=hardware, rngs=nnx.Rngs(params=key, analog=key))
        layer.kernel[...] = grid(2, 2, 3)
        return layer(grid(2, 5, 2))

    return {"outputs": run(key)}


@result
def chip_saved_and_aged(key):
    from analogsim import program, restore, save

    model, variables = layer_on_hardware()
    chip = program(model, variables, key)
    with tempfile.TemporaryDirectory() as folder:
        save(pathlib.Path(folder) / "chip", model, variables, chip)
        chip = restore(pathlib.Path(folder) / "chip", model).chip
    run = jax.jit(model.apply)
    return {time: run(chip.at(time).variables, X, rngs={"analog": key}) for time in ("1 day", "1 year")}


@result
def ranges(key):
    from analogsim import calibrate, convert, preset, range_report

    model = convert(MLP, preset("pcm"))
    variables = calibrate(model, PARAMS, X + np.asarray(jax.random.uniform(key, (12, 8))), method="percentile")
    return {"report": numbers(list(range_report(model, variables, X)))}


@result
def evaluation(key):
    from analogsim import evaluate

    model, variables = layer_on_hardware()
    scores = evaluate(model, variables, X, LABELS, key=key, chips=3, times=("1 year",), metric=score)
    return {"score": scores.score.values, "exact": scores.digital.values}


@result
def draws_of_a_sweep(key):
    from analogsim import preset, sweep

    def evaluate(hardware, key):
        return {"draw": jax.random.uniform(key) + 0 * hardware.adc.noise}

    table = sweep(evaluate, preset("pcm"), over={"adc.noise": [0.0, 0.5]}, chips=3, key=key, progress=False)
    return {"draw": table.draw.values}


@result
def fine_tuning(key):
    from analogsim import LearnedRange
    from analogsim.training import AdditiveNoise, fine_tune

    model, variables = on_hardware(training=AdditiveNoise(std=0.05), input_range=LearnedRange())
    tuned = fine_tune(model, variables, X, LABELS, key=key, epochs=1, batch_size=6)
    return {"kernel": tuned.variables["params"]["layers_0"]["kernel"], "loss": tuned.loss}


@result
def sensitivities(key):
    from analogsim.training import sensitivity

    model, variables = layer_on_hardware()
    effects = sensitivity(model, variables, X, LABELS, key=key, chips=2, parameters=["store.cell.drift"])
    return {"ranking": numbers(effects.ranking)}


@result
def energy_and_carbon(key):
    from analogsim import energy

    model, variables = on_hardware()
    x = X + np.asarray(jax.random.uniform(key, (12, 8)))
    comparison = energy.compare(model, variables, x, systems=("Eyeriss", "brain"), batch=(1,))
    embodied = energy.carbon.embodied(comparison.arrays.area_m2, "28nm")
    life = energy.lifecycle(comparison.hardware, inferences=1e14, country="DE", embodied=embodied)
    return {
        **{
            f"breakdown {i}": (b.energy_low_j, b.energy_typical_j, b.energy_high_j)
            for i, b in enumerate(comparison.breakdowns)
        },
        "cells": [energy.inference_j(model, variables, x, components=("cells",))],
        "life": life.energy_j,
        "embodied": numbers(embodied)[:3],
    }


@result
def storage(key):
    from analogsim import preset
    from analogsim.storage import storage

    seed = int(jax.random.randint(key, (), 0, 1000))
    (row,) = storage(1000, stores=[preset("pcm")], time=3600, key=seed).rows
    return {str(i): number for i, number in enumerate(numbers(row)) if np.isfinite(number)}


@result
def descriptions(key):
    from analogsim import cite, preset, to_toml

    names = "pcm", "reram", "mzi-mesh", "ring-bank", "photonic-pcm", "quantum-register"
    files = [tomllib.loads(to_toml(preset(name), all_fields=True)) for name in names]
    seed = jax.random.bits(key).item()
    return {
        "values": [number for file in files for number in numbers(file)],
        "papers": [digest([paper.key + paper.doi for paper in cite(preset(name)).papers]) for name in names],
        "bits": [seed],
    }


def computed(name, seed=20):
    """A result as JSON holds it: lists of numbers or strings."""
    arrays = RESULTS[name](jax.random.key(seed))
    return {part: np.ravel(np.asarray(array)).tolist() for part, array in arrays.items()}


def expected():
    return json.loads(EXPECTED.read_text())


def assert_same(name, found, recorded):
    """Every array has the numbers that were recorded, to rounding."""
    assert list(found) == list(recorded)
    for part, values in recorded.items():
        where = f"{name}, {part}"
        if name in EXACT:
            assert found[part] == values, where
        else:
            bound = LARGER_TOLERANCES.get(name, TOLERANCE) * np.max(np.abs(values))
            np.testing.assert_allclose(found[part], values, rtol=0, atol=bound, err_msg=where)


@pytest.mark.parametrize("name", RESULTS)
def test_numbers_are_what_they_were(name):
    assert_same(name, computed(name), expected()[name])


def test_every_result_is_recorded():
    assert list(expected()) == list(RESULTS)
    assert len(RESULTS) == 20


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="write what is found, instead of comparing alone")
    parser.add_argument("--seed", type=int, default=20, help="another key, to see what fails; is never recorded")
    options = parser.parse_args()
    if options.record and options.seed != 20:
        parser.error("--record: results are recorded of the seed 20 alone")
    found = {name: computed(name, options.seed) for name in RESULTS}
    recorded = expected() if EXPECTED.exists() else {}
    differ = []
    for name in {**recorded, **found}:
        try:
            assert_same(name, found.get(name, {}), recorded.get(name, {}))
        except AssertionError as error:
            differ.append(name)
            print(f"{name} differs: {error}\n")
    print(f"{len(found) - len(set(differ) & set(found))} of {len(found)} results are as recorded; differ: {differ}")
    if options.record and found != recorded:
        EXPECTED.parent.mkdir(exist_ok=True)
        EXPECTED.write_text(json.dumps(found, indent=1) + "\n")
        print(f"written: {EXPECTED}")
    return bool(differ) and not options.record


if __name__ == "__main__":
    raise SystemExit(main())
