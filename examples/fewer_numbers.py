"""Networks with fewer numbers: tensor trains and low rank, before and after fine-tuning, and what they cost on PCM.

    python examples/fewer_numbers.py

The large kernels of two networks for handwritten digits, a 64-256-256-10 perceptron and a Transformer of two blocks
(projections and feed-forward layers), are held as tensor trains of two and of three cores and as low-rank products,
each within the same budgets of numbers, and then trained on. The perceptron at a tenth of its numbers is put on
phase-change memory, every core on tiles of its own: cells, conversions and joules of its 256 x 256 kernel, and the
accuracy of chips a day after programming.

Expected: as compressed, low rank keeps the most at every budget. After fine-tuning trains win where numbers are few: 92
to 93 % against 66 % (perceptron) and 84 % against 74 % (Transformer) at 5 % of the numbers. From 20 % on all are
within 2 points of each other, and low rank is ahead in half of the cases; one start each, one test image is 0.22
points. On hardware trains pay for it: a tenth of the cells, but 13 to 22 times the conversions and joules of the dense
kernel, where low rank takes about as many of both as that. A quarter of an hour on two cores that others use, too.
"""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from _shared import arguments, load_digits, save

from analogsim import calibrate, convert, evaluate, plot, preset, summary
from analogsim.base import show
from analogsim.base.tables import as_count, as_text, simple_table
from analogsim.codecs import LowRank, TensorTrain, compress
from analogsim.energy import compare
from analogsim.training.recipes.networks import MLP, Transformer

SHARES = (0.05, 0.1, 0.2, 0.4)
CODECS = {
    "train of 2 cores": lambda share: TensorTrain(cores=2, max_fraction=share),
    "train of 3 cores": lambda share: TensorTrain(cores=3, max_fraction=share),
    "low rank": lambda share: LowRank(max_fraction=share),
}


def is_large(layer) -> bool:
    """What is compressed: kernels of 4096 numbers and more."""
    return math.prod(layer.shape) >= 4096


@functools.partial(jax.jit, static_argnums=(0, 4, 5))
def train(model: nn.Module, variables, x: jax.Array, y: jax.Array, epochs: int, rate: float):
    """Plain digital training."""
    batch, key = 64, jax.random.key(1)
    steps = len(x) // batch
    tx = optax.adam(optax.cosine_decay_schedule(rate, epochs * steps))

    def loss(variables, images, labels):
        return optax.softmax_cross_entropy_with_integer_labels(model.apply(variables, images), labels).mean()

    def step(carry, indices):
        variables, state = carry
        updates, state = tx.update(jax.grad(loss)(variables, x[indices], y[indices]), state)
        return (optax.apply_updates(variables, updates), state), None

    def epoch(carry, own):
        order = jax.random.permutation(own, len(x))[: steps * batch].reshape(steps, batch)
        return jax.lax.scan(step, carry, order)

    return jax.lax.scan(epoch, (variables, tx.init(variables)), jax.random.split(key, epochs))[0][0]


@functools.partial(jax.jit, static_argnums=0)
def accuracy(model: nn.Module, variables, x: jax.Array, y: jax.Array) -> jax.Array:
    """In per cent."""
    return 100 * jnp.mean(jnp.argmax(model.apply(variables, x), -1) == y)


def budgets(name: str, model: nn.Module, data, options) -> tuple[dict, dict, tuple, float]:
    """Accuracies (before, after) by codec and fraction, what was fine-tuned, the dense network, and its accuracy."""
    x, y, x_test, y_test = data
    variables = model.init(jax.random.key(0), x[:1])
    variables = train(model, variables, x, y, 2 if options.fast else 40, 3e-3)
    exact = float(accuracy(model, variables, x_test, y_test))
    table = simple_table(f"{name}: {exact:.1f} % dense; accuracy compressed, then fine-tuned (%)")
    for column in ("share of numbers", *list(CODECS)[:: 2 if options.fast else 1]):
        table.add_column(column, justify="right")
    scores, tuned = {}, {}
    for share in SHARES[1:2] if options.fast else SHARES:
        row = []
        for codec, make in list(CODECS.items())[:: 2 if options.fast else 1]:
            found = compress(model, variables, x[:1], make(share), where=is_large)
            before = float(accuracy(found.model, found.variables, x_test, y_test))
            after = train(found.model, found.variables, x, y, 1 if options.fast else 15, 1e-3)
            scores[codec, share] = (before, float(accuracy(found.model, after, x_test, y_test)))
            tuned[codec, share] = (found, after)
            row.append("{:.1f}  {:.1f}".format(*scores[codec, share]))
        table.add_row(f"{100 * share:.0f} %", *row)
    print(as_text(table), "\n")
    return scores, tuned, (model, variables), exact


def on_hardware(tuned: dict, dense: tuple, data, options) -> None:
    """One kernel's cells, conversions and joules, and whole networks on chips."""
    x, _, x_test, y_test = data
    table = simple_table("The 256 x 256 kernel on PCM, and the accuracy of chips a day after programming")
    for column in ("held as", "numbers", "cells", "MACs", "conversions", "energy", "low to high", "accuracy (%)"):
        table.add_column(column, justify="left" if column == "held as" else "right")
    forms = {"dense": dense} | {c: (found.model, after) for (c, s), (found, after) in tuned.items() if s == 0.1}
    if options.fast:
        del forms["low rank"]
    n = 20 if options.fast else len(x_test)
    for name, (model, variables) in forms.items():
        analog = calibrate_on(convert(model, preset("pcm")), variables, x[:200])
        breakdown = compare(analog[0], analog[1], x_test[:50], systems=("H100",)).hardware
        lines = [line for line in breakdown.items if line.layer.startswith("Dense_1")]
        rows = [row for row in summary(analog[0], variables, x[:1]) if row.path.startswith("Dense_1")]
        scores = evaluate(*analog, x_test[:n], y_test[:n], key=jax.random.key(2), times=("1 day",),
                          chips=2 if options.fast else 20).score  # fmt: skip
        macs = math.prod(rows[0].shape) if name == "dense" else tuned[name, 0.1][0].layers["Dense_1"].macs
        low, typical, high = (sum(getattr(line, f"energy{e}_j") for line in lines) for e in ("_low", "", "_high"))
        table.add_row(
            name, as_count(sum(row.weights for row in rows)), as_count(sum(row.cells for row in rows)), as_count(macs),
            as_count(sum(line.count for line in lines if line.component == "ADC")), show(typical, "J"),
            f"{show(low, 'J')} to {show(high, 'J')}",
            f"{100 * scores.mean().item():.1f} ± {100 * scores.std().item():.1f}",
        )  # fmt: skip
    print(as_text(table))


def calibrate_on(model: nn.Module, variables, x: jax.Array) -> tuple:
    """The model with ranges of its converters."""
    return model, calibrate(model, variables, x)


def draw(networks: dict):
    """Accuracy over the share of numbers, one panel a network."""
    left = plot.new_axes(9.6, 4.4)
    figure = left.figure
    left.remove()
    with plot.style():
        panels = figure.subplots(1, len(networks), sharey=True)
        for ax, (name, (scores, exact)) in zip(panels, networks.items(), strict=True):
            for codec, colour in zip(CODECS, plot.COLOURS, strict=False):
                if not any(c == codec for c, _ in scores):  # a smoke run leaves one out
                    continue
                shares = [100 * share for c, share in scores if c == codec]
                before, after = zip(*(both for (c, _), both in scores.items() if c == codec), strict=True)
                ax.plot(shares, before, "o:", color=colour, markerfacecolor="white")
                ax.plot(shares, after, "o-", color=colour, label=codec)
            ax.axhline(exact, color="#555555", linestyle="--", linewidth=1, label="dense")
            ax.set_xscale("log")
            ax.set_xticks(shares, [f"{share:.0f} %" for share in shares])
            ax.minorticks_off()
            ax.set_title(name)
            ax.set_xlabel("numbers in the compressed kernels")
        panels[0].set_ylabel("accuracy (%)")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels),
                      title="solid: fine-tuned, dotted: as compressed")  # fmt: skip
    return panels[0]


def main() -> None:
    options = arguments(__doc__)
    x, y, x_test, y_test = load_digits()
    rows = tuple(a.reshape(-1, 8, 8) for a in (x, x_test))
    scores, tuned, dense, exact = budgets("Perceptron", MLP(10, hidden=(256, 256)), (x, y, x_test, y_test), options)
    networks = {"Perceptron": (scores, exact)}
    scores, _, _, exact = budgets("Transformer", Transformer(10), (rows[0], y, rows[1], y_test), options)
    networks["Transformer"] = (scores, exact)
    on_hardware(tuned, dense, (x, y, x_test, y_test), options)
    save(draw(networks), options.out / "fewer_numbers.png")


if __name__ == "__main__":
    main()
