"""Repair an imperfect chip by training digital low-rank factors (LoRA) next to its frozen analog weights.

    python examples/lora_on_a_chip.py

A plain NNX network with ``nnx.LoRALinear`` layers is trained digitally, converted, and programmed onto PCM cells with
four times the published programming noise. After a year it has lost accuracy that drift compensation cannot restore.
The analog weights of the chip stay fixed; small digital factors are trained on the outputs of this chip, with its read
noise.

Expected (8 chips, digital network 97.6 %): 95.8 % before; 97.2, 97.3, 97.4 and 97.6 % with factors of rank 1, 2, 4 and
8. Factors of rank 4 are a seventh as many numbers as the weights.
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
    """A 64-128-10 network with digital low-rank factors."""

    def __init__(self, rank: int, rngs: nnx.Rngs):
        self.hidden = nnx.LoRALinear(64, 128, lora_rank=rank, rngs=rngs)
        self.out = nnx.LoRALinear(128, 10, lora_rank=rank, rngs=rngs)

    def __call__(self, x):
        return self.out(nnx.relu(self.hidden(x)))


def train(model: Net, trained: nnx.filterlib.Filter, x, y, steps: int, rate: float) -> None:
    """Train the parameters that the filter selects, in place; all others stay fixed."""
    optimizer = nnx.Optimizer(model, optax.adam(rate), wrt=trained)

    @nnx.jit
    def step(model, optimizer, x, y):
        def loss(model):
            return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()

        optimizer.update(model, nnx.grad(loss, argnums=nnx.DiffState(0, trained))(model))

    rng = np.random.default_rng(0)
    for _ in range(steps):
        batch = rng.integers(0, len(x), 64)
        step(model, optimizer, x[batch], y[batch])


def accuracy(model: Net, x, y) -> float:
    """Return the accuracy in per cent."""
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
        before, after = scores[i].mean(0)
        print(f"rank {rank}: {before:.1f} % a year after programming, {after:.1f} % with trained factors")
    digital = accuracy(model, x_test, y_test)

    ax = plot.new_axes()
    for j, label in enumerate(("as programmed", "with factors trained on the chip")):
        mean, std = scores[:, :, j].mean(1), scores[:, :, j].std(1)
        ax.errorbar(ranks, mean, yerr=std, fmt="o-", capsize=3, color=plot.COLOURS[j], label=label)
    ax.axhline(digital, color="#555555", linestyle=":", label="digital")
    ax.set(xlabel="rank of the digital factors", ylabel="accuracy after 1 year (%)")
    ax.set_xticks(ranks)
    ax.legend()
    save(ax, options.out / "lora_on_a_chip.png")


if __name__ == "__main__":
    main()
