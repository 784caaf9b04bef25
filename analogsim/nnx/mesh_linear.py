"""An NNX layer whose parameters are the phases of an interferometer mesh; see ``analogsim.layers.mesh_layer``."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from analogsim.devices.photonic.mzi_mesh import MZIMesh
from analogsim.layers import mesh_layer


class FabricatedMeshVariable(nnx.Variable):
    """What fabrication drew for a mesh: no parameter, part of the chip."""


class MeshLinear(nnx.Module):
    """A linear layer in light, trained by its phases on one fabricated mesh.

    Parameters are ``phases`` and ``gain`` (and ``bias``), ``fabric`` holds the mesh's own errors. Noise comes from the
    layer's stream; with ``noisy = False``, expected values.

    Args:
      in_features, out_features: sizes.
      mesh: what the layer consists of; one pair of meshes, as large as the layer.
      detection: ``"coherent"``, ``"intensity"`` or ``"differential"``; see ``analogsim.layers.mesh_layer``.
      use_bias: whether a digital bias is added.
      time: after the phases were set, at which the layer is read: seconds, or text such as ``"1 day"``.
      rngs: of parameters, fabrication and noise.

    Example:
      >>> from analogsim.devices import MZIMesh
      >>> layer = MeshLinear(4, 3, mesh=MZIMesh(), rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((2, 4))).shape
      (2, 3)
    """

    def __init__(
        self, in_features: int, out_features: int, *, mesh: MZIMesh, detection: str = "coherent", use_bias: bool = True,
        time: Any = 0.0, rngs: nnx.Rngs,
    ):  # fmt: skip
        self.time_s = mesh_layer.checked_time(mesh, out_features, detection, time, "MeshLinear")
        self.mesh, self.detection, self.noisy = mesh, detection, True
        self.n_out = mesh_layer.n_outputs(out_features, detection)
        started = mesh_layer.start(mesh, rngs.params(), in_features, self.n_out)
        self.phases, self.gain = nnx.Param(started.phases), nnx.Param(started.gain)
        self.fabric = FabricatedMeshVariable(mesh.fabricate(rngs.params(), in_features, self.n_out))
        self.bias = nnx.Param(jnp.zeros(out_features)) if use_bias else None
        self.rngs = rngs.fork()

    def __call__(self, x: jax.Array) -> jax.Array:
        key = self.rngs() if self.noisy else None
        trained = mesh_layer.MeshParameters(self.phases[...], self.gain[...])
        y = mesh_layer.forward(
            self.mesh, self.fabric.get_value(), trained, x, self.n_out, detection=self.detection, key=key,
            time_s=self.time_s,
        )  # fmt: skip
        return y if self.bias is None else y + self.bias[...].astype(y.dtype)
