"""Rank the non-idealities of the hardware by the gradient of a network's loss with respect to each of its numbers.

    python examples/sensitivity.py

A digits network on phase-change memory is read a month after programming; its loss is differentiated through
programming, drift and reading on fifty sampled chips. Expected: without drift compensation, drift costs more than all
other effects together; with compensation (second table and figure), the variation of drift, programming noise, read
noise and converter noise cost about the same, and smaller input ranges would increase the loss.
"""

import jax
from _shared import arguments, load_digits, save

from analogsim import calibrate, plot, preset
from analogsim.cli.quickstart import FAST, MLP, Settings, train
from analogsim.training import sensitivity

FLAWS = ("store.cell.", "adc.noise")  # zero on a perfect chip; bits and ranges are design choices


def main() -> None:
    options = arguments(__doc__)
    x_train, y_train, x_test, y_test = load_digits()
    params = train(MLP(None), FAST if options.fast else Settings(), x_train, y_train, jax.random.key(0))
    model = MLP(preset("pcm"))
    variables = calibrate(model, {"params": params}, x_train[:500])
    test = slice(0, 100) if options.fast else slice(0, 450)
    for compensation in ("global",) if options.fast else ("none", "global"):
        result = sensitivity(
            model, variables, x_test[test], y_test[test], key=jax.random.key(1), time="1 month",
            chips=4 if options.fast else 50, compensation=compensation,
            parameters=("store.cell.drift", "adc.*") if options.fast else None,
        )  # fmt: skip
        print(f"Drift compensation: {compensation}\n{result}")
        worst = next(effect for effect in result.ranking if effect.parameter.startswith(FLAWS) and effect.mean > 0)
        print(
            f"The non-ideality that costs most is {worst.parameter}: "
            f"10 % less of it changes the loss by about {-worst.mean:.4f} ± {worst.error:.4f}.\n"
        )
    save(plot.sensitivity(result), options.out / "sensitivity.png")


if __name__ == "__main__":
    main()
