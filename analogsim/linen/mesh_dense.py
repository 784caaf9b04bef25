"""A Linen layer whose parameters are the phases of an interferometer mesh; see ``analogsim.layers.mesh_layer``."""

from typing import Any

import jax
from flax import linen as nn

from analogsim.base.dtypes import to_rank
from analogsim.devices.photonic.mzi_mesh import MZIMesh
from analogsim.layers import mesh_layer


class MeshDense(nn.Module):
    """An optical dense layer, ``[..., n_in]`` to ``[..., features]``, trained by its phases on one fabricated mesh.

    Parameters are ``phases`` ``[rows, width]`` (rad), ``gain`` and ``bias`` ``[features]``. The fabrication errors of
    the mesh are in the collection ``fabric``, drawn from the stream ``chip`` by ``init``. Noise is drawn from the
    stream ``analog``; without it, outputs are expected values.

    Attributes:
      features: number of outputs.
      mesh: description of the pair of meshes, which is as large as the layer.
      detection: ``"coherent"``, ``"intensity"`` or ``"differential"``; see ``analogsim.layers.mesh_layer``.
      use_bias: whether to add a digital bias.
      time: time of the read after the phases were set, in seconds or as a string such as ``"1 day"``.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from analogsim.devices import MZIMesh
      >>> layer = MeshDense(3, mesh=MZIMesh())
      >>> variables = layer.init({"params": jax.random.key(0), "chip": jax.random.key(1)}, jnp.ones((1, 4)))
      >>> layer.apply(variables, jnp.ones((2, 4)), rngs={"analog": jax.random.key(2)}).shape
      (2, 3)
    """

    features: int
    mesh: MZIMesh
    detection: str = "coherent"
    use_bias: bool = True
    time: Any = 0.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        time_s = mesh_layer.checked_time(self.mesh, self.features, self.detection, self.time, "MeshDense")
        n_in, n_out = x.shape[-1], mesh_layer.n_outputs(self.features, self.detection)
        phases = self.param("phases", lambda key: mesh_layer.start(self.mesh, key, n_in, n_out).phases)
        gain = self.param("gain", lambda key: mesh_layer.start(self.mesh, key, n_in, n_out).gain)
        # If init gets a single key, there is no stream 'chip', and Flax draws from 'params' instead.
        fabric = self.variable("fabric", "mesh", lambda: self.mesh.fabricate(self.make_rng("chip"), n_in, n_out))
        key = self.make_rng("analog") if self.has_rng("analog") else None
        trained = mesh_layer.MeshParameters(phases, gain)
        y = mesh_layer.forward(
            self.mesh, fabric.value, trained, x, n_out, detection=self.detection, key=key, time_s=time_s
        )
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros_init(), (self.features,))
            y = y + to_rank(bias.astype(y.dtype), y.ndim)
        return y
