"""Measure accuracy versus ADC bits: the number of bits needed depends on the values that are converted.

    python examples/adc_bits.py

A digitally trained network for handwritten digits runs on cells with a proportional error of 2 %, with calibrated
ranges and one-bit input slices, under three mappings of its weights and with two converters. Expected: differential
pairs, whose currents are small for small weights, need fewer bits than an offset mapping, whose bit lines carry a large
constant; a ramp ADC with mismatched capacitors loses a little; slicing the weights gains nothing (T. P. Xiao et al.,
arXiv 2109.01262).
"""

import jax
import jax.numpy as jnp
from _shared import arguments, load_digits, save

from analogsim import ADC, Hardware, calibrate, digital, evaluate, plot
from analogsim.cli.quickstart import FAST, MLP, Settings, train
from analogsim.converters import BitSerialDAC, RampADC
from analogsim.devices import BitSlices, Crossbar, Differential, GenericCell, Offset

CELL = GenericCell(error="proportional", programming_sigma=0.02)
INPUT_SLICES = BitSerialDAC(bits=8, accumulation="analog")
CASES = {
    "differential pairs": (Differential(), ADC),
    "differential pairs, ramp ADC, capacitors ± 10 %": (Differential(), RampADC),
    "differential pairs, two slices per weight": (Differential(slices=BitSlices(widths=(4, 4))), ADC),
    "offset, constant subtracted digitally": (Offset(), ADC),
}


def hardware(mapping: Differential | Offset, converter: type, bits: int) -> Hardware:
    """Return hardware with one mapping of the weights and one kind of ADC."""
    mismatch = {"capacitor_mismatch": 0.1} if converter is RampADC else {}
    store = Crossbar(cell=CELL, mapping=mapping)
    return Hardware(store=store, dac=INPUT_SLICES, adc=converter(bits=bits, **mismatch))


def main() -> None:
    options = arguments(__doc__)
    x_train, y_train, x_test, y_test = load_digits()
    params = train(MLP(None), FAST if options.fast else Settings(), x_train, y_train, jax.random.key(0))
    test = slice(0, 60) if options.fast else slice(None)
    chips = 2 if options.fast else 10

    bits = (4, 8) if options.fast else (3, 4, 5, 6, 7, 8)
    ax = plot.new_axes(7.2, 4.4)
    for (name, (mapping, converter)), colour in zip(CASES.items(), plot.COLOURS, strict=False):
        means = []
        for b in bits:
            model = MLP(hardware(mapping, converter, b))
            variables = calibrate(model, {"params": params}, x_train[:300])
            key = jax.random.key(1)
            scores = evaluate(model, variables, x_test[test], y_test[test], key=key, chips=chips, times=(0.0,))
            means.append(100 * float(scores.score.mean()))
        print(f"{name:54}" + "  ".join(f"{b} bits {m:.1f} %" for b, m in zip(bits, means, strict=True)))
        ax.plot(bits, means, "o-", color=colour, label=name)
    with digital():
        outputs = MLP(None).apply({"params": params}, x_test[test])
    ax.axhline(
        100 * float(jnp.mean(jnp.argmax(outputs, -1) == y_test[test])), color="#555555", linestyle=":", label="digital"
    )
    ax.set(xlabel="ADC bits", ylabel="accuracy of chips (%)")
    ax.set_xticks(bits)
    ax.legend(fontsize=9)
    save(ax, options.out / "adc_bits.png")


if __name__ == "__main__":
    main()
