"""Convert a plain NNX model layer by layer to find the layer that loses most accuracy on analog hardware.

    python examples/convert_model.py

The model is a plain Flax module, trained digitally. ``convert`` puts one layer at a time, then all layers, on hardware
with few ADC bits. Expected: fewer bits cost more accuracy, and the layers differ.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _shared import arguments, load_digits, save
from flax import nnx

import analogsim
from analogsim import convert, plot, preset


class CNN(nnx.Module):
    """Two convolutions and a linear head, for digits of 8 x 8 pixels."""

    def __init__(self, rngs: nnx.Rngs):
        self.first = nnx.Conv(1, 8, (3, 3), rngs=rngs)
        self.second = nnx.Conv(8, 16, (3, 3), strides=2, rngs=rngs)
        self.head = nnx.Linear(256, 10, rngs=rngs)

    def __call__(self, x):
        x = x.reshape(-1, 8, 8, 1)
        x = nnx.relu(self.second(nnx.relu(self.first(x))))
        return self.head(x.reshape(x.shape[0], -1))


def train(model: CNN, x, y, steps: int) -> None:
    """Train the model digitally, in place."""
    optimizer = nnx.Optimizer(model, optax.adam(3e-3), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer, x, y):
        def loss(model):
            return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()

        optimizer.update(model, nnx.grad(loss)(model))

    rng = np.random.default_rng(0)
    for _ in range(steps):
        batch = rng.integers(0, len(x), 64)
        step(model, optimizer, x[batch], y[batch])


def main() -> None:
    options = arguments(__doc__)
    x_train, y_train, x_test, y_test = load_digits()
    model = CNN(nnx.Rngs(0))
    train(model, x_train, y_train, 30 if options.fast else 600)

    test = slice(0, 100) if options.fast else slice(None)
    chips, key = 2 if options.fast else 20, jax.random.key(1)
    bits = (4, 8) if options.fast else (3, 4, 5, 6, 8)
    ax = plot.new_axes()
    for path, colour in zip(("first", "second", "head", ".*"), plot.COLOURS, strict=False):
        means = []
        for b in bits:
            # An array is traced, a Python number is static: as an array, all numbers of bits share one compilation.
            hardware = preset("pcm", **{"adc.bits": jnp.asarray(b)})
            analog = convert(model, [(path, hardware)] + ([] if path == ".*" else [(".*", None)]))
            analogsim.calibrate(analog, None, x_train[:200])
            scores = analogsim.evaluate(
                analog, None, x_test[test], y_test[test], key=key, chips=chips, times=("1 day",)
            )
            means.append(100 * float(scores.score.mean()))
        name = "all layers" if path == ".*" else f"only '{path}'"
        print(f"{name:14}" + "  ".join(f"{b} bits {m:.1f} %" for b, m in zip(bits, means, strict=True)))
        ax.plot(bits, means, "o-", color=colour, label=name)
    digital = 100 * float(jnp.mean(jnp.argmax(model(x_test[test]), -1) == y_test[test]))
    ax.axhline(digital, color="#555555", linestyle=":", label="digital")
    ax.set(xlabel="ADC bits", ylabel="accuracy after 1 day (%)")
    ax.set_xticks(bits)
    ax.legend()
    save(ax, options.out / "convert_model.png")


if __name__ == "__main__":
    main()
