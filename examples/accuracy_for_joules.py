"""Trading accuracy for joules: the energy of the cells as a term of the training loss.

    python examples/accuracy_for_joules.py

A 64-256-10 network for handwritten digits is trained on fresh chips of resistive memory with

    loss = cross-entropy + weight * joules of the cells

A cell takes siemens times squared voltage times time, so the network learns weights that are small beside the largest
of their column, and activations that are small beside the input range. Accuracy is that of sampled chips an hour after
programming. Converters and the rest of the chip do not care what the weights are, so the whole inference gains less
than its cells do. Expected: a third of the cells' joules for a few tenths of a point, a twelfth for under two points;
less than a tenth of the whole inference. Half a minute on two cores.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from _shared import arguments, load_digits, save

from analogsim import convert, evaluate, plot, preset
from analogsim.base import show
from analogsim.base.tables import as_text, simple_table
from analogsim.energy import inference_j
from analogsim.training.recipes.networks import MLP

WEIGHTS = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)  # of the energy in the loss, per nanojoule
CELLS = ("cells", "word lines")


@functools.partial(jax.jit, static_argnums=(0, 1))
def train(model: nn.Module, epochs: int, x: jax.Array, y: jax.Array, weight: jax.Array, key: jax.Array):
    """Parameters after training on fresh chips; one compilation for every weight of the energy."""
    batch = 64
    steps = len(x) // batch
    tx = optax.adam(optax.cosine_decay_schedule(3e-3, epochs * steps))
    params = model.init(jax.random.fold_in(key, 0), x[:1])["params"]

    def loss(params, images, labels, chip):
        logits = model.apply({"params": params}, images, rngs={"analog": chip})
        task = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        return task + weight * 1e9 * inference_j(model, {"params": params}, images, components=CELLS)

    def step(carry, now):
        params, state = carry
        indices, chip = now
        slope = jax.grad(loss)(params, x[indices], y[indices], chip)
        updates, state = tx.update(slope, state, params)
        return (optax.apply_updates(params, updates), state), None

    def epoch(carry, own):
        order = jax.random.permutation(own, len(x))[: steps * batch].reshape(steps, batch)
        return jax.lax.scan(step, carry, (order, jax.random.split(own, steps)))

    (params, _), _ = jax.lax.scan(epoch, (params, tx.init(params)), jax.random.split(key, epochs))
    return params


def main() -> None:
    options = arguments(__doc__)
    x, y, x_test, y_test = load_digits()
    model = convert(MLP(10, hidden=(256,)), preset("reram"))
    table = simple_table("Digits on resistive memory, an hour after programming")
    for name in ("weight in the loss (1/nJ)", "accuracy (%)", "cells", "whole inference"):
        table.add_column(name, justify="right")
    points = []
    for weight in WEIGHTS[::3] if options.fast else WEIGHTS:
        params = train(model, 2 if options.fast else 40, x, y, jnp.float32(weight), jax.random.key(0))
        variables = {"params": params}
        scores = evaluate(model, variables, x_test, y_test, key=jax.random.key(1), times=("1 hour",),
                          chips=4 if options.fast else 25).score  # fmt: skip
        cells = float(inference_j(model, variables, x_test, components=CELLS))
        whole = float(inference_j(model, variables, x_test))
        points.append((cells, 100 * scores.mean().item(), 100 * scores.std().item(), weight))
        spread = f"{points[-1][1]:.2f} ± {points[-1][2]:.2f}"
        table.add_row(f"{weight:g}", spread, show(cells, "J"), show(whole, "J"))
    print(as_text(table))
    save(draw(points), options.out / "accuracy_for_joules.png")


def draw(points: list[tuple[float, float, float, float]]):
    """Accuracy over the cells' joules, a point for every weight."""
    ax = plot.new_axes(6.4, 4.0)
    cells, accuracy, spread, weights = zip(*points, strict=True)
    ax.errorbar([1e12 * c for c in cells], accuracy, yerr=spread, color=plot.COLOURS[0], marker="o", capsize=3)
    for c, a, w in zip(cells, accuracy, weights, strict=True):
        ax.annotate(f"{w:g}", (1e12 * c, a), xytext=(6, -13), textcoords="offset points", fontsize=9)
    ax.set_xscale("log")
    ticks = [t for t in (20, 50, 100, 200, 500, 1000, 2000) if min(cells) * 0.7e12 < t < max(cells) * 1.4e12]
    ax.set_xticks(ticks, [f"{t} pJ" for t in ticks])
    ax.minorticks_off()
    ax.set_xlabel("energy of the cells for one inference (numbers: weight in the loss, 1/nJ)", fontsize=10)
    ax.set_ylabel("accuracy on chips (%)")
    return ax


if __name__ == "__main__":
    main()
