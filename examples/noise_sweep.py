"""Sweep a physical number of the hardware over sampled chips and ages, in one call.

    python examples/noise_sweep.py

Numbers of the hardware are swept in one compiled program. The labelled results are saved to ``noise_sweep.nc`` as they
are computed; after Ctrl-C, a second run resumes. Hardware is a pytree, so ``jax.grad`` of the loss with respect to a
number gives its sensitivity. Expected: accuracy falls as programming noise grows, more on old chips; the gradient at 1
shows the benefit of more precise programming.
"""

import jax
import jax.numpy as jnp
import optax
from _shared import arguments, load_digits, save

from analogsim import ChipScores, chip_statistics, plot, preset, sweep
from analogsim.cli.quickstart import FAST, MLP, Settings, train

PCM = preset("pcm")


def loss(noise, keys, params, x, y):
    """Return the mean loss over chips, a smooth function of the noise level."""

    def chip_loss(key):
        hardware = PCM.replace(**{"store.cell.programming_noise": noise})
        logits = MLP(hardware).apply({"params": params}, x, rngs={"analog": key})
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    return jnp.mean(jax.lax.map(chip_loss, keys))


def main() -> None:
    options = arguments(__doc__)
    x_train, y_train, x_test, y_test = load_digits()
    params = train(MLP(None), FAST if options.fast else Settings(), x_train, y_train, jax.random.key(0))
    n_chips = 4 if options.fast else 50

    levels = [0.0, 1.0, 4.0] if options.fast else [0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0]
    data = sweep(
        ChipScores(MLP(PCM), {"params": params}, x_test, y_test, calibrate=x_train[:500]),
        over={"store.cell.programming_noise": levels, "time": ["1 s", "1 year"]},
        key=jax.random.key(1),
        chips=n_chips,
        path=options.out / ("noise_sweep_fast.nc" if options.fast else "noise_sweep.nc"),
        title="Programming noise of phase-change memory",
    )
    accuracy = 100 * chip_statistics(data).score
    for level in levels:
        row = accuracy.sel({"store.cell.programming_noise": level})
        fresh, old = (
            f"{float(row.sel(time=t, statistic='mean')):.2f} ± {float(row.sel(time=t, statistic='std')):.2f} %"
            for t in row.time
        )
        print(f"programming noise x {level:.1f}, {n_chips} chips: {fresh}, after a year {old}")

    keys = jax.random.split(jax.random.key(1), n_chips)
    gradient = jax.jit(jax.grad(loss))(1.0, keys, params, x_test, y_test)
    print(f"d(loss)/d(programming noise) at the published level: {float(gradient):+.4f}")
    save(plot.sweep(data), options.out / "noise_sweep.png")


if __name__ == "__main__":
    main()
