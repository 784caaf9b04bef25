"""What a little less of each flaw buys: the slope of a network's loss in every number of its hardware.

    python examples/sensitivity.py

A digits network on phase-change memory, read a month after programming: fifty sampled chips are differentiated through
writing, drift and reading. Expected: without drift compensation, drift weighs more than everything else together; with
it (the second table, and the figure), drift's spread, the error of writing, read noise and the converters' noise are of
about one size, and the ranges of inputs must not be smaller than they are.
"""

import jax
from _shared import arguments, load_digits, save

from analogsim import calibrate, plot, preset
from analogsim.cli.quickstart import FAST, MLP, Settings, train
from analogsim.training import sensitivity

FLAWS = ("store.cell.", "adc.noise")  # numbers that are zero on a perfect chip; bits and ranges are choices


def main() -> None:
    options = arguments(__doc__)
    x_train, y_train, x_test, y_test = load_digits()
    params = train(MLP(None), FAST if options.fast else Settings(), x_train, y_train, jax.random.key(0))
    model = MLP(preset("pcm"))
    variables = calibrate(model, {"params": params}, x_train[:500])
    test = slice(0, 100) if options.fast else slice(0, 450)
    for compensation in ("global",) if options.fast else ("none", "global"):
        found = sensitivity(
            model, variables, x_test[test], y_test[test], key=jax.random.key(1), time="1 month",
            chips=4 if options.fast else 50, compensation=compensation,
            parameters=("store.cell.drift", "adc.*") if options.fast else None,
        )  # fmt: skip
        print(f"Drift compensation: {compensation}\n{found}")
        worst = next(slope for slope in found.ranking if slope.parameter.startswith(FLAWS) and slope.mean > 0)
        print(f"The flaw that hurts most is {worst.parameter}: 10 % less of it changes the loss by about "
              f"{-worst.mean:.4f} ± {worst.error:.4f}.\n")  # fmt: skip
    save(plot.sensitivity(found), options.out / "sensitivity.png")


if __name__ == "__main__":
    main()
