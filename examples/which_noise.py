"""Compare the accuracy loss from noise on weights, layer inputs and layer outputs in four kinds of network.

    python examples/which_noise.py

Each network is trained digitally and then runs with Gaussian noise in one place at a time, with the same standard
deviation relative to the full scale of that place: the weight that takes the whole conductance window of a cell, the
calibrated input range, the calibrated output range. M. J. Rasch et al. (Nat. Commun. 14, 5282 (2023)) found, for
networks far larger than these, that noise on inputs and outputs costs more than noise on weights, and costs recurrent
networks least. The last lines printed state the result for these networks. About 4 minutes on two cores; needs the data
packages of ``ten_years.py``.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from _shared import arguments, save

from analogsim import ADC, DAC, Hardware, calibrate, convert, override_hardware, plot
from analogsim.training import AdditiveNoise
from analogsim.training.recipes import datasets, load_recipe
from analogsim.training.recipes.networks import network
from analogsim.training.recipes.run import digital_network

NAMES = ("mlp", "lenet", "gru", "transformer")
PLACES = {"weights": "o-", "inputs": "s--", "outputs": "^:"}
#: Enough bits to make quantisation negligible.
CLEAN = Hardware(dac=DAC(bits=16), adc=ADC(bits=16), training=AdditiveNoise(std=0.0))


def accuracies(model, variables, x, labels, place: str, sizes, draws: int) -> list[float]:
    """Return the accuracy in per cent for each noise level, averaged over draws, in one compilation."""

    def noisy(size, path, hardware):
        if place == "weights":
            return hardware.replace(**{"training.std": size})
        if place == "inputs":
            return hardware.replace(**{"dac.noise": size})
        ranges = variables["ranges"]
        for name in path.split("/"):
            ranges = ranges[name]
        return hardware.replace(**{"adc.noise": size * ranges["analog"]["output"]})

    @jax.jit
    def accuracy(size, key):
        with override_hardware(functools.partial(noisy, size)):
            outputs = model.apply(variables, x, rngs={"analog": key})
        return (jnp.argmax(outputs, -1) == labels).mean()

    keys = jax.random.split(jax.random.key(1), draws)
    return [100 * float(np.mean([accuracy(size, key) for key in keys])) for size in sizes]


def main() -> None:
    options = arguments(__doc__)
    sizes = (0.0, 0.05) if options.fast else (0.0, 0.01, 0.02, 0.04, 0.08)
    names, draws = (NAMES[2:], 2) if options.fast else (NAMES, 10)
    ax = plot.new_axes(7.6, 4.6)
    lost = {}
    for name, colour in zip(names, plot.COLOURS, strict=False):
        recipe = load_recipe(name)
        if options.fast:
            recipe = recipe.shortened(epochs=2)
        data = datasets.load(recipe.data.name)
        plain = network(name, data.classes)
        trained = digital_network(recipe, data, key=jax.random.key(0))
        model = convert(plain, CLEAN)
        variables = calibrate(model, trained, data.x[:256])
        x, labels = data.x_test[:500], data.labels_test[:500]
        for place, style in PLACES.items():
            scores = accuracies(model, variables, x, labels, place, sizes, draws)
            lost[name, place] = scores[0] - scores[-1]
            print(f"{name:12} {place:8}" + "  ".join(f"{s:.0%} {a:.1f} %" for s, a in zip(sizes, scores, strict=True)))
            ax.plot([100 * s for s in sizes], scores, style, color=colour, label=f"{name}, {place}", markersize=5)
    ax.set(xlabel="noise (std in % of the full scale of weights, inputs or outputs)", ylabel="accuracy (%)")
    ax.legend(fontsize=8, ncols=2, loc="lower left")
    save(ax, options.out / "which_noise.png")
    for name in names:
        order = sorted(PLACES, key=lambda place: -lost[name, place])
        losses = ", ".join(f"{place} {lost[name, place]:.1f}" for place in order)
        print(f"{name}: points lost at {sizes[-1]:.0%} noise: {losses}")
    robust = min(names, key=lambda name: sum(lost[name, place] for place in PLACES))
    print(f"Smallest loss summed over the three places: {robust}")


if __name__ == "__main__":
    main()
