"""Small models and workloads that the energy tests share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from analogsim import Hardware, preset
from analogsim.energy import EnergyItem, Operations, compare
from analogsim.energy.work.layer_work import LayerWork, Workload
from analogsim.energy.work.operations import MatrixProductShape, Operation
from analogsim.layers import LayerUse
from analogsim.linen import AnalogDense
from analogsim.signal_path.operators import MatrixProduct
from analogsim.signal_path.ranges import UNCALIBRATED


class MLP(nn.Module):
    """64-64-10: 4736 multiply-accumulates, 202 activations in and out."""

    hardware: Hardware

    @nn.compact
    def __call__(self, x):
        x = nn.relu(AnalogDense(64, hardware=self.hardware)(x))
        return AnalogDense(10, hardware=self.hardware)(x)


@functools.cache
def mlp(hardware: Hardware | None = None):
    """The MLP on hardware, with its variables and 32 examples."""
    model = MLP(hardware or preset("pcm"))
    x = jax.random.uniform(jax.random.key(1), (32, 64))
    return model, jax.jit(model.init)(jax.random.key(0), x), x


def of_ones(model: nn.Module, x):
    """Variables of ones, where sizes count and values do not; nothing is computed."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    return jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)


def dense(weights, x, hardware, ranges=None):
    """The comparison of one layer without bias, with these weights, on these inputs."""
    weights = jnp.asarray(weights, jnp.float32)
    variables = {"params": {"kernel": weights}}
    if ranges is not None:
        variables["ranges"] = {"analog": ranges}
    model = AnalogDense(weights.shape[1], hardware=hardware, use_bias=False)
    return compare(model, variables, jnp.asarray(x, jnp.float32), systems=(), batch=1)


def line(comparison, component) -> EnergyItem:
    """The one line of the hardware's breakdown for a component."""
    (found,) = [entry for entry in comparison.hardware.items if entry.component == component]
    return found


def shapes(*layers) -> Workload:
    """A workload from (n_in, n_out, vectors, input words) alone, for accounts that look at no values."""
    made, operations = [], []
    for i, (n_in, n_out, vectors, input_words) in enumerate(layers):
        matrix = jax.ShapeDtypeStruct((n_in, n_out), jnp.float32)
        operator = MatrixProduct((1,), (0,), 2, (n_in, n_out))
        use = LayerUse(f"layer{i}", preset("ideal"), operator, None, matrix, UNCALIBRATED)
        made.append(LayerWork(use, vectors, input_words, n_in * n_out))
        shape = MatrixProductShape(count=1, vectors=vectors, n_in=n_in, n_out=n_out)
        operations.append(
            Operation(
                kind="product", primitive="dot_general", scope="", layer=f"layer{i}", shape=shape, macs=shape.macs,
                weight_words=n_in * n_out, new_weight_words=n_in * n_out, input_words=input_words,
                output_words=vectors * n_out,
            )
        )  # fmt: skip
    return Workload(tuple(made), Operations(tuple(operations)), 0)
