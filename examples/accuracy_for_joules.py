"""Trade accuracy for energy: train with the energy of the cells as a term of the loss.

    python examples/accuracy_for_joules.py

A 64-256-10 network for handwritten digits is trained on fresh chips of resistive memory (ReRAM) with

    loss = cross-entropy + weight * energy of the cells per inference

A cell takes conductance times squared voltage times time, so the network learns weights that are small compared with
the largest of their column, and activations that are small compared with the input range. The accuracy is that of
sampled chips an hour after programming. Converters and the rest of the chip take the same energy for any weights, so
the whole inference saves less than its cells.

Expected: a third of the cells' energy costs a few tenths of a point of accuracy, a twelfth less than two points; the
whole inference saves less than a tenth. Half a minute on two cores.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from _shared import arguments, load_digits, save
from matplotlib.axes import Axes

from analogsim import convert, evaluate, plot, preset
from analogsim.base import show
from analogsim.base.tables import as_text, simple_table
from analogsim.energy import inference_j
from analogsim.training.recipes.networks import MLP

WEIGHTS = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)  # of the energy in the loss, per nanojoule
CELLS = ("cells", "word lines")


@functools.partial(jax.jit, static_argnums=(0, 1))
def train(model: nn.Module, epochs: int, x: jax.Array, y: jax.Array, weight: jax.Array, key: jax.Array):
    """Return parameters trained on fresh chips; the weight of the energy is traced, so one compilation serves all."""
    batch = 64
    steps = len(x) // batch
    tx = optax.adam(optax.cosine_decay_schedule(3e-3, epochs * steps))
    params = model.init(jax.random.fold_in(key, 0), x[:1])["params"]

    def loss(params, images, labels, chip_key):
        logits = model.apply({"params": params}, images, rngs={"analog": chip_key})
        task_loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        return task_loss + weight * 1e9 * inference_j(model, {"params": params}, images, components=CELLS)

    def step(carry, inputs):
        params, opt_state = carry
        indices, chip_key = inputs
        gradient = jax.grad(loss)(params, x[indices], y[indices], chip_key)
        updates, opt_state = tx.update(gradient, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), None

    def epoch(carry, epoch_key):
        batches = jax.random.permutation(epoch_key, len(x))[: steps * batch].reshape(steps, batch)
        return jax.lax.scan(step, carry, (batches, jax.random.split(epoch_key, steps)))

    (params, _), _ = jax.lax.scan(epoch, (params, tx.init(params)), jax.random.split(key, epochs))
    return params


def main() -> None:
    options = arguments(__doc__)
    x, y, x_test, y_test = load_digits()
    model = convert(MLP(10, hidden=(256,)), preset("reram"))
    chips = 4 if options.fast else 25
    table = simple_table("Digits on resistive memory, an hour after programming")
    for title in ("weight in the loss (1/nJ)", "accuracy (%)", "energy of the cells", "energy per inference"):
        table.add_column(title, justify="right")
    points = []
    for weight in WEIGHTS[::3] if options.fast else WEIGHTS:
        params = train(model, 2 if options.fast else 40, x, y, jnp.float32(weight), jax.random.key(0))
        variables = {"params": params}
        scores = evaluate(model, variables, x_test, y_test, key=jax.random.key(1), times=("1 hour",), chips=chips).score
        cells_j = float(inference_j(model, variables, x_test, components=CELLS))
        total_j = float(inference_j(model, variables, x_test))
        mean, std = 100 * scores.mean().item(), 100 * scores.std().item()
        points.append((cells_j, mean, std, weight))
        table.add_row(f"{weight:g}", f"{mean:.2f} ± {std:.2f}", show(cells_j, "J"), show(total_j, "J"))
    print(as_text(table))
    save(draw(points), options.out / "accuracy_for_joules.png")


def draw(points: list[tuple[float, float, float, float]]) -> Axes:
    """Draw accuracy versus energy of the cells, one point per weight in the loss."""
    ax = plot.new_axes(6.4, 4.0)
    cells_j, means, stds, weights = zip(*points, strict=True)
    ax.errorbar([1e12 * e for e in cells_j], means, yerr=stds, color=plot.COLOURS[0], marker="o", capsize=3)
    for e, mean, weight in zip(cells_j, means, weights, strict=True):
        ax.annotate(f"{weight:g}", (1e12 * e, mean), xytext=(6, -13), textcoords="offset points", fontsize=9)
    ax.set_xscale("log")
    ticks = [t for t in (20, 50, 100, 200, 500, 1000, 2000) if min(cells_j) * 0.7e12 < t < max(cells_j) * 1.4e12]
    ax.set_xticks(ticks, [f"{t} pJ" for t in ticks])
    ax.minorticks_off()
    ax.set_xlabel("energy of the cells per inference (labels: weight in the loss, 1/nJ)", fontsize=10)
    ax.set_ylabel("accuracy on chips (%)")
    return ax


if __name__ == "__main__":
    main()
