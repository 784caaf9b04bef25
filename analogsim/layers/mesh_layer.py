"""Layers whose parameters are the phases of an interferometer mesh: trained in place, without weights.

The phases drive one fabricated mesh with all its errors (DAC, crosstalk, couplers, loss). Their gradient is the one
that can be measured with a second beam sent backwards, dL/dphi = -Im(forward field x adjoint field) in every shifter
(T. W. Hughes et al., Optica 5, 864 (2018), doi 10.1364/OPTICA.5.000864). Training compensates the errors of its own
chip and must be repeated on another.

The detection scheme is always explicit; b is the field behind the mesh for the input x:

    coherent        y = gain Re(b)                              homodyne, signed, linear
    intensity       y = gain |b|^2                              photodiodes, photons counted
    differential    y = gain (|b_2j|^2 - |b_2j+1|^2)            two diodes per output, so twice as many waveguides

These layers have no weights, so ``analogsim.digital()``, ``program`` and the energy account, which concern weights on
hardware, do not see them. To age a trained mesh or account its energy, store its matrix with ``AnalogDense``.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from analogsim.base.checks import check_integer
from analogsim.base.dtypes import inexact
from analogsim.base.errors import InputError
from analogsim.base.random import normal, stream
from analogsim.base.straight_through import scale_of
from analogsim.base.types import Numeric
from analogsim.base.units import seconds
from analogsim.devices.photonic.detection import counts
from analogsim.devices.photonic.light import photon_j
from analogsim.devices.photonic.mzi_mesh import FabricatedMesh, MZIMesh

DETECTIONS = ("coherent", "intensity", "differential")


class MeshParameters(NamedTuple):
    """Trained parameters: phases ``[rows, width]`` (rad), and the digital gain behind the detectors."""

    phases: jax.Array
    gain: jax.Array


def checked_time(mesh: Any, features: Any, detection: Any, time: Any, where: str) -> Any:
    """Validate the fields of a mesh layer and return ``time``, a number or a string such as ``"1 day"``, in seconds.

    Raises:
      InputError: for an invalid field; ``where`` names the layer.
    """
    if not isinstance(mesh, MZIMesh):
        raise InputError(f"{where}: mesh = {mesh!r}: must be an MZIMesh")
    check_integer(features, f"{where}: features")
    if detection not in DETECTIONS:
        raise InputError(f"{where}: detection = {detection!r}: must be one of {', '.join(DETECTIONS)}")
    return seconds(time, f"{where}: time")


def n_outputs(features: int, detection: str) -> int:
    """Return the number of waveguides behind the mesh."""
    return 2 * features if detection == "differential" else features


def start(mesh: MZIMesh, key: jax.Array, n_in: int, n_out: int) -> MeshParameters:
    """Return initial parameters: the phases of random unitary cells."""
    return MeshParameters(*mesh.random_phases(key, n_in, n_out))


def forward(
    mesh: MZIMesh, fabric: FabricatedMesh, trained: MeshParameters, x: jax.Array, n_out: int, *, detection: str,
    key: jax.Array | None, time_s: Numeric = 0.0,
) -> jax.Array:  # fmt: skip
    """Return the output of the layer.

    Args:
      mesh: description of the mesh.
      fabric: fabrication errors of this chip.
      trained: phases and gain.
      x: ``[..., n_in]``; each example is scaled so that its largest input is the full light of a waveguide.
      n_out: waveguides behind the mesh (``n_outputs``).
      detection: one of ``DETECTIONS``.
      key: random key for the noise of phases and detection; None for expected values.
      time_s: seconds after the phases were set.

    Returns:
      Outputs, ``[..., features]``.

    Raises:
      InputError: if ``fabric`` does not fit ``n_in`` and ``n_out``.
    """
    x, n_in = inexact(x), x.shape[-1]
    _check_fabric(mesh, fabric, n_in, n_out)
    state = mesh.driven(fabric, *trained, jnp.zeros((n_in, n_out), trained.phases.dtype))
    # Gain 1: the detectors see the light itself; the digital gain scales what they report, noise included.
    matrix, _ = mesh.fields(state._replace(gain=jnp.ones(())), time_s, None if key is None else stream(key, "phases"))
    bound = scale_of(jnp.max(jnp.abs(lax.stop_gradient(x)), axis=-1, keepdims=True))
    fields = jnp.matmul((x / bound).astype(matrix.dtype), matrix, precision=lax.Precision.HIGHEST)
    detect = _coherent if detection == "coherent" else _powers
    seen = detect(mesh, fields, n_in, None if key is None else stream(key, "detection"))
    if detection == "differential":
        seen = seen[..., 0::2] - seen[..., 1::2]
    # Powers are quadratic in the field, and so in the scale that the inputs were divided by.
    return (trained.gain * seen * (bound if detection == "coherent" else bound**2)).astype(x.dtype)


def _check_fabric(mesh: MZIMesh, fabric: FabricatedMesh, n_in: int, n_out: int) -> None:
    fits = jax.eval_shape(lambda: mesh.fabricate(jax.random.key(0), n_in, n_out))
    if jax.tree.map(jnp.shape, fabric) != jax.tree.map(jnp.shape, fits):
        raise InputError(
            f"x has {n_in} features for {n_out} outputs: the layer's mesh was fabricated for another size or topology; "
            f"initialise the layer for this input"
        )


def _coherent(mesh: MZIMesh, fields: jax.Array, n_in: int, key: jax.Array | None) -> jax.Array:
    y = jnp.real(fields)
    if key is None or mesh.detector is None:
        return y
    sigma = mesh.detector.sigma(mesh.laser_w / n_in, mesh.rate_hz)
    # No gradient through the size of the noise, as for that of cells (``RowProduct.variance_of``).
    total = jnp.hypot(sigma, mesh.detector.relative_sigma(mesh.rate_hz) * lax.stop_gradient(y))
    return y + total.astype(y.dtype) * normal(key, y.shape, y.dtype)


def _powers(mesh: MZIMesh, fields: jax.Array, n_in: int, key: jax.Array | None) -> jax.Array:
    """Powers relative to a fully lit input, with photodiode noise: shot noise, dark current, load, laser intensity."""
    power = jnp.real(fields) ** 2 + jnp.imag(fields) ** 2
    if key is None or mesh.detector is None:
        return power
    diode, full_w, bandwidth = mesh.detector.diode, mesh.laser_w / n_in, mesh.rate_hz / 2
    electrons = mesh.detector.efficiency() * full_w / (photon_j(mesh.detector.wavelength_m) * mesh.rate_hz)
    counted = counts(stream(key, "shot noise"), electrons * power) / electrons
    still = jnp.sqrt(diode.constant_noise(bandwidth)) / (diode.responsivity * full_w)
    sigma = jnp.hypot(still, jnp.sqrt(diode.intensity_noise * bandwidth) * lax.stop_gradient(power))
    return counted + sigma.astype(power.dtype) * normal(stream(key, "diode"), power.shape, power.dtype)
