"""Converters with errors as part of a chip: fabricated once, kept for life, the same in every mode of a layer."""

import flax.linen as nn
import jax
import numpy as np
import pytest
from adc_kinds import convert

from analogsim import ADC, Hardware, InputError, evaluate, program
from analogsim.converters import SARADC, CyclicADC, PipelineADC, RampADC
from analogsim.devices import Crossbar, DigitalMemory, GenericCell
from analogsim.linen import AnalogDense

CIRCUITS = [
    ADC(bits=6, range=4.0, gain_error=0.05, offset_error=1.0),
    RampADC(bits=6, range=4.0, capacitor_mismatch=0.1, comparator_offset=0.02),
    SARADC(bits=6, range=4.0, capacitor_mismatch=0.1, sharing=4),
    PipelineADC(bits=6, range=4.0, capacitor_mismatch=0.05),
    CyclicADC(bits=6, range=4.0, comparator_offset=0.1, amplifier_gain_db=30.0),
]
RNG = np.random.default_rng(5)
X, KERNEL = (RNG.normal(size=shape).astype(np.float32) for shape in ((16, 12), (12, 6)))
WEIGHTS = {"params": {"kernel": KERNEL}}


def layer(adc, **hardware):
    return AnalogDense(6, hardware=Hardware(store=DigitalMemory(), adc=adc, **hardware), use_bias=False)


def outputs(model, variables, x=X):
    """What a model computes, as one compiled program."""
    return np.asarray(jax.jit(model.apply)(variables, x))


@pytest.mark.parametrize("adc", CIRCUITS, ids=lambda a: type(a).__name__)
def test_a_chip_reads_through_the_converters_it_was_made_with(adc):
    # By hand: one tile, per-example input range, columns scaled to one, then the converter's own transfer.
    model = layer(adc)
    chip = program(model, WEIGHTS, jax.random.key(1), X)
    array = chip.cells["analog"]["array"]
    scale, bound = np.abs(KERNEL).max(0), np.abs(X).max(1, keepdims=True)
    state = jax.tree.map(lambda a: np.asarray(a)[0, 0], array.converters)
    expected = np.asarray(convert(adc, (X / bound) @ (KERNEL / scale), 4.0, state)) * scale * bound
    off = np.abs(outputs(model, chip.variables) - expected)
    assert (off > 1e-4).mean() < 0.02  # rounding of the product may fall on either side of a threshold
    assert off.max() < 2.2 * 8 / 62 * scale.max() * bound.max()


def test_converters_stay_and_every_tile_and_chip_has_its_own():
    model = layer(SARADC(capacitor_mismatch=0.1), rows=6, columns=3)
    chips = program(model, WEIGHTS, jax.random.split(jax.random.key(1), 2), X)
    states = np.asarray(jax.tree.leaves(chips.cells["analog"]["array"].converters)[0])
    assert states.shape[:3] == (2, 2, 2)
    flat = states.reshape(8, -1)
    assert len(np.unique(flat, axis=0)) == 8
    one = program(model, WEIGHTS, jax.random.key(1), X)
    later = one.at("1 year")
    again = program(model, WEIGHTS, jax.random.key(9), X, reprogram=one)
    for chip in (later, again):
        for a, b in zip(
            jax.tree.leaves(one.cells["analog"]["array"].converters),
            jax.tree.leaves(chip.cells["analog"]["array"].converters),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)


def test_the_layer_cannot_replace_converters_that_were_fabricated_with_errors():
    chip = program(layer(ADC(offset_error=3.0)), WEIGHTS, jax.random.key(1), X)
    same = outputs(layer(ADC(offset_error=3.0)), chip.variables)
    other = outputs(layer(ADC(offset_error=0.0)), chip.variables)
    np.testing.assert_array_equal(same, other)
    with pytest.raises(
        InputError,
        match=r"of another structure \(adc.offset_error: a number on the chip, None in the layer\); program a chip",
    ):
        outputs(layer(ADC(bits=8)), chip.variables)


def test_an_offset_moves_outputs_by_its_steps():
    # 8 bits, range 10: a step of 10/127. An offset of spread 2 steps moves every column by its own 2 xi steps; the
    # only weights that are driven are zero, so that nothing else is read. 4000 columns.
    hardware = Hardware(store=DigitalMemory(), columns=4000, adc=ADC(range=10.0, offset_error=2.0))
    model, x = AnalogDense(4000, hardware=hardware, use_bias=False), np.float32([[1, 0]])
    kernel = np.repeat(np.float32([[0], [1]]), 4000, axis=1)
    chip = program(model, {"params": {"kernel": kernel}}, jax.random.key(0), x)
    offset = np.asarray(chip.cells["analog"]["array"].converters.offset, np.float64).ravel()
    assert offset.std() == pytest.approx(2.0, rel=4 / np.sqrt(8000))
    y = outputs(model, chip.variables, x).astype(np.float64)[0] * 127 / 10
    np.testing.assert_allclose(y, np.round(y), atol=1e-4)
    assert y.std() == pytest.approx(np.sqrt(4 + 1 / 12), rel=4 / np.sqrt(8000))


def test_training_draws_fresh_converters_and_needs_a_key():
    model = layer(ADC(offset_error=3.0))
    with pytest.raises(InputError, match="needs a random key"):
        outputs(model, WEIGHTS)
    draw = jax.jit(lambda key: model.apply(WEIGHTS, X, rngs={"analog": key}))
    a, b = (np.asarray(draw(jax.random.key(i))) for i in range(2))
    assert np.abs(a - b).max() > 0.1


def test_evaluate_samples_converters_too():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            store = Crossbar(cell=GenericCell())
            return AnalogDense(6, hardware=Hardware(store=store, adc=RampADC(bits=4, comparator_offset=0.2)))(x)

    labels = np.arange(16) % 6
    variables = {"params": {"Dense_0": {"kernel": KERNEL, "bias": np.zeros(6, np.float32)}}}
    found = evaluate(Net(), variables, X, labels, key=jax.random.key(1), chips=8, times=["1 s"], batch_size=16)
    assert len(np.unique(found.score.values)) > 1


def test_what_is_no_converter_is_refused():
    with pytest.raises(InputError, match=r"Hardware.adc = 8: must be a description with fabricate, convert"):
        Hardware(adc=8)
