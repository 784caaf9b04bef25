"""Hold weights in light: a programmed mesh as a drawing, and what holding one value costs in every medium.

    python examples/light_storage.py

Expected: a mesh of heated interferometers takes tens of milliwatts a weight for as long as it is held, a locked ring a
hundredth of that, a phase-change film nothing; light in a loop of fibre is kept by less than a microwatt and comes back
with the noise of its amplifier, light in a cavity is gone within a microsecond.
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
    off = jnp.linalg.norm(store.read(state, 0.0).mean - weights) / jnp.linalg.norm(weights)
    print(f"{n} x {n} weights in {store.n_cells(n, n)} interferometers: {100 * float(off):.1f} % off, ", end="")
    print(f"held by {show(float(store.shifter.hold_w(state.commands)), 'W')}, {store.path_loss_db(n, n):.1f} dB lost")
    save(plot.mesh(store, state), options.out / "mesh.png")

    for row in hold_costs():
        power = "an apparatus" if row.hold_w is None else show(row.hold_w, "W")
        print(f"{row.medium:38} {power:>12}   stays {show_time(row.lifetime_s)}")
    save(plot.hold_power(), options.out / "hold_costs.png")

    light = FadingLight(medium=RecirculatingLoop(amplified=False))
    kept = light.replace(**{"medium.amplified": True})
    for name, loop in (("without gain", light), ("with gain", kept)):
        held = loop.program(None, jnp.ones((1, 1)))
        for time_s in (0.0, 1e-5, 1e-4, 1e-3):
            mean, variance, *_ = loop.read(held, time_s)
            words = f"{float(mean[0, 0]):.3f} ± {float(variance[0, 0]) ** 0.5:.3f}"
            print(f"a weight of 1 in a loop of fibre {name:13} after {show_time(time_s):>8}: {words}")


if __name__ == "__main__":
    main()
