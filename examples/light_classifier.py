"""Classify digits on interferometer meshes: accuracy versus bits per phase, coupler errors, loss, size and photons.

    python examples/light_classifier.py

A digitally trained network runs on sampled meshes, each with its own fabrication errors, without training on them.
Expected: six bits per phase are needed and seven suffice; phases that compensate for the couplers' errors tolerate
larger ones; loss grows with the size of a mesh, so large meshes need better waveguides or more light; with perfect
phases, less than one photon per multiplication is enough to recognise most digits. Ten minutes.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from _shared import arguments, load_digits, save
from matplotlib.axes import Axes

from analogsim import plot, preset
from analogsim.cli.quickstart import FAST, MLP, Settings, train
from analogsim.devices.photonic.light import photon_j

MESH = preset("mzi-mesh")
PERFECT = {
    "store.splitter_rad": 0.0, "store.shifter.offset_rad": 0.0, "store.shifter.bits": None,
    "store.shifter.crosstalk": None, "dac": None, "adc": None,
}  # fmt: skip


@functools.partial(jax.jit, static_argnames="name")
def accuracies(hardware, name, values, keys, params, x, y):
    """Return the accuracy of fresh chips in per cent, ``[value, chip]``, for values of one field of the hardware."""

    def accuracy(value, key):
        model = MLP(hardware.replace(**{name: value}))
        outputs = model.apply({"params": params}, x, rngs={"analog": key})
        return 100 * jnp.mean(jnp.argmax(outputs, -1) == y)

    return jax.lax.map(lambda value: jax.lax.map(lambda key: accuracy(value, key), keys), values)


def draw(ax: Axes, xs, scores, label: str, colour: str) -> None:
    low, high = np.quantile(scores, [0.05, 0.95], axis=1)
    ax.fill_between(xs, low, high, color=colour, alpha=0.15, linewidth=0)
    ax.plot(xs, np.mean(scores, 1), "o-", color=colour, label=label, markersize=4)


def main() -> None:
    options = arguments(__doc__)
    x_train, y_train, x_test, y_test = load_digits()
    params = train(MLP(None), FAST if options.fast else Settings(), x_train, y_train, jax.random.key(0))
    digital = 100 * float(jnp.mean(jnp.argmax(MLP(None).apply({"params": params}, x_test), -1) == y_test))
    keys = jax.random.split(jax.random.key(1), 2 if options.fast else 20)
    print(f"digital: {digital:.2f} %, {len(keys)} chips each")

    def measured(changes, name, values):
        scores = accuracies(MESH.replace(**changes), name, values, keys, params, x_test, y_test)
        return np.asarray(scores)

    first = plot.new_axes(9.5, 6.6)
    figure = first.figure
    first.remove()
    with plot.style():
        phases, couplers, loss, light = figure.subplots(2, 2, sharey=True).ravel()

    bits = jnp.array([6, 8]) if options.fast else jnp.array([3, 4, 5, 6, 7, 8, 10])
    scores = measured({}, "store.shifter.bits", bits)
    draw(phases, bits, scores, "32 x 32", plot.COLOURS[0])
    print("phases:", *(f"{b} bits {s:.1f} %" for b, s in zip(bits, scores.mean(1), strict=True)))

    coupler_std = jnp.array([0.0, 0.1]) if options.fast else jnp.array([0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12])
    for aware, colour in ((True, plot.COLOURS[0]), (False, plot.COLOURS[1])):
        label = "errors compensated" if aware else "errors ignored"
        scores = measured({"store.error_aware": aware}, "store.splitter_rad", coupler_std)
        draw(couplers, coupler_std, scores, label, colour)
        print(
            f"coupler {label}:", *(f"{r:.2f} rad {s:.1f} %" for r, s in zip(coupler_std, scores.mean(1), strict=True))
        )

    losses = jnp.array([0.0, 0.3]) if options.fast else jnp.array([0.0, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0])
    for size, colour in zip((8, 32) if options.fast else (8, 16, 32, 64), plot.COLOURS, strict=False):
        scores = measured(
            {"rows": size, "columns": size, "store.coupler_loss_db": 0.0}, "store.shifter_loss_db", losses / 2
        )
        draw(loss, losses, scores, f"{size} x {size}", colour)
        print(f"{size} x {size}:", *(f"{d:.1f} dB {s:.1f} %" for d, s in zip(losses, scores.mean(1), strict=True)))

    photons = jnp.logspace(-2, 2, 3 if options.fast else 9)
    store = MESH.store
    watts = photons * MESH.rows * MESH.columns * photon_j() * store.rate_hz
    lossless = PERFECT | {"store.shifter_loss_db": 0.0, "store.coupler_loss_db": 0.0}
    scores = measured(lossless, "store.laser_w", watts)
    draw(light, photons, scores, "32 x 32, no other error", plot.COLOURS[0])
    print("photons:", *(f"{p:.2g} {s:.1f} %" for p, s in zip(photons, scores.mean(1), strict=True)))

    phases.set(xlabel="bits per phase", ylabel="accuracy on digits (%)", title="Phase resolution", xticks=bits)
    couplers.set(xlabel="standard deviation of the coupling angles (rad)", title="Coupler errors")
    loss.set(xlabel="loss per cell (dB)", ylabel="accuracy on digits (%)", title="Loss and mesh size")
    light.set(xlabel="photons sent per multiplication", xscale="log", title="Shot noise")
    for ax in (phases, couplers, loss, light):
        ax.axhline(digital, color="k", linestyle=":", linewidth=1)
        ax.legend(fontsize=9, loc="lower left" if ax in (couplers, loss) else "lower right")
        ax.set_ylim(0, 102)
    save(phases, options.out / "light_classifier.png")


if __name__ == "__main__":
    main()
