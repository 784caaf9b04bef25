"""Converters with errors as part of a chip: fabricated once, kept for life, the same in every mode of a layer."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from analogsim import ADC, Hardware, InputError, evaluate, program
from analogsim.converters import SARADC, CyclicADC, PipelineADC, RampADC
from analogsim.devices import Crossbar, DigitalMemory, GenericCell
from analogsim.linen import AnalogDense
from analogsim.tiles import program as program_tiles

CIRCUITS = [
    ADC(bits=6, range=4.0, gain_error=0.05, offset_error=1.0),
    RampADC(bits=6, range=4.0, capacitor_mismatch=0.1, comparator_offset=0.02),
    SARADC(bits=6, range=4.0, capacitor_mismatch=0.1, sharing=4),
    PipelineADC(bits=6, range=4.0, capacitor_mismatch=0.05),
    CyclicADC(bits=6, range=4.0, comparator_offset=0.1, amplifier_gain_db=30.0),
]
X = jax.random.normal(jax.random.key(5), (16, 12))


def layer(adc, **hardware):
    return AnalogDense(6, hardware=Hardware(store=DigitalMemory(), adc=adc, **hardware), use_bias=False)


def weights():
    return {"params": {"kernel": jax.random.normal(jax.random.key(6), (12, 6))}}


@pytest.mark.parametrize("adc", CIRCUITS, ids=lambda a: type(a).__name__)
def test_a_chip_reads_through_the_converters_it_was_made_with(adc):
    # By hand: one tile, per-example input range, columns scaled to one, then the converter's own transfer.
    model = layer(adc)
    chip = program(model, weights(), jax.random.key(1), X)
    array = chip.cells["analog"]["array"]
    kernel = weights()["params"]["kernel"]
    scale = jnp.abs(kernel).max(0)
    bound = jnp.abs(X).max(1, keepdims=True)
    state = jax.tree.map(lambda a: a[0, 0], array.converters)
    expected = adc.convert((X / bound) @ (kernel / scale), 4.0, state) * scale * bound
    found = model.apply(chip.variables, X)
    step = 8 / 62 * float(scale.max() * bound.max())
    differs = np.abs(np.asarray(found - expected)) > 1e-4
    assert differs.mean() < 0.02  # rounding of the product may fall on either side of a threshold
    assert np.abs(np.asarray(found - expected)).max() < 2.2 * step


def test_converters_stay_and_every_tile_and_chip_has_its_own():
    model = layer(SARADC(capacitor_mismatch=0.1), rows=6, columns=3)
    chips = program(model, weights(), jax.random.split(jax.random.key(1), 2), X)
    states = np.asarray(jax.tree.leaves(chips.cells["analog"]["array"].converters)[0])
    assert states.shape[:3] == (2, 2, 2)
    flat = states.reshape(8, -1)
    assert len(np.unique(flat, axis=0)) == 8
    one = program(model, weights(), jax.random.key(1), X)
    later = one.at("1 year")
    again = program(model, weights(), jax.random.key(9), X, onto=one)
    for chip in (later, again):
        for a, b in zip(
            jax.tree.leaves(one.cells["analog"]["array"].converters),
            jax.tree.leaves(chip.cells["analog"]["array"].converters),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)


def test_the_layer_cannot_replace_converters_that_were_fabricated_with_errors():
    chip = program(layer(ADC(offset_error=3.0)), weights(), jax.random.key(1), X)
    same = layer(ADC(offset_error=3.0)).apply(chip.variables, X)
    other = layer(ADC(offset_error=0.0)).apply(chip.variables, X)
    np.testing.assert_array_equal(same, other)
    with pytest.raises(InputError, match="of another structure; program a chip for this hardware"):
        layer(ADC(bits=8)).apply(chip.variables, X)


def test_an_offset_moves_outputs_by_its_steps():
    # 8 bits, range 10: a step of 10/127. An offset of spread 2 steps moves every column by its own 2 xi steps; the
    # weights are zero, so that nothing else is read. 4000 columns.
    hardware = Hardware(store=DigitalMemory(), columns=4000, adc=ADC(offset_error=2.0))
    reading = program_tiles(hardware, jnp.ones((1, 4000)), jax.random.key(0)).read(0.0)
    offset = np.asarray(reading.converters.offset, np.float64).ravel()
    assert offset.std() == pytest.approx(2.0, rel=4 / np.sqrt(8000))
    model = AnalogDense(4000, hardware=hardware, use_bias=False)
    chip = program(model, {"params": {"kernel": jnp.zeros((1, 4000))}}, jax.random.key(0), jnp.ones((1, 1)))
    y = np.asarray(model.apply(chip.variables, jnp.ones((1, 1))), np.float64)[0] * 127 / 10
    np.testing.assert_allclose(y, np.round(y), atol=1e-4)
    assert y.std() == pytest.approx(np.sqrt(4 + 1 / 12), rel=4 / np.sqrt(8000))


def test_training_draws_fresh_converters_and_needs_a_key():
    model = layer(ADC(offset_error=3.0))
    with pytest.raises(InputError, match="needs a random key"):
        model.apply(weights(), X)
    a, b = (model.apply(weights(), X, rngs={"analog": jax.random.key(i)}) for i in range(2))
    assert float(jnp.abs(a - b).max()) > 0.1


def test_evaluate_samples_converters_too():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            store = Crossbar(cell=GenericCell())
            return AnalogDense(6, hardware=Hardware(store=store, adc=RampADC(bits=4, comparator_offset=0.2)))(x)

    labels = jnp.arange(16) % 6
    variables = Net().init(jax.random.key(0), X)
    found = evaluate(Net(), variables, X, labels, key=jax.random.key(1), chips=8, times=["1 s"], batch_size=16)
    assert len(np.unique(found.score.values)) > 1


def test_what_is_no_converter_is_refused():
    with pytest.raises(InputError, match=r"Hardware.adc = 8: must be a description that has fabricate, convert"):
        Hardware(adc=8)
