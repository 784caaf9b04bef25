"""Joules of one inference on analog hardware and everywhere else: bars for all machines, curves over the batch, a life.

    python examples/energy.py

ResNet-50 on phase-change memory, from its shapes alone, beside GPUs, TPUs, an edge chip, Eyeriss, light, spiking chips
and the brain. Expected: the analog range starts below every digital machine and, with the rest of a measured chip, ends
about where an H100 computing many images in int8 does; holding a photonic mesh's phases with heaters costs more than
everything else; a batch of one costs the H100 six times what a batch of 256 does. Then the life of a deployment: what
writing, calibrating and making the chip add to its inferences. Ten seconds.
"""

import jax
import jax.numpy as jnp
from _shared import arguments, save

from analogsim import convert, preset
from analogsim.energy import Deployment, carbon, compare, lifecycle
from analogsim.training.recipes.large_networks import ResNet50

SYSTEMS = ("H100", "H100:int8", "TPU v4", "Jetson Orin", "Xeon", "Eyeriss", "photonic mesh", "Loihi", "brain")


def main() -> None:
    options = arguments(__doc__)
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    model = convert(ResNet50(), preset("pcm"))
    variables = jax.eval_shape(ResNet50().init, jax.random.key(0), image)

    systems = ("H100", "brain") if options.fast else SYSTEMS
    found = compare(model, variables, image, systems=systems, batch=(1, 256))
    print(found)
    save(found.plot(), options.out / "energy.png")
    curve = compare(model, variables, image, systems=systems, batch=(1, 4, 16, 64, 256))
    save(curve.plot_batch(), options.out / "energy_over_batch.png")
    print(f"wrote {found.to_html(options.out / 'energy.html')}")

    years, images = 3, 3 * 365 * 86400  # an image a second
    life = Deployment(inferences=images, lifetime_s=f"{years} years", recalibrate_every_s="1 day")
    used = compare(model, variables, image, systems=(), batch=1, deployment=life)
    made = carbon.embodied(used.arrays.area_m2, "28nm")
    # 90 epochs of 1.28 million images, forward and backward, on one H100 at 60 % of its peak and full power.
    training_j = 700 * 6 * found.macs * 90 * 1.28e6 / (0.6 * 989.4e12)
    print(lifecycle(used.hardware, inferences=images, training_j=training_j, country="Germany", embodied=made))


if __name__ == "__main__":
    main()
