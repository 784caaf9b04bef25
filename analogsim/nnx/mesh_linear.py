"""An NNX layer whose parameters are the phases of an interferometer mesh; see ``analogsim.layers.mesh_layer``."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from analogsim.base.dtypes import to_rank
from analogsim.devices.photonic.mzi_mesh import MZIMesh
from analogsim.layers import mesh_layer


class FabricatedMeshVariable(nnx.Variable):
    """Fabrication errors of a mesh, sampled once; part of the chip, not trained."""


class MeshLinear(nnx.Module):
    """A photonic linear layer whose phases are trained on one fabricated mesh.

    Its parameters are ``phases``, ``gain`` and ``bias``; ``fabric`` stores the fabrication errors. Noise comes from the
    layer's stream; with ``noisy = False`` it returns expected values.

    Args:
      in_features, out_features: size of the matrix.
      mesh: the interferometer mesh; the layer is one pair of meshes of the layer's size.
      detection: ``"coherent"``, ``"intensity"`` or ``"differential"``; see ``analogsim.layers.mesh_layer``.
      use_bias: whether to add a digital bias.
      time: time of the read after the phases were set, in seconds or as a string such as ``"1 day"``.
      rngs: random streams of parameters, fabrication and noise.

    Raises:
      InputError: for an unknown ``detection`` or ``time``, or a combination with ``mesh`` that is not supported.

    Example:
      >>> from analogsim.devices import MZIMesh
      >>> layer = MeshLinear(4, 3, mesh=MZIMesh(), rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((2, 4))).shape
      (2, 3)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        mesh: MZIMesh,
        detection: str = "coherent",
        use_bias: bool = True,
        time: Any = 0.0,
        rngs: nnx.Rngs,
    ):
        self.time_s = mesh_layer.checked_time(mesh, out_features, detection, time, "MeshLinear")
        self.mesh, self.detection, self.noisy = mesh, detection, True
        self.n_out = mesh_layer.n_outputs(out_features, detection)
        initial = mesh_layer.start(mesh, rngs.params(), in_features, self.n_out)
        self.phases, self.gain = nnx.Param(initial.phases), nnx.Param(initial.gain)
        self.fabric = FabricatedMeshVariable(mesh.fabricate(rngs.params(), in_features, self.n_out))
        self.bias = nnx.Param(jnp.zeros(out_features)) if use_bias else None
        self.rngs = rngs.fork()
        self.noise_stream = next(name for name in ("analog", "default", "params") if name in rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        key = self.rngs[self.noise_stream]() if self.noisy else None
        parameters = mesh_layer.MeshParameters(self.phases[...], self.gain[...])
        fabric = self.fabric.get_value()
        y = mesh_layer.forward(
            self.mesh, fabric, parameters, x, self.n_out, detection=self.detection, key=key, time_s=self.time_s
        )
        return y if self.bias is None else y + to_rank(self.bias[...].astype(y.dtype), y.ndim)
