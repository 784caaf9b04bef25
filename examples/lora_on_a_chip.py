"""Fine-tune low-rank factors (LoRA) beside frozen analog weights, so that one imperfect chip works again.

    python examples/lora_on_a_chip.py

A plain NNX network with ``nnx.LoRALinear`` layers is trained digitally, converted, and programmed onto PCM cells that
are four times as imprecise as published ones. After a year it has lost accuracy that drift compensation cannot bring
back. The chip's weights stay as they are; small digital factors beside them are trained on what this chip computes, its
read noise included.

Expected (8 chips, exact network 97.6 %): 95.8 % before; 97.2, 97.3, 97.4 and 97.6 % with factors of rank 1, 2, 4 and 8.
Those of rank 4 are a seventh of the weights.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _shared import arguments, load_digits, save
from flax import nnx

import analogsim
from analogsim import convert, plot, preset
from analogsim.nnx import on_chip

BASE = nnx.All(nnx.Param, nnx.Not(nnx.LoRAParam))


class Net(nnx.Module):
    """64-128-10."""

    def __init__(self, rank: int, rngs: nnx.Rngs):
        self.hidden = nnx.LoRALinear(64, 128, lora_rank=rank, rngs=rngs)
        self.out = nnx.LoRALinear(128, 10, lora_rank=rank, rngs=rngs)

    def __call__(self, x):
        return self.out(nnx.relu(self.hidden(x)))


def train(model: Net, which, x, y, steps: int, rate: float) -> None:
    """Change the parameters of one kind, and nothing else."""
    optimizer = nnx.Optimizer(model, optax.adam(rate), wrt=which)

    @nnx.jit
    def step(model, optimizer, x, y):
        def loss(model):
            return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()

        optimizer.update(model, nnx.grad(loss, argnums=nnx.DiffState(0, which))(model))

    order = np.random.default_rng(0)
    for _ in range(steps):
        batch = order.integers(0, len(x), 64)
        step(model, optimizer, x[batch], y[batch])


def accuracy(model: Net, x, y) -> float:
    """In per cent."""
    return 100 * float(jnp.mean(jnp.argmax(model(x), -1) == y))


def main() -> None:
    options = arguments(__doc__)
    x_train, y_train, x_test, y_test = load_digits()
    ranks, chips, steps = ((2,), 1, 20) if options.fast else ((1, 2, 4, 8), 8, 300)
    hardware = preset("pcm", **{"store.cell.programming_noise": 4.0})

    scores = np.zeros((len(ranks), chips, 2))
    for i, rank in enumerate(ranks):
        model = Net(rank, nnx.Rngs(0))
        train(model, BASE, x_train, y_train, steps * 2, 3e-3)
        analog = convert(model, hardware)  # the factors stay digital
        if i == 0:
            print(analogsim.summary(analog, x=x_test[:1]))
        analogsim.calibrate(analog, None, x_train[:200])
        for n in range(chips):
            chip = analogsim.program(analog, key=jax.random.key(n)).at("1 year")
            aged = on_chip(analog, chip, key=jax.random.key(100 + n))
            before = accuracy(aged, x_test, y_test)
            train(aged, nnx.LoRAParam, x_train, y_train, steps, 3e-3)
            scores[i, n] = before, accuracy(aged, x_test, y_test)
        lost, kept = scores[i].mean(0)
        print(f"rank {rank}: {lost:.1f} % on a chip of one year, {kept:.1f} % with its factors trained")
    digital = accuracy(model, x_test, y_test)

    ax = plot.new_axes()
    for j, (label, colour) in enumerate(
        zip(("programmed", "with factors trained on the chip"), plot.COLOURS, strict=False)
    ):
        mean, spread = scores[:, :, j].mean(1), scores[:, :, j].std(1)
        ax.errorbar(ranks, mean, yerr=spread, fmt="o-", capsize=3, color=colour, label=label)
    ax.axhline(digital, color="#555555", linestyle=":", label="digital")
    ax.set(xlabel="rank of the digital factors", ylabel="accuracy after 1 year (%)")
    ax.set_xticks(ranks)
    ax.legend()
    save(ax, options.out / "lora_on_a_chip.png")


if __name__ == "__main__":
    main()
