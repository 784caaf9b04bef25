"""Draw a programmed interferometer mesh, and compare the power needed to hold one value in each optical medium.

    python examples/light_storage.py

Expected: a mesh of heated interferometers takes tens of milliwatts per weight as long as it holds them, a locked ring
0.2 to 3 mW, a phase-change film nothing. Light in a fibre loop is kept by less than a microwatt, with the noise of the
loop's amplifier; light in a cavity is lost within a microsecond.
"""

import jax
import jax.numpy as jnp
from _shared import arguments, save

from analogsim import plot
from analogsim.base import show, show_time
from analogsim.devices import FadingLight, MZIMesh, RecirculatingLoop
from analogsim.devices.photonic import hold_costs


def main() -> None:
    options = arguments(__doc__)
    n = 4 if options.fast else 8
    weights = jax.random.uniform(jax.random.key(0), (n, n), minval=-1, maxval=1)
    store = MZIMesh()
    state = store.program(jax.random.key(1), weights)
    error = float(jnp.linalg.norm(store.read(state, 0.0).mean - weights) / jnp.linalg.norm(weights))
    power = show(float(store.shifter.hold_w(state.commands)), "W")
    print(f"{n} x {n} weights in {store.n_cells(n, n)} interferometers: error {100 * error:.1f} %, ", end="")
    print(f"static power {power}, loss {store.path_loss_db(n, n):.1f} dB")
    save(plot.mesh(store, state), options.out / "mesh.png")

    for row in hold_costs():
        power = "whole apparatus" if row.hold_w is None else show(row.hold_w, "W")
        print(f"{row.medium:38} {power:>15}   lifetime {show_time(row.lifetime_s)}")
    save(plot.hold_power(), options.out / "hold_costs.png")

    for name, amplified in (("without gain", False), ("with gain", True)):
        loop = FadingLight(medium=RecirculatingLoop(amplified=amplified))
        pulses = loop.program(None, jnp.ones((1, 1)))
        for time_s in (0.0, 1e-5, 1e-4, 1e-3):
            mean, variance, *_ = loop.read(pulses, time_s)
            value = f"{float(mean[0, 0]):.3f} ± {float(variance[0, 0]) ** 0.5:.3f}"
            print(f"a weight of 1 in a fibre loop {name:12} after {show_time(time_s):>6}: {value}")


if __name__ == "__main__":
    main()
