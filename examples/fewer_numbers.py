"""Compress networks as tensor trains and low-rank products: accuracy before and after fine-tuning, and cost on PCM.

    python examples/fewer_numbers.py

The large kernels of two networks for handwritten digits, a 64-256-256-10 perceptron and a Transformer of two blocks
(projections and feed-forward layers), are stored as tensor trains of two and of three cores and as low-rank products,
each with the same budgets of numbers, and then fine-tuned. The perceptron at a tenth of its numbers is put on
phase-change memory (PCM), each core on its own tiles: cells, conversions and energy of its 256 x 256 kernel, and the
accuracy of chips a day after programming.

Expected: before fine-tuning, low rank keeps the highest accuracy at every budget. After fine-tuning, trains win if
numbers are few: 92 to 93 % compared with 66 % (perceptron) and 84 % with 74 % (Transformer) at 5 % of the numbers. From
20 % on all are within 2 points of each other, and low rank is ahead in half of the cases; one initialisation each, one
test image is 0.22 points. On hardware, trains need a tenth of the cells, but 13 to 22 times the conversions and energy
of the dense kernel; low rank needs about as much of both as the dense kernel. A quarter of an hour on two cores that
are shared with other programs.
"""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from _shared import arguments, load_digits, save
from matplotlib.axes import Axes

from analogsim import calibrate, convert, evaluate, plot, preset, summary
from analogsim.base import show
from analogsim.base.tables import as_count, as_text, simple_table
from analogsim.codecs import LowRank, TensorTrain, compress
from analogsim.energy import compare
from analogsim.training.recipes.networks import MLP, Transformer

FRACTIONS = (0.05, 0.1, 0.2, 0.4)
CODECS = {
    "train of 2 cores": lambda fraction: TensorTrain(cores=2, max_fraction=fraction),
    "train of 3 cores": lambda fraction: TensorTrain(cores=3, max_fraction=fraction),
    "low rank": lambda fraction: LowRank(max_fraction=fraction),
}


def is_large(layer) -> bool:
    """Select the layers to compress: kernels of 4096 numbers and more."""
    return math.prod(layer.shape) >= 4096


@functools.partial(jax.jit, static_argnums=(0, 4, 5))
def train(model: nn.Module, variables, x: jax.Array, y: jax.Array, epochs: int, rate: float):
    """Return variables trained digitally."""
    batch, key = 64, jax.random.key(1)
    steps = len(x) // batch
    tx = optax.adam(optax.cosine_decay_schedule(rate, epochs * steps))

    def loss(variables, images, labels):
        return optax.softmax_cross_entropy_with_integer_labels(model.apply(variables, images), labels).mean()

    def step(carry, indices):
        variables, opt_state = carry
        updates, opt_state = tx.update(jax.grad(loss)(variables, x[indices], y[indices]), opt_state)
        return (optax.apply_updates(variables, updates), opt_state), None

    def epoch(carry, epoch_key):
        batches = jax.random.permutation(epoch_key, len(x))[: steps * batch].reshape(steps, batch)
        return jax.lax.scan(step, carry, batches)

    return jax.lax.scan(epoch, (variables, tx.init(variables)), jax.random.split(key, epochs))[0][0]


@functools.partial(jax.jit, static_argnums=0)
def accuracy(model: nn.Module, variables, x: jax.Array, y: jax.Array) -> jax.Array:
    """Return the accuracy in per cent."""
    return 100 * jnp.mean(jnp.argmax(model.apply(variables, x), -1) == y)


def budgets(name: str, model: nn.Module, data, options) -> tuple[dict, dict, tuple, float]:
    """Compress and fine-tune one network with every codec and budget.

    Returns:
      Accuracies (before, after fine-tuning) and the fine-tuned networks, both by (codec, fraction); the dense network
      and its accuracy.
    """
    x, y, x_test, y_test = data
    variables = model.init(jax.random.key(0), x[:1])
    variables = train(model, variables, x, y, 2 if options.fast else 40, 3e-3)
    dense_accuracy = float(accuracy(model, variables, x_test, y_test))
    table = simple_table(f"{name}: {dense_accuracy:.1f} % dense; accuracy compressed, then fine-tuned (%)")
    codecs = dict(list(CODECS.items())[:: 2 if options.fast else 1])
    for title in ("fraction of numbers", *codecs):
        table.add_column(title, justify="right")
    scores, tuned = {}, {}
    for fraction in FRACTIONS[1:2] if options.fast else FRACTIONS:
        row = []
        for codec, make in codecs.items():
            small = compress(model, variables, x[:1], make(fraction), where=is_large)
            before = float(accuracy(small.model, small.variables, x_test, y_test))
            trained = train(small.model, small.variables, x, y, 1 if options.fast else 15, 1e-3)
            after = float(accuracy(small.model, trained, x_test, y_test))
            scores[codec, fraction] = (before, after)
            tuned[codec, fraction] = (small, trained)
            row.append(f"{before:.1f}  {after:.1f}")
        table.add_row(f"{100 * fraction:.0f} %", *row)
    print(as_text(table), "\n")
    return scores, tuned, (model, variables), dense_accuracy


def on_hardware(tuned: dict, dense: tuple, data, options) -> None:
    """Print cells, conversions and energy of the 256 x 256 kernel, and the accuracy of the networks on chips."""
    x, _, x_test, y_test = data
    table = simple_table("The 256 x 256 kernel on PCM, and the accuracy of chips a day after programming")
    for title in ("stored as", "numbers", "cells", "MACs", "conversions", "energy", "low to high", "accuracy (%)"):
        table.add_column(title, justify="left" if title == "stored as" else "right")
    forms = {"dense": dense} | {codec: (small.model, v) for (codec, f), (small, v) in tuned.items() if f == 0.1}
    if options.fast:
        del forms["low rank"]
    n, chips = (20, 2) if options.fast else (len(x_test), 20)
    for name, (model, variables) in forms.items():
        analog = convert(model, preset("pcm"))
        rows = [row for row in summary(analog, variables, x[:1]) if row.path.startswith("Dense_1")]
        variables = calibrate(analog, variables, x[:200])
        breakdown = compare(analog, variables, x_test[:50], systems=("H100",)).hardware
        items = [item for item in breakdown.items if item.layer.startswith("Dense_1")]
        scores = (
            100
            * evaluate(
                analog, variables, x_test[:n], y_test[:n], key=jax.random.key(2), times=("1 day",), chips=chips
            ).score
        )
        macs = math.prod(rows[0].shape) if name == "dense" else tuned[name, 0.1][0].layers["Dense_1"].macs
        low, typical, high = (sum(getattr(item, f"energy{e}_j") for item in items) for e in ("_low", "", "_high"))
        counts = (
            sum(row.weights for row in rows),
            sum(row.cells for row in rows),
            macs,
            sum(item.count for item in items if item.component == "ADC"),
        )
        energy = (show(typical, "J"), f"{show(low, 'J')} to {show(high, 'J')}")
        table.add_row(name, *map(as_count, counts), *energy, f"{scores.mean().item():.1f} ± {scores.std().item():.1f}")
    print(as_text(table))


def draw(networks: dict) -> Axes:
    """Draw accuracy versus the fraction of numbers, one panel per network."""
    left = plot.new_axes(9.6, 4.4)
    figure = left.figure
    left.remove()
    with plot.style():
        panels = figure.subplots(1, len(networks), sharey=True)
        for ax, (name, (scores, dense_accuracy)) in zip(panels, networks.items(), strict=True):
            for codec, colour in zip(CODECS, plot.COLOURS, strict=False):
                if not any(c == codec for c, _ in scores):  # a smoke run skips one codec
                    continue
                percent = [100 * fraction for c, fraction in scores if c == codec]
                before, after = zip(*(both for (c, _), both in scores.items() if c == codec), strict=True)
                ax.plot(percent, before, "o:", color=colour, markerfacecolor="white")
                ax.plot(percent, after, "o-", color=colour, label=codec)
            ax.axhline(dense_accuracy, color="#555555", linestyle="--", linewidth=1, label="dense")
            ax.set_xscale("log")
            ax.set_xticks(percent, [f"{p:.0f} %" for p in percent])
            ax.minorticks_off()
            ax.set_title(name)
            ax.set_xlabel("fraction of numbers in the kernels")
        panels[0].set_ylabel("accuracy (%)")
        handles, labels = panels[0].get_legend_handles_labels()
        title = "solid: fine-tuned, dotted: before fine-tuning"
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), title=title)
    return panels[0]


def main() -> None:
    options = arguments(__doc__)
    data = x, y, x_test, y_test = load_digits()
    sequences = x.reshape(-1, 8, 8), y, x_test.reshape(-1, 8, 8), y_test  # the rows of an image as a sequence
    scores, tuned, dense, dense_accuracy = budgets("Perceptron", MLP(10, hidden=(256, 256)), data, options)
    networks = {"Perceptron": (scores, dense_accuracy)}
    scores, _, _, dense_accuracy = budgets("Transformer", Transformer(10), sequences, options)
    networks["Transformer"] = (scores, dense_accuracy)
    on_hardware(tuned, dense, data, options)
    save(draw(networks), options.out / "fewer_numbers.png")


if __name__ == "__main__":
    main()
