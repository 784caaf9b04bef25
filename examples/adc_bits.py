"""How many bits an ADC needs depends on what it converts: accuracy on digits against ADC bits.

    python examples/adc_bits.py

One digitally trained network runs on cells with a proportional error of 2 %, with calibrated ranges and input slices
of one bit, under three mappings of its weights and with two converters. Expected: differential pairs, whose currents
are small where weights are, need fewer bits than an offset mapping, whose lines carry a large constant; a ramp ADC with
unequal capacitors loses a little; slices of the weights gain nothing (T. P. Xiao et al., arXiv 2109.01262).
"""

import jax
import jax.numpy as jnp
from _shared import arguments, load_digits, save

from analogsim import ADC, Hardware, calibrate, digital, evaluate, plot
from analogsim.cli.quickstart import FAST, MLP, Settings, train
from analogsim.converters import BitSerialDAC, RampADC
from analogsim.devices import BitSlices, Crossbar, Differential, GenericCell, Offset

CELL = GenericCell(error="proportional", programming_sigma=0.02)
DRIVEN = BitSerialDAC(bits=8, accumulation="analog")
CASES = {
    "differential pairs": (Differential(), ADC),
    "the same, ramp ADC with capacitors of ± 10 %": (Differential(), RampADC),
    "the same, two slices a weight": (Differential(slices=BitSlices(widths=(4, 4))), ADC),
    "offset, constant subtracted digitally": (Offset(), ADC),
}


def hardware(mapping, converter, bits: int) -> Hardware:
    """The cells under one mapping, read by one converter."""
    errors = {"capacitor_mismatch": 0.1} if converter is RampADC else {}
    return Hardware(store=Crossbar(cell=CELL, mapping=mapping), dac=DRIVEN, adc=converter(bits=bits, **errors))


def main() -> None:
    options = arguments(__doc__)
    x_train, y_train, x_test, y_test = load_digits()
    params = train(MLP(None), FAST if options.fast else Settings(), x_train, y_train, jax.random.key(0))
    test = slice(0, 60) if options.fast else slice(None)

    bits = (4, 8) if options.fast else (3, 4, 5, 6, 7, 8)
    ax = plot.new_axes(7.2, 4.4)
    for (name, (mapping, converter)), colour in zip(CASES.items(), plot.COLOURS, strict=False):
        means = []
        for b in bits:
            model = MLP(hardware(mapping, converter, b))
            variables = calibrate(model, {"params": params}, x_train[:300])
            scores = evaluate(
                model, variables, x_test[test], y_test[test],
                key=jax.random.key(1), chips=2 if options.fast else 10, times=(0.0,),
            )  # fmt: skip
            means.append(100 * float(scores.score.mean()))
        print(f"{name:54}" + "  ".join(f"{b} bits {m:.1f} %" for b, m in zip(bits, means, strict=True)))
        ax.plot(bits, means, "o-", color=colour, label=name)
    with digital():
        exact = 100 * float(jnp.mean(jnp.argmax(MLP(None).apply({"params": params}, x_test), -1) == y_test))
    ax.axhline(exact, color="#555555", linestyle=":", label="digital")
    ax.set(xlabel="ADC bits", ylabel="accuracy of chips (%)")
    ax.set_xticks(bits)
    ax.legend(fontsize=9)
    save(ax, options.out / "adc_bits.png")


if __name__ == "__main__":
    main()
