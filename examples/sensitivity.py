"""What a little less of each flaw buys: the slope of a network's loss in every number of its hardware.

    python examples/sensitivity.py

A digits network on phase-change memory, read a month after programming without drift compensation: fifty sampled chips
are differentiated through writing, drift and reading. Expected: drift weighs most; with compensation (the second table)
its spread, the noise of the converters and the error of writing are left.
"""

import jax
from _shared import arguments, load_digits, save

from analogsim import calibrate, plot, preset
from analogsim.quickstart import FAST, MLP, Settings, train
from analogsim.training import sensitivity


def main() -> None:
    options = arguments(__doc__)
    x_train, y_train, x_test, y_test = load_digits()
    params = train(MLP(None), FAST if options.fast else Settings(), x_train, y_train, jax.random.key(0))
    model = MLP(preset("pcm"))
    variables = calibrate(model, {"params": params}, x_train[:500])
    test = slice(0, 100) if options.fast else slice(0, 450)
    for compensation in ("none", "global"):
        found = sensitivity(
            model, variables, x_test[test], y_test[test], key=jax.random.key(1), time="1 month",
            chips=4 if options.fast else 50, compensation=compensation,
        )  # fmt: skip
        print(f"Drift compensation: {compensation}\n{found}\n")
        name, change, effect, error = found.ranking[0]
        print(f"What weighs most: {change} of {name} changes the loss by {effect:+.4f} ± {error:.4f}.\n")
        if compensation == "global":
            save(plot.sensitivity(found), options.out / "sensitivity.png")


if __name__ == "__main__":
    main()
