"""Sweep a physical number of the hardware over sampled chips in one compiled program.

    python examples/noise_sweep.py

Hardware is a pytree whose numbers may be traced, so a sweep is a ``jax.vmap`` (or ``lax.map``) over them, and
``jax.grad`` of a score with respect to the hardware is its sensitivity. Expected: accuracy falls as programming noise
grows, and the slope at 1 says what better programming would buy.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _shared import arguments, load_digits, save

from analogsim import plot, preset
from analogsim.quickstart import FAST, MLP, Settings, train

PCM = preset("pcm")


def outputs(noise, key, params, x):
    """One chip with ``noise`` times the published programming spread, read once."""
    hardware = PCM.replace(**{"store.cell.programming_noise": noise})
    return MLP(hardware).apply({"params": params}, x, rngs={"analog": key})


@functools.partial(jax.jit, static_argnums=())
def accuracy(levels, keys, params, x, y):
    """Accuracy ``[level, chip]``; one compilation for all of them."""

    def one(noise, key):
        return jnp.mean(jnp.argmax(outputs(noise, key, params, x), -1) == y)

    return jax.lax.map(lambda noise: jax.lax.map(lambda key: one(noise, key), keys), levels)


def loss(noise, keys, params, x, y):
    """Mean loss over chips, smooth in the noise level."""

    def one(key):
        return optax.softmax_cross_entropy_with_integer_labels(outputs(noise, key, params, x), y).mean()

    return jnp.mean(jax.lax.map(one, keys))


def main() -> None:
    options = arguments(__doc__)
    x_train, y_train, x_test, y_test = load_digits()
    params = train(MLP(None), FAST if options.fast else Settings(), x_train, y_train, jax.random.key(0))

    levels = jnp.array([0.0, 1.0, 4.0]) if options.fast else jnp.array([0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0])
    keys = jax.random.split(jax.random.key(1), 4 if options.fast else 50)
    scores = 100 * np.asarray(accuracy(levels, keys, params, x_test, y_test))
    slope = jax.jit(jax.grad(loss))(1.0, keys, params, x_test, y_test)
    for level, row in zip(levels, scores, strict=True):
        print(f"programming noise x {float(level):.1f}: {row.mean():.2f} ± {row.std():.2f} % over {len(keys)} chips")
    print(f"d(loss)/d(programming noise) at the published level: {float(slope):+.4f}")

    ax = plot.new_axes()
    low, high = np.quantile(scores, [0.05, 0.95], axis=1)
    ax.fill_between(levels, low, high, color=plot.COLOURS[0], alpha=0.15, linewidth=0, label="90 % of chips")
    ax.plot(levels, scores.mean(1), "o-", color=plot.COLOURS[0], label="mean")
    ax.set(xlabel="programming noise (multiples of the published spread)", ylabel="accuracy on digits (%)")
    ax.legend()
    save(ax, options.out / "noise_sweep.png")


if __name__ == "__main__":
    main()
