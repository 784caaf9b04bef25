"""Bounds (not models) on the information in qubits and on the cost of reading them.

    Holevo           bits per copy <= chi = S(sum p rho) - sum p S(rho) <= n,  S the von Neumann entropy in bits
    full read-out    N values of b bits take at least N b / n copies, as reading destroys each copy
    damped bits      bits with one-way errors (Z channel) carry log2(1 + (1 - g) g^(g/(1-g))) bits each
    Landauer         k T ln 2 per bit, times T_room/T - 1 watts per watt of an ideal refrigerator
    wall plug        P (t_prepare + t_read) S with the power P of the whole cryogenic system, which is what is paid
    QRAM             infidelity eps log2(N)^2 for a bucket brigade, eps N log2(N) for a fan-out of N cells

A. S. Holevo, Probl. Inf. Transm. 9, 177 (1973); R. Landauer, doi 10.1147/rd.53.0183; C. T. Hann et al., doi
10.1103/PRXQuantum.2.020311 (scaling; its factor is recalled as 1). Even then, searches need gate errors o(2^(-n/2)):
S. Arunachalam et al., arXiv 1502.03450. The system of 25 kW is a D-Wave 2X.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from analogsim.base.errors import InputError
from analogsim.base.types import Numeric

BOLTZMANN = 1.380649e-23  # J/K
FRIDGE_W = 25e3  # D-Wave 2X, the whole system

_USE = "overlaps with other states on a quantum processor, not a memory of weights"


class StorageReport(NamedTuple):
    """Capacity and read cost of one register. Returned by ``storage_report``.

    Attributes:
      values, bits: number of stored values, and target bits of each.
      qubits: number of qubits of the register.
      bits_per_copy: upper bound of the information from one copy (Holevo), for any stored values.
      copies_for_full_readout: lower bound of the copies from which all values can be read.
      shots: copies per read.
      modulus_error: square root of the expected squared error of all moduli, from shots alone, relative to the norm of
        the vector.
      fidelity: fraction of copies that are prepared without a failed gate.
      read_s: duration of one read of the register, seconds.
      wall_plug_j: energy of one read, J, with a system of 25 kW for this register alone.
      destructive_read: whether reading consumes the copies: always.
      recommended_use: applications that remain useful.
    """

    values: int
    bits: int
    qubits: int
    bits_per_copy: float
    copies_for_full_readout: float
    shots: Any
    modulus_error: Any
    fidelity: Any
    read_s: Any
    wall_plug_j: Any
    destructive_read: bool = True
    recommended_use: str = _USE


def storage_report(
    n_values: int, bits: int, qubits: int, shots: Numeric, prepare_s: Numeric, read_s: Numeric, fidelity: Any = 1.0
) -> StorageReport:
    """Return the report of one register.

    Args:
      n_values, bits: number of values and bits of each.
      qubits: of the register.
      shots: copies per read.
      prepare_s, read_s: durations for one copy, seconds.
      fidelity: fraction of copies that are prepared without a failed gate.

    Example:
      >>> report = storage_report(1024, 8, 10, 2.56e6, 999e-6, 1e-6)
      >>> report.copies_for_full_readout, report.bits_per_copy, f"{report.wall_plug_j:.2g} J"
      (819.2, 10.0, '6.4e+07 J')
    """
    return StorageReport(
        values=n_values,
        bits=bits,
        qubits=qubits,
        bits_per_copy=float(qubits),
        copies_for_full_readout=copies_for_full_readout(n_values, bits, qubits),
        shots=shots,
        modulus_error=((n_values - 1) / (4 * shots)) ** 0.5,
        fidelity=fidelity,
        read_s=shots * (prepare_s + read_s),
        wall_plug_j=wall_plug_j(shots, prepare_s, read_s),
    )


def entropy_bits(probabilities: jax.Array) -> jax.Array:
    """Return the Shannon entropy ``[...]`` of probabilities ``[..., N]`` in bits.

    Example:
      >>> float(entropy_bits(jnp.array([0.5, 0.5, 0.0])))
      1.0
    """
    seen = probabilities > 0
    return -jnp.sum(jnp.where(seen, probabilities * jnp.log2(jnp.where(seen, probabilities, 1.0)), 0.0), axis=-1)


def von_neumann_bits(rho: jax.Array) -> jax.Array:
    """Return the von Neumann entropy ``[...]`` of density matrices ``[..., d, d]`` in bits."""
    return entropy_bits(jnp.clip(jnp.linalg.eigvalsh(rho), 0.0, 1.0))


def holevo_bits(probabilities: jax.Array, states: jax.Array) -> jax.Array:
    """Return Holevo's chi, the maximum information (bits) per copy about which of these states it is in.

    Args:
      probabilities: of each state, ``[K]``.
      states: density matrices ``[K, d, d]``.

    Example:
      >>> zero, plus = jnp.array([[1.0, 0.0], [0.0, 0.0]]), jnp.full((2, 2), 0.5)
      >>> round(float(holevo_bits(jnp.array([0.5, 0.5]), jnp.stack([zero, plus]))), 4)
      0.6009
    """
    if not isinstance(probabilities, jax.core.Tracer) and not abs(float(jnp.sum(probabilities)) - 1) < 1e-2:
        raise InputError(f"probabilities: sum to {float(jnp.sum(probabilities)):g}: must sum to 1")
    if states.ndim != 3 or states.shape[:1] != probabilities.shape or states.shape[1] != states.shape[2]:
        raise InputError(
            f"states of shape {states.shape}, probabilities of shape {probabilities.shape}: must be [K, d, d] and [K]"
        )
    mixed = jnp.tensordot(probabilities.astype(states.dtype), states, 1, precision="highest")
    return von_neumann_bits(mixed) - jnp.sum(probabilities * von_neumann_bits(states))


def copies_for_full_readout(n_values: int, bits: float, qubits: int) -> float:
    """Return the minimum number of n-qubit copies from which N values of b bits can be read: N b / n.

    Example:
      >>> copies_for_full_readout(1024, 8, 10)
      819.2
    """
    if n_values < 1 or bits <= 0 or qubits < 1:
        raise InputError(f"n_values = {n_values}, bits = {bits}, qubits = {qubits}: must each be greater than 0")
    return n_values * bits / qubits


def z_channel_bits(fall: Any) -> jax.Array:
    """Return the capacity (bits) of a bit whose 1 is read as 0 with probability g and whose 0 is read without error.

    Example:
      >>> [round(float(z_channel_bits(g)), 4) for g in (0.0, 0.5, 1.0)]
      [1.0, 0.3219, 0.0]
    """
    g = jnp.asarray(fall) * 1.0
    inside = (g > 0) & (g < 1)
    safe = jnp.where(inside, g, 0.5)
    bits = jnp.log2(1 + (1 - safe) * jnp.exp(safe / (1 - safe) * jnp.log(safe)))
    return jnp.where(inside, bits, jnp.where(g <= 0, 1.0, 0.0))


def landauer_j(temperature_k: float) -> float:
    """Return the minimum energy (J) of erasing one bit at a temperature (K): k T ln 2.

    Example:
      >>> f"{landauer_j(0.02):.2g}"
      '1.9e-25'
    """
    return BOLTZMANN * temperature_k * math.log(2)


def carnot_factor(cold_k: float, room_k: float = 300.0) -> float:
    """Return the power of an ideal refrigerator per watt of heat removed at ``cold_k`` (K): T_room/T - 1.

    Example:
      >>> f"{carnot_factor(0.02):.0f}"
      '14999'
    """
    if not 0 < cold_k <= room_k:
        raise InputError(f"cold_k = {cold_k}: must be greater than 0 and at most {room_k} (unit: K)")
    return room_k / cold_k - 1


def wall_plug_j(
    shots: Numeric, prepare_s: Numeric, read_s: Numeric, system_w: Numeric = FRIDGE_W, fraction: Numeric = 1.0
) -> Numeric:
    """Return the energy (J) that the system takes while it prepares and reads the copies in sequence.

    Args:
      shots: S, number of copies.
      prepare_s, read_s: durations for one copy, seconds.
      system_w: power of the refrigerator and its supporting equipment, W; by default 25 kW, as of a D-Wave 2X.
      fraction: fraction of the system attributed to this register.

    Example:
      >>> f"{wall_plug_j(2.56e6, 0.0, 1e-3):.3g}"       # one vector of 1024 values, to 1 %
      '6.4e+07'
    """
    return shots * (prepare_s + read_s) * system_w * fraction


def qram_infidelity(n_cells: int, error: float, layout: str = "bucket brigade") -> float:
    """Return the infidelity of a quantum memory's lookup among N cells, up to a factor near 1.

    Args:
      n_cells: N.
      error: eps per component.
      layout: ``"bucket brigade"`` or ``"fan-out"``.

    Example:
      >>> qram_infidelity(1024, 1e-4), qram_infidelity(1024, 1e-4, "fan-out")
      (0.01, 1.024)
    """
    if layout not in ("bucket brigade", "fan-out"):
        raise InputError(f"layout = {layout!r}: must be 'bucket brigade' or 'fan-out'")
    levels = math.log2(n_cells)
    return error * levels * (levels if layout == "bucket brigade" else n_cells)
