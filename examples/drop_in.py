"""Replace Dense by AnalogDense, load a digital checkpoint, and measure the output error of one chip as it ages.

    python examples/drop_in.py

With ``hardware=None`` the network is a plain Flax model; with hardware it runs the same parameters on a programmed
chip. Expected: the output error grows with time, and drift compensation removes most of the growth.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from _shared import arguments, save

from analogsim import Hardware, plot, preset, program
from analogsim.linen import AnalogDense


class MLP(nn.Module):
    hardware: Hardware | None = None

    @nn.compact
    def __call__(self, x):
        x = nn.relu(AnalogDense(64, hardware=self.hardware)(x))
        return AnalogDense(10, hardware=self.hardware)(x)


def main() -> None:
    options = arguments(__doc__)
    x = jax.random.normal(jax.random.key(0), (256, 64))
    checkpoint = MLP().init(jax.random.key(1), x)  # any digital checkpoint of the plain network
    digital = MLP().apply(checkpoint, x)

    model = MLP(hardware=preset("pcm"))
    chip = program(model, checkpoint, jax.random.key(2), x)

    times = np.logspace(0, 8.5, 4 if options.fast else 18)
    ax = plot.new_axes()
    for compensation, colour in zip(("none", "global"), plot.COLOURS, strict=False):
        errors = []
        for time in times:
            aged = chip.at(time, compensation=compensation)
            y = model.apply(aged.variables, x, rngs={"analog": jax.random.key(3)})
            errors.append(100 * float(jnp.std(y - digital) / jnp.std(digital)))
        ax.plot(times, errors, "o-", markersize=3, color=colour, label=f"drift compensation: {compensation}")
        print(
            f"drift compensation {compensation:6} error {errors[0]:.1f} % after 1 s, {errors[-1]:.1f} % after ten years"
        )
    ax.set(xscale="log", xlabel="time after programming (s)", ylabel="output error (% of the output's std)")
    ax.set_ylim(bottom=0)
    ax.legend()
    save(ax, options.out / "drop_in.png")


if __name__ == "__main__":
    main()
