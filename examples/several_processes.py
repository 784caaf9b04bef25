"""Train on noisy hardware, program a chip and use it with kernels, chip and batch spread over all devices.

    python examples/several_processes.py                       # one process, with all devices that it sees
    srun python examples/several_processes.py --slurm          # one process a task, started by SLURM
    python examples/several_processes.py --address HOST:PORT --processes 2 --number 0      # and 1 on the other machine

Every process runs this same program on its own devices (docs/several-machines.md). Batch i holds the same examples and
the hardware of step i the same noise, however many processes there are, so the losses agree to rounding. Expected: the
loss falls, and the chip a day after programming classifies nearly as well as the digital network.
"""

import argparse

import flax.linen as nn
import jax
import numpy as np
import optax
from _shared import arguments, load_digits, save
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from analogsim import calibrate, convert, plot, preset, program
from analogsim.training import AdditiveNoise, make_step

BATCH = 128
#: The first kernel is cut along its columns and the second along its rows: between them nothing has to move.
SPECS = {
    "Dense_0": {"kernel": P(None, "model"), "bias": P("model")},
    "Dense_1": {"kernel": P("model", None), "bias": P()},
}


class MLP(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(128)(x))
        return nn.Dense(10)(x)


def start() -> argparse.Namespace:
    """Read the command line and connect the processes, before JAX looks for devices."""

    def more(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--slurm", action="store_true", help="one of the processes that SLURM started")
        parser.add_argument("--address", help="machine and free port of process 0")
        parser.add_argument("--processes", type=int, help="number of processes")
        parser.add_argument("--number", type=int, help="number of this process, from 0")

    options = arguments(__doc__, more)
    if options.slurm:
        jax.distributed.initialize()
    elif options.address:
        jax.distributed.initialize(options.address, options.processes, options.number)
    return options


def spread(mesh, spec, rows, array):
    """Return rows of an array over the devices; each process reads only the rows of its own devices."""

    def part(index):
        return array[(rows[index[0]], *index[1:])]

    return jax.make_array_from_callback((len(rows), *array.shape[1:]), NamedSharding(mesh, spec), part)


def main() -> None:
    options = start()
    n_model = 2 if jax.local_device_count() % 2 == 0 else 1  # a layer is cut only between devices of one machine
    mesh = jax.make_mesh((jax.device_count() // n_model, n_model), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    with jax.set_mesh(mesh):  # tells the noise to be drawn where it is needed
        losses, accuracy = train_and_program(mesh, options.fast)
    if jax.process_index() == 0:  # all processes hold these numbers; one tells them
        print(
            f"{jax.process_count()} processes, {jax.device_count()} devices: loss {losses[0]:.4f} -> {losses[-1]:.4f}"
        )
        print(f"accuracy of the chip a day after programming: {100 * accuracy:.1f} %")
        ax = plot.new_axes()
        ax.plot(losses, color=plot.COLOURS[0])
        ax.set(xlabel="step", ylabel="loss on noisy hardware", yscale="log")
        save(ax, options.out / "several_processes.png")


def train_and_program(mesh, fast):
    x_train, y_train, x_test, y_test = (np.asarray(a) for a in load_digits())
    model = convert(MLP(), preset("pcm", training=AdditiveNoise(std=0.05)))
    shardings = jax.tree.map(lambda spec: NamedSharding(mesh, spec), SPECS, is_leaf=lambda leaf: isinstance(leaf, P))
    # Under jit, each device draws its part of the kernels; none is ever whole.
    params = jax.jit(lambda key: model.init(key, x_train[:1])["params"], out_shardings=shardings)(jax.random.key(0))
    variables = calibrate(model, {"params": params}, x_train[:256])

    step = make_step(model, variables, x_train[:2], optimizer=optax.adam(3e-3))
    update, carry, losses = jax.jit(step), step.initial_state, []
    order = np.random.default_rng(0)  # the same in all processes, as are all keys
    for number in range(20 if fast else 300):
        rows = order.choice(len(x_train), BATCH, replace=False)
        x, labels = spread(mesh, P("data"), rows, x_train), spread(mesh, P("data"), rows, y_train)
        carry, metrics = update(carry, x, labels, jax.random.fold_in(jax.random.key(1), number))
        losses.append(metrics.loss)

    trained = step.unbind(carry)
    chip = program(model, trained, jax.random.key(2)).at("1 day")
    rows = np.arange(len(x_test) // jax.device_count() * jax.device_count())
    x, labels = spread(mesh, P("data"), rows, x_test), spread(mesh, P("data"), rows, y_test)

    @jax.jit
    def accuracy(variables, x, labels):
        logits = model.apply(variables, x, rngs={"analog": jax.random.key(3)})
        return (logits.argmax(-1) == labels).mean()

    return [float(loss) for loss in losses], float(accuracy(chip.variables, x, labels))


if __name__ == "__main__":
    main()
