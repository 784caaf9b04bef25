"""Sweeps: the grid, its labels, and numbers that do not depend on how the work is cut."""

import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from sweep_jobs import HARDWARE, OVER, aged, numbers

import analogsim
from analogsim import (
    ADC,
    DAC,
    ChipScores,
    Hardware,
    InputError,
    calibrate,
    chip_statistics,
    convert,
    evaluate,
    preset,
    sweep,
)
from analogsim.devices import PCM, Crossbar, DigitalMemory, ReRAM
from analogsim.linen import AnalogDense
from analogsim.sweeps import SweepStopped, load_results
from tests.support.models import drawn

CELLS = Hardware(store=Crossbar(cell=ReRAM()), rows=5, adc=ADC(bits=24, range=20.0, noise=0.1))
X = np.random.default_rng(1).normal(size=(12, 8)).astype(np.float32)
LABELS = np.arange(12) % 3
MODEL = nn.Dense(3)
VARIABLES = drawn(MODEL, X)


def mean_output(outputs, labels):
    """A score that shows every rounding."""
    return jnp.mean(outputs[:, 0] * (1 + labels))


def norm(outputs, labels):
    """Another."""
    return jnp.sqrt(jnp.mean(outputs**2))


@pytest.fixture(scope="module")
def grid():
    """Every number of this sweep is known: 10 noise + 100 bits + the chip's draw."""
    return sweep(numbers, HARDWARE, over=OVER, chips=3, key=jax.random.key(3), progress=False)


def test_every_point_of_the_grid_has_the_numbers_of_its_labels(grid):
    assert grid["sum"].dims == ("store.cell.programming_noise", "adc.bits", "chip")
    for noise in (0.5, 1.0):
        for bits in (4, 6, 8):
            at = grid.sel({"store.cell.programming_noise": noise, "adc.bits": bits})
            np.testing.assert_allclose(at["sum"] - at["draw"], 10 * noise + 100 * bits, rtol=1e-6)


def test_chips_are_the_same_at_every_point_and_whatever_their_number(grid):
    draws = grid["draw"].values.reshape(-1, 3)
    assert (draws == draws[0]).all()
    assert len(set(draws[0])) == 3
    more = sweep(numbers, HARDWARE, over={"adc.bits": [8]}, chips=5, key=jax.random.key(3), progress=False)
    np.testing.assert_array_equal(more["draw"].values[0, :3], draws[0])


def test_coordinates_carry_units_and_meaning():
    over = {"store.cell.g_max": ["10 uS", "20 uS"], "time": ["1 s", "1 day"]}
    found = sweep(lambda hardware, key, time_s: hardware.store.cell.g_max * time_s, HARDWARE, over=over, chips=1,
                  key=jax.random.key(0), progress=False)  # fmt: skip
    assert found["store.cell.g_max"].attrs["units"] == "S"
    assert found["time"].attrs == {"units": "s", "long_name": "time after programming"}
    assert list(found["time_label"].values) == ["1 s", "1 day"]
    np.testing.assert_allclose(found.score.values[..., 0], np.outer([1e-5, 2e-5], [1, 86400]), rtol=1e-6)
    assert found.attrs["complete"] == 1
    assert "ReRAM" in found.attrs["hardware"]
    assert found.attrs["jax"] == jax.__version__


def test_times_are_found_again_as_they_were_asked_for():
    """Chips are read at float32 times, which 1e-5 is none of; the coordinate is what was asked for."""
    over = {"time": [1e-5, "3 us"]}
    found = sweep(lambda hardware, key, time_s: time_s, HARDWARE, over=over, chips=1, key=jax.random.key(0))
    assert found.score.sel(time=1e-5).item() == pytest.approx(1e-5)
    assert found.score.sel(time=3e-6).item() == pytest.approx(3e-6)
    measured = evaluate(convert(MODEL, HARDWARE), VARIABLES, X, LABELS, key=jax.random.key(0), chips=1, times=[1e-5])
    assert measured.score.sel(time=1e-5).size == 1
    with pytest.raises(InputError, match="more than once"):
        sweep(numbers, HARDWARE, over={"time": [1e-5, float(np.float32(1e-5))]}, chips=1, key=jax.random.key(0))


def test_structure_is_compiled_point_by_point_and_labelled():
    hardware = {"small": HARDWARE.replace(rows=4), "large": HARDWARE.replace(rows=16)}
    found = sweep(lambda hardware, key: float(hardware.rows), over={"hardware": hardware}, chips=1,
                  key=jax.random.key(0), progress=False)  # fmt: skip
    assert found.score.sel(hardware="large").item() == 16
    parts = {"store": {"exact": DigitalMemory(), "cells": Crossbar(cell=PCM())}, "adc": [None, ADC(bits=5)]}
    found = sweep(lambda hardware, key: 0.0 if hardware.adc is None else 1.0 * hardware.adc.bits, HARDWARE, over=parts,
                  chips=1, key=jax.random.key(0), progress=False)  # fmt: skip
    assert list(found["store"].values) == ["exact", "cells"]
    assert found["adc"].values[0] == "none"
    np.testing.assert_array_equal(found.score.values[..., 0], [[0, 5], [0, 5]])


def test_fields_that_change_together_are_one_axis():
    found = sweep(lambda hardware, key: 10.0 * hardware.dac.bits + hardware.adc.bits, preset("pcm"),
                  over={("dac.bits", "adc.bits"): [(4, 5), (7, 8)]}, chips=1, key=jax.random.key(0),
                  progress=False)  # fmt: skip
    assert list(found["dac.bits, adc.bits"].values) == ["4, 5", "7, 8"]
    np.testing.assert_array_equal(found.score.values[:, 0], [45, 78])


def test_order_of_axes_is_the_users_whatever_is_compiled_how():
    over = {"time": ["1 s", "2 s"], "rows": [4, 8], "adc.bits": [4, 6, 8]}
    found = sweep(lambda hardware, key, time_s: time_s + 10.0 * hardware.rows + 1000.0 * hardware.adc.bits, HARDWARE,
                  over=over, chips=2, key=jax.random.key(0), progress=False)  # fmt: skip
    assert found.score.dims == ("time", "rows", "adc.bits", "chip")
    expected = np.add.outer([1, 2], np.add.outer([40, 80], [4000, 6000, 8000]))
    np.testing.assert_array_equal(found.score.values, np.repeat(expected[..., None], 2, -1))


@pytest.mark.parametrize(
    "how",
    [
        {"chip_batch_size": 4},
        {"devices": jax.devices()[:8]},
        {"devices": jax.devices()[:3], "chip_batch_size": 2},
        {"compiled": False},
    ],
    ids=str,
)
def test_numbers_do_not_depend_on_how_the_work_is_cut(grid, how):
    again = sweep(numbers, HARDWARE, over=OVER, chips=3, key=jax.random.key(3), progress=False, **how)
    np.testing.assert_allclose(again["sum"], grid["sum"], rtol=1e-6)
    assert again["sum"].dims == grid["sum"].dims


def test_a_model_on_chips_scores_as_evaluate_does():
    times = ["1 s", "1 day"]
    found = sweep(ChipScores(MODEL, VARIABLES, X, LABELS, metric=mean_output), CELLS,
                  over={"store.cell.programming_noise": [0.5, 1.0], "time": times}, chips=3, key=jax.random.key(5),
                  progress=False)  # fmt: skip
    point = {"store.cell.programming_noise": 0.5}  # not the hardware's own
    model = convert(MODEL, CELLS.replace(**point))
    alone = evaluate(model, VARIABLES, X, LABELS, key=jax.random.key(5), chips=3, times=times, metric=mean_output)
    np.testing.assert_allclose(found.score.sel(point).transpose("chip", "time"), alone.score.values[0], rtol=2e-5)
    exact = X @ np.asarray(VARIABLES["params"]["kernel"]) + np.asarray(VARIABLES["params"]["bias"])
    np.testing.assert_allclose(found.digital, np.mean(exact[:, 0] * (1 + LABELS)), rtol=1e-5)


def test_several_devices_and_chips_side_by_side_score_a_model_alike():
    scores = ChipScores(MODEL, VARIABLES, X, LABELS, metric={"mean": mean_output, "norm": norm})
    how = dict(over={"adc.noise": [0.0, 0.1]}, chips=5, key=jax.random.key(5), progress=False)
    one, side, split = (
        sweep(scores, CELLS, **how, **more) for more in ({}, {"chip_batch_size": 2}, {"devices": jax.devices()})
    )
    for name in ("mean", "norm"):
        np.testing.assert_allclose(side[name], one[name], rtol=2e-5)
        np.testing.assert_allclose(split[name], one[name], rtol=2e-5)
        assert f"digital_{name}" in one


def test_layers_that_are_analog_keep_their_own_hardware():
    class Mixed(nn.Module):
        """A layer with an ADC and one without."""

        @nn.compact
        def __call__(self, x):
            x = AnalogDense(4, hardware=Hardware(adc=ADC(bits=6, range=9.0)))(x)
            return AnalogDense(3, hardware=Hardware(dac=DAC(bits=8)))(x)

    model = Mixed()
    variables = drawn(model, X)
    found = sweep(ChipScores(model, variables, X, LABELS, metric=mean_output), over={"adc.bits": [2, 6]}, chips=1,
                  key=jax.random.key(0), progress=False)  # fmt: skip
    own = evaluate(model, variables, X, LABELS, key=jax.random.key(0), chips=1, times=[0.0], metric=mean_output)
    np.testing.assert_allclose(found.score.sel({"adc.bits": 6}).item(), own.score.item(), rtol=1e-5)
    assert abs(found.score.sel({"adc.bits": 2}).item() - own.score.item()) > 1e-3


def test_an_nnx_model_is_swept_alike():
    model = nnx.Linear(8, 3, rngs=nnx.Rngs(0))
    scores = ChipScores(model, None, X, LABELS, metric=mean_output, calibrate=X)
    found = sweep(scores, preset("pcm"), over={"adc.bits": [3, 8]}, chips=2, key=jax.random.key(0), progress=False)
    errors = np.abs(found.score - found.digital.item()).mean("chip")
    assert errors[0] > 2 * errors[1] > 0


def test_calibration_follows_the_tiles():
    """Every structure is calibrated for itself, whatever ranges the variables bring. Nothing here is random."""
    hardware = Hardware(dac=DAC(bits=6), adc=ADC(bits=6))
    variables = calibrate(convert(MODEL, hardware), VARIABLES, 3 * X)
    scores = ChipScores(MODEL, variables, X, LABELS, metric=norm, calibrate=X)
    found = sweep(scores, hardware, over={"rows": [4, 512]}, chips=1, key=jax.random.key(0), progress=False)
    for rows in (4, 512):
        model = convert(MODEL, hardware.replace(rows=rows))
        own, others = (norm(jax.jit(model.apply)(v, X), LABELS) for v in (calibrate(model, VARIABLES, X), variables))
        assert found.score.sel(rows=rows).item() == pytest.approx(float(own), rel=1e-5)
        assert abs(own - others) > 1e-3 * own


def test_numbers_that_code_decides_by_are_named_structural():
    def decides(hardware, key):
        return 1.0 if hardware.adc.noise > 0 else 0.0

    over = {"adc.noise": [0.0, 0.1]}
    with pytest.raises(InputError, match=r"adc\.noise are not known yet.*structural"):
        sweep(decides, HARDWARE, over=over, chips=1, key=jax.random.key(0), progress=False)
    found = sweep(
        decides, HARDWARE, over=over, chips=1, key=jax.random.key(0), structural=["adc.noise"], progress=False
    )
    np.testing.assert_array_equal(found.score.values[:, 0], [0, 1])
    found = sweep(decides, HARDWARE, over=over, chips=1, key=jax.random.key(0), compiled=False, progress=False)
    np.testing.assert_array_equal(found.score.values[:, 0], [0, 1])


def test_a_list_indexed_by_a_traced_number_is_refused_in_one_sentence():
    def looks_up(hardware, key):
        return [1.0, 2.0, 3.0][jax.random.randint(key, (), 0, 3)]

    with pytest.raises(InputError, match=r"^evaluate: needs the values of its arguments during compilation"):
        sweep(looks_up, HARDWARE, over={"adc.noise": [0.1]}, chips=1, key=jax.random.key(0), progress=False)


def test_progress_is_told_and_ctrl_c_keeps_what_is_done(tmp_path):
    told = []

    def stop_half_way(done, total):
        told.append((done, total))
        if done >= 9:
            raise KeyboardInterrupt

    def measure(hardware, key):
        time.sleep(0.1)
        return float(jax.random.uniform(key))

    path = tmp_path / "results.nc"
    with pytest.raises(SweepStopped, match=r"of 18 chips are done and saved in .*results\.nc") as stopped:
        sweep(measure, HARDWARE, over=OVER, chips=3, key=jax.random.key(3), compiled=False, path=path,
              progress=stop_half_way)  # fmt: skip
    assert told[0] == (0, 18)
    done = told[-1][0]
    assert 9 <= done < 18
    kept = load_results(path)
    for data in (stopped.value.data, kept):
        assert int(data["done"].sum()) == int(np.isfinite(data["score"]).sum()) == done
        assert data.attrs["complete"] == 0


def test_ctrl_c_before_anything_is_done_claims_nothing(tmp_path):
    def measure(hardware, key):
        raise KeyboardInterrupt

    with pytest.raises(SweepStopped, match=r"^stopped: none of 6 chips is done, and nothing was written$"):
        sweep(measure, HARDWARE, over=OVER, chips=1, key=jax.random.key(3), compiled=False, progress=False,
              path=tmp_path / "results.nc")  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_over_chips_gives_mean_and_standard_deviation(grid):
    found = chip_statistics(grid)
    values = grid["sum"].values
    np.testing.assert_allclose(found["sum"].sel(statistic="mean"), values.mean(-1), rtol=1e-6)
    np.testing.assert_allclose(found["sum"].sel(statistic="std"), values.std(-1, ddof=1), rtol=1e-4)
    np.testing.assert_allclose(found["sum"].sel(statistic="high"), np.quantile(values, 0.95, -1), rtol=1e-6)
    with pytest.raises(InputError, match="fraction = 0"):
        chip_statistics(grid, fraction=0)
    with pytest.raises(InputError, match="must be a dataset over chips"):
        chip_statistics(3)


BAD = [
    ({"adc.bitz": [4]}, "ADC has no field 'bitz'; did you mean 'bits'?"),
    ({"adc.bits": [4, 99]}, "over: adc.bits: "),
    ({"adc.bits": [4, 4]}, "4 is given more than once"),
    ({"adc.bits": []}, "has no value"),
    ({"adc.bits": "4"}, "must be a sequence"),
    ({"store.cell.g_max": ["1 V"]}, "unknown unit 'V'"),
    ({"chip": [1]}, "chip"),
    ({"time": ["1 s", "60 min", "1 h"]}, "1 h is given more than once"),
    ({"time": [-1]}, "at least 0"),
    ({"adc": [None], "adc.bits": [4]}, "set by two axes"),
    ({("adc.bits", "dac.bits"): [4]}, "must be a tuple of 2"),
    ({"hardware": ["pmc"]}, "did you mean 'pcm'"),
    ([1], "must be a mapping"),
]


@pytest.mark.parametrize(("over", "message"), BAD, ids=[str(over) for over, _ in BAD])
def test_bad_axes_are_one_sentence(over, message):
    hardware = None if isinstance(over, dict) and "hardware" in over else HARDWARE.replace(dac=DAC(bits=8))
    function = aged if isinstance(over, dict) and "time" in over else numbers
    with pytest.raises(InputError) as error:
        sweep(function, hardware, over=over, chips=1, key=jax.random.key(0), progress=False)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


BAD_ARGUMENTS = [
    (dict(evaluate=3), "evaluate = 3: must be ChipScores"),
    (dict(evaluate=lambda hardware: 0.0), "must be a function of (hardware, key)"),
    (dict(evaluate=aged), "takes time_s, which is not swept"),
    (dict(over={"time": [1.0]}), "has no third argument time_s"),
    (dict(evaluate=lambda h, k: jnp.ones(2)), "must be one number"),
    (dict(evaluate=lambda h, k: {}), "returned no number"),
    (dict(evaluate=lambda h, k: 1j), "must be a real number"),
    (dict(chips=0), "chips = 0: must be an integer of at least 1"),
    (dict(chip_batch_size=0), "chip_batch_size = 0"),
    (dict(chip_batch_size=2, compiled=False), "chip_batch_size = 2: has no effect"),
    (dict(key=3), "key"),
    (dict(hardware=None), "hardware = None: must be a Hardware"),
    (dict(devices=[]), "devices = []"),
    (dict(executor=3), "executor = 3: must have submit"),
    (dict(path="results.txt"), "must end in .nc"),
    (dict(structural=["rows"]), "'rows' is not swept"),
    (dict(evaluate=aged, hardware=preset("reram"), over={"time": ["1 year"]}), "has data only from 0 to"),
    (dict(over={"hardware": 5}, hardware=None), "must be a sequence of presets"),
    (dict(over={"hardware": "pcm"}, hardware=None), "must be a sequence of presets"),
    (dict(over={"adc.bits": np.array(3)}), "must be a sequence of values"),
    (dict(over={"time": np.ones((2, 2))}), "must be a sequence of values"),
    (dict(structural="adc.bits"), "must be a sequence of swept names"),
    (dict(devices=[0]), "devices = [0]"),
    (dict(path=5), "path = 5"),
    (dict(evaluate=lambda h, k: None, compiled=False), "returned None: must be a number"),
]


@pytest.mark.parametrize(("change", "message"), BAD_ARGUMENTS, ids=[message for _, message in BAD_ARGUMENTS])
def test_bad_arguments_are_one_sentence(change, message):
    given = dict(evaluate=numbers, hardware=HARDWARE, over={"adc.bits": [4]}, chips=1, key=jax.random.key(0)) | change
    evaluation, hardware = given.pop("evaluate"), given.pop("hardware")
    with pytest.raises(InputError) as error:
        sweep(evaluation, hardware, progress=False, **given)
    assert message in str(error.value)


def test_chip_scores_refuse_what_cannot_be_measured():
    with pytest.raises(InputError, match="labels: shape"):
        ChipScores(MODEL, VARIABLES, X, LABELS[:5])
    with pytest.raises(InputError, match="metric = 3"):
        ChipScores(MODEL, VARIABLES, X, LABELS, metric=3)
    with pytest.raises(InputError, match="no analog layer has this field"):
        sweep(ChipScores(MODEL, VARIABLES, X, LABELS), over={"adc.bits": [4]}, chips=1, key=jax.random.key(0))
    assert analogsim.sweep is sweep


@pytest.mark.parametrize(("free", "fits"), [(None, 8), (10**15, 64), (1, 1)])
def test_as_many_chips_side_by_side_as_fit_into_memory(monkeypatch, free, fits):
    """Off the CPU, by what the compiled program takes for one chip; no device here, so its memory is made up."""
    from analogsim.sweeps import block

    monkeypatch.setattr(block, "_free_bytes", lambda devices: free)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    asked = []
    program = block._program
    monkeypatch.setattr(
        block,
        "_program",
        lambda p, chip_batch_size, *rest: asked.append(chip_batch_size) or program(p, chip_batch_size, *rest),
    )
    sweep(numbers, HARDWARE, over={"adc.bits": [4, 8]}, chips=4, key=jax.random.key(5), progress=False)
    assert asked == [1, fits]


def test_joules_of_an_inference_stand_beside_the_scores():
    hardware = preset("pcm")
    over = {"drift_compensation": ["none", "global"], "adc.bits": [4, 8], "time": ["1 s", "1 day"]}
    scores = ChipScores(MODEL, VARIABLES, X, LABELS, metric=norm, energy=True)
    found = sweep(scores, hardware, over=over, chips=1, key=jax.random.key(5), progress=False)
    assert found["energy_j"].dims == ("drift_compensation", "adc.bits")
    assert found["energy_j"].attrs["units"] == "J"
    for compensation in ("none", "global"):
        for bits in (4, 8):
            point = hardware.replace(**{"drift_compensation": compensation, "adc.bits": bits})
            expected = analogsim.energy.inference_j(convert(MODEL, point), VARIABLES, X)
            at = found["energy_j"].sel({"drift_compensation": compensation, "adc.bits": bits})
            np.testing.assert_allclose(at, expected, rtol=1e-5)


def test_values_are_tried_together_not_each_beside_the_defaults():
    window = {"store.cell.g_min": [0.0, 15e-6], "store.cell.g_max": [20e-6, 25e-6]}  # 15 µS is above the g_max of pcm
    pcm = preset("pcm", **{"store.cell.g_max": 10e-6})
    found = sweep(lambda h, key: h.store.cell.g_max - h.store.cell.g_min, pcm, over=window, chips=1,
                  key=jax.random.key(0), progress=False)  # fmt: skip
    np.testing.assert_allclose(found.score.values[..., 0], [[20e-6, 25e-6], [5e-6, 10e-6]], rtol=1e-5)
    window["store.cell.g_max"] = [10e-6, 25e-6]
    with pytest.raises(InputError, match=r"over: at store\.cell\.g_min = .*must be less than g_max"):
        sweep(numbers, pcm, over=window, chips=1, key=jax.random.key(0), progress=False)
    over = {"bound_management": ["none", "iterative"], "adc": [pcm.adc, None]}
    with pytest.raises(InputError, match="bound_management"):
        sweep(numbers, pcm, over=over, chips=1, key=jax.random.key(0), progress=False)
    hardware = {"a": pcm, "b": pcm.replace(name="noadc", adc=None)}
    over = {"hardware": hardware, ("dac.bits", "adc.bits"): [(4, 4), (6, 6)]}
    with pytest.raises(InputError, match=r"'noadc' has no such field"):
        sweep(numbers, over=over, chips=1, key=jax.random.key(0), progress=False)


def test_coordinates_are_what_was_written():
    over = {"time": {"fresh": "0.1 s", "old": "1 day"}}
    found = sweep(
        aged, HARDWARE.replace(dac=DAC()), over=over, chips=np.int64(1), key=jax.random.key(0), progress=False
    )
    assert float(found.sel(time=0.1).time) == 0.1
    assert list(found.time_label.values) == ["fresh", "old"]
    eager = sweep(lambda h, key: h.store.cell.g_max == 10e-6, HARDWARE, over={"store.cell.g_max": ["10 uS"]}, chips=1,
                  key=jax.random.key(0), compiled=False, progress=False)  # fmt: skip
    assert eager.score.item() == 1.0
    with pytest.raises(InputError, match="two values are equal in single precision"):
        sweep(numbers, HARDWARE, over={"adc.noise": [0.1, 0.1 * (1 + 1e-9)]}, chips=1, key=jax.random.key(0))


@pytest.mark.parametrize("name", ["adc.bits", "chip", "done", "digital_loss", "energy_j", ""])
def test_metrics_do_not_take_the_names_of_others(name):
    with pytest.raises(InputError, match="that the results use for something else"):
        sweep(
            lambda h, key: {name: 1.0}, HARDWARE, over={"adc.bits": [4]}, chips=1, key=jax.random.key(0), progress=False
        )


def test_memory_is_measured_with_several_devices_too(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    found = sweep(numbers, HARDWARE, over={"adc.bits": [4, 8]}, chips=5, key=jax.random.key(3), progress=False,
                  devices=jax.devices()[:4])  # fmt: skip
    alone = sweep(numbers, HARDWARE, over={"adc.bits": [4, 8]}, chips=5, key=jax.random.key(3), progress=False)
    np.testing.assert_allclose(found["sum"], alone["sum"], rtol=1e-6)
