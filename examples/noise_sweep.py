"""Sweep a physical number of the hardware over sampled chips and ages, in one call.

    python examples/noise_sweep.py

Numbers of the hardware are swept in one compiled program; the results are labelled, and grow in ``noise_sweep.nc``:
stop it with Ctrl-C and start it again, and it goes on. Hardware is a pytree, so ``jax.grad`` of a score with respect to
a number is its sensitivity. Expected: accuracy falls as programming noise grows, more on old chips, and the slope at 1
says what better programming would buy.
"""

import jax
import jax.numpy as jnp
import optax
from _shared import arguments, load_digits, save

from analogsim import ChipScores, chip_statistics, plot, preset, sweep
from analogsim.cli.quickstart import FAST, MLP, Settings, train

PCM = preset("pcm")


def loss(noise, keys, params, x, y):
    """Mean loss over chips, smooth in the noise level."""

    def one(key):
        hardware = PCM.replace(**{"store.cell.programming_noise": noise})
        logits = MLP(hardware).apply({"params": params}, x, rngs={"analog": key})
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    return jnp.mean(jax.lax.map(one, keys))


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
        words = (f"{float(age.sel(statistic='mean')):.2f} ± {float(age.sel(statistic='std')):.2f} %" for age in
                 (row.isel(time=0), row.isel(time=1)))  # fmt: skip
        print(f"programming noise x {level:.1f}, {n_chips} chips: {', a year later '.join(words)}")

    keys = jax.random.split(jax.random.key(1), n_chips)
    slope = jax.jit(jax.grad(loss))(1.0, keys, params, x_test, y_test)
    print(f"d(loss)/d(programming noise) at the published level: {float(slope):+.4f}")
    save(plot.sweep(data), options.out / "noise_sweep.png")


if __name__ == "__main__":
    main()
