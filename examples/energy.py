"""Compare the energy per inference of ResNet-50 on analog hardware and on other systems, and over a lifetime.

    python examples/energy.py

The energy on phase-change memory follows from the shapes alone and is compared with GPUs, TPUs, an edge chip, Eyeriss,
a photonic mesh, spiking chips and the brain: bars for all systems, curves versus batch size. Expected: the analog range
starts below every digital system; with the rest of a measured chip it ends near an H100 that computes large batches in
int8. Holding the phases of a photonic mesh with heaters costs more than everything else. An H100 takes six times as
much energy per inference at batch 1 as at batch 256. The last table adds programming, calibration, training and
manufacture over the lifetime of a deployment. Ten seconds.
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
    comparison = compare(model, variables, image, systems=systems, batch=(1, 256))
    print(comparison)
    save(comparison.plot(), options.out / "energy.png")
    over_batch = compare(model, variables, image, systems=systems, batch=(1, 4, 16, 64, 256))
    save(over_batch.plot_batch(), options.out / "energy_over_batch.png")
    print(f"wrote {comparison.to_html(options.out / 'energy.html')}")

    images = 3 * 365 * 86400  # one image per second
    deployment = Deployment(inferences=images, lifetime_s="3 years", recalibrate_every_s="1 day")
    deployed = compare(model, variables, image, systems=(), batch=1, deployment=deployment)
    embodied = carbon.embodied(deployed.arrays.area_m2, "28nm")
    # 90 epochs of 1.28 million images, forward and backward, on one H100 at 60 % of its peak and full power.
    training_j = 700 * 6 * comparison.macs * 90 * 1.28e6 / (0.6 * 989.4e12)
    print(lifecycle(deployed.hardware, inferences=images, training_j=training_j, country="Germany", embodied=embodied))


if __name__ == "__main__":
    main()
