"""Noise of stored qubits: independent amplitude damping, dephasing and depolarising of every qubit.

During a storage time t a qubit passes three channels. Their order is part of the model, because depolarising does not
commute with damping (damping and dephasing do commute):

    damping        K0 = diag(1, sqrt(1 - g)), K1 = sqrt(g) |0><1|              g = 1 - exp(-t/T1)
    dephasing      K0 = diag(1, sqrt(1 - l)), K1 = sqrt(l) |1><1|              l = 1 - exp(-2t/Tphi)
    depolarising   rho -> (1 - p) rho + (p/3) (X rho X + Y rho Y + Z rho Z)    at any time

with 1/Tphi = 1/T2 - 1/(2 T1), hence T2 <= 2 T1, and a coherence of exp(-t/T2) after both. Qiskit's parameter of the
depolarising channel is 4p/3. M. A. Nielsen and I. L. Chuang, doi 10.1017/CBO9780511976667, chapter 8.

Three functions evolve a register of n qubits, qubit 0 being the most significant bit of an index:

    density_after       rho, exact                                    4^n numbers, n at most 10
    probabilities_after the diagonal of rho, exact by itself          n 2^n steps; sufficient for read-out of the bits
    trajectory_after    one amplitude vector, drawn jump by jump      2^n numbers; its average is rho

On the diagonal, each bit decays from 1 to 0 with probability g (damping) and flips with probability 2p/3
(depolarising); dephasing has no effect. Quantum trajectories: J. Dalibard et al., doi 10.1103/PhysRevLett.68.580.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from analogsim.base.description import Description, field
from analogsim.base.dtypes import to_complex
from analogsim.base.errors import InputError
from analogsim.base.literature import Source, cited
from analogsim.base.random import check_one_key, stream
from analogsim.base.types import Numeric
from analogsim.base.units import show

#: Largest number of qubits of a density matrix: 4^10 complex numbers are 8 MB, and each step makes a few copies.
MOST_QUBITS = 10


class Kraus(NamedTuple):
    """Kraus operators ``[n_operators, 2, 2]`` of the three channels; each set satisfies sum K^dagger K = 1."""

    damping: jax.Array
    dephasing: jax.Array
    depolarising: jax.Array


class Qubit(Description):
    """Noise of one stored qubit; see the module for the equations.

    Example:
      >>> qubit = Qubit(t1_s="50 us", t2_s="70 us")
      >>> f"{qubit.dephasing_time_s:.4g} {float(qubit.decayed(50e-6)):.4f}"
      '0.0002333 0.6321'
    """

    t1_s: Any = field(
        default=100e-6, unit="s", gt=0, le=1e6, doc="T1, after which 1/e of the excited population is left",
        source=cited("krantz2019", note="order of magnitude of a transmon", recalled=True),
    )  # fmt: skip
    t2_s: Any = field(
        default=80e-6, unit="s", gt=0, le=2e6, doc="T2, at most 2 T1, after which 1/e of the coherence is left",
        counts="for coherences, not for populations, which alone an AmplitudeStore reads",
        source=cited("krantz2019", note="order of magnitude of a transmon", recalled=True),
    )  # fmt: skip
    depolarising: Any = field(
        default=1e-3, ge=0, le=0.75, doc="p, probability of a Pauli error (X, Y or Z alike), once per stored qubit",
        source=Source(note="error of a one-qubit gate, 1e-4 to 1e-3", recalled=True),
    )  # fmt: skip

    def model_sources(self) -> tuple[Source, ...]:
        return (cited("nielsen2010", note="quantum channels"),)

    def check(self) -> None:
        if any(isinstance(t, jax.core.Tracer) for t in (self.t1_s, self.t2_s)):
            return
        t1, t2 = np.broadcast_arrays(np.asarray(self.t1_s, np.float64), np.asarray(self.t2_s, np.float64))
        over = t2 > 2 * t1 * (1 + 1e-6)  # tolerance for values in float32
        if over.any():
            given, limit = show(t2[over][0], "s"), show(2 * t1[over][0], "s")
            raise InputError(
                f"Qubit.t2_s = {given}: must be at most {limit}, twice t1_s: damping alone destroys coherence at "
                f"1/(2 T1) (unit: s)",
                ("t2_s",),
            )

    @property
    def dephasing_time_s(self) -> jax.Array:
        """Pure dephasing time Tphi, seconds; infinite at T2 = 2 T1."""
        rate = jnp.maximum(1 / jnp.asarray(self.t2_s) - 1 / (2 * jnp.asarray(self.t1_s)), 0.0)
        return jnp.where(rate > 0, 1 / jnp.where(rate > 0, rate, 1.0), jnp.inf)

    def decayed(self, time_s: Numeric) -> jax.Array:
        """Return g, the probability that an excited qubit has decayed after ``time_s`` seconds, any shape."""
        # expm1, because 1 - exp(-x) has no digits left in float32 for times far below T1.
        return -jnp.expm1(-jnp.asarray(time_s) / self.t1_s)

    def coherence(self, time_s: Numeric) -> jax.Array:
        """Return exp(-t/T2), the factor of damping and dephasing on the coherence; at most that of damping alone."""
        time = jnp.asarray(time_s)
        return jnp.exp(-jnp.maximum(time / self.t2_s, time / (2 * jnp.asarray(self.t1_s))))

    def dephased(self, time_s: Numeric) -> jax.Array:
        """Return l of the dephasing channel, 1 - exp(-2t/Tphi), after ``time_s`` seconds, any shape."""
        time = jnp.asarray(time_s)
        # -2t/Tphi without Tphi, which is infinite at T2 = 2 T1, where rounding may even make the exponent positive.
        return -jnp.expm1(jnp.minimum(time / self.t1_s - 2 * time / self.t2_s, 0.0))

    @property
    def flipped(self) -> Numeric:
        """Probability that depolarising flips a bit, 2p/3: two of the three Pauli errors do."""
        return 2 * self.depolarising / 3

    def kraus(self, time_s: Numeric) -> Kraus:
        """Return the Kraus operators of the three channels after ``time_s`` seconds.

        Example:
          >>> k = Qubit(t1_s=1.0, t2_s=2.0).kraus(0.5).damping
          >>> bool(jnp.allclose(jnp.einsum("kji,kjl->il", k, k), jnp.eye(2), atol=1e-6))
          True
        """
        check_time(time_s)
        g, lost, p = self.decayed(time_s), self.dephased(time_s), jnp.asarray(self.depolarising)
        zero, one = jnp.zeros_like(g), jnp.ones_like(g)

        def matrix(a: Any, b: Any, c: Any, d: Any) -> jax.Array:
            return jnp.stack([jnp.stack([a, b]), jnp.stack([c, d])])

        damping = [matrix(one, zero, zero, _root(1 - g)), matrix(zero, _root(g), zero, zero)]
        dephasing = [matrix(one, zero, zero, _root(1 - lost)), matrix(zero, zero, zero, _root(lost))]
        paulis = jnp.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])
        amplitudes = _root(jnp.stack([1 - p, p / 3, p / 3, p / 3])).astype(paulis.dtype)
        return Kraus(jnp.stack(damping), jnp.stack(dephasing), amplitudes[:, None, None] * paulis)

    def bit_matrix(self, time_s: Numeric) -> jax.Array:
        """Return the transition probabilities ``[bit after, bit before]`` of a stored bit; columns sum to 1."""
        g, f = self.decayed(time_s), jnp.asarray(self.flipped)
        one = jnp.ones_like(g)
        fallen = jnp.stack([jnp.stack([one, g]), jnp.stack([0 * g, 1 - g])])
        flip = jnp.stack([jnp.stack([1 - f, f]), jnp.stack([f, 1 - f])])
        # Decay first, then flips: the order of the channels, which do not commute.
        return jnp.matmul(flip, fallen, precision=lax.Precision.HIGHEST)


def density_after(rho: jax.Array, qubit: Qubit, time_s: Numeric) -> jax.Array:
    """Evolve the density matrix ``[2^n, 2^n]`` of a register for ``time_s`` seconds, exactly.

    Args:
      rho: density matrix, ``[2^n, 2^n]``.
      qubit: noise of every qubit.
      time_s: storage time, seconds.

    Returns:
      The density matrix after that time, ``[2^n, 2^n]``.

    Raises:
      InputError: if the size is not a power of two, for more than 10 qubits, or for a negative time.

    Example:
      >>> plus = jnp.full((2, 2), 0.5)
      >>> [round(float(v), 3) for v in density_after(plus, Qubit(depolarising=0.0), 80e-6)[0].real]
      [0.775, 0.184]
    """
    check_time(time_s)
    n = qubits_of(rho.shape[-1], "rho")
    if rho.shape != (2**n, 2**n):
        raise InputError(f"rho of shape {rho.shape}: must be a square matrix [2^n, 2^n]")
    if n > MOST_QUBITS:
        raise InputError(
            f"rho of {n} qubits: must be at most {MOST_QUBITS}, since a density matrix has 4^n numbers; "
            f"use trajectory_after, or probabilities_after if only bits are read"
        )
    g, coherence, f = qubit.decayed(time_s), qubit.coherence(time_s), qubit.flipped
    coherence = coherence * (1 - 2 * f)  # depolarising leaves 1 - 4p/3 of the coherence
    for k in range(n):
        # One qubit at a time on views of rho: n 4^n operations, where Kraus operators of the register take 8^n.
        parts = rho.reshape(2**k, 2, 2 ** (n - k - 1), 2**k, 2, 2 ** (n - k - 1))
        low, high = parts[:, 0, :, :, 0], parts[:, 1, :, :, 1]
        low, high = low + g * high, (1 - g) * high
        low, high = low + f * (high - low), high + f * (low - high)
        cross, back = coherence * parts[:, 0, :, :, 1], coherence * parts[:, 1, :, :, 0]
        upper, lower = jnp.stack([low, cross], axis=3), jnp.stack([back, high], axis=3)
        rho = jnp.stack([upper, lower], axis=1).reshape(2**n, 2**n)
    return rho


def probabilities_after(probabilities: jax.Array, qubit: Qubit, time_s: Numeric) -> jax.Array:
    """Evolve the probabilities ``[..., 2^n]`` of the bits for ``time_s`` seconds, exactly, in O(N log N).

    Args:
      probabilities: of each setting of the n bits, ``[..., 2^n]``.
      qubit: noise of every qubit.
      time_s: storage time, seconds.

    Returns:
      The probabilities after that time, same shape.

    Raises:
      InputError: if the last axis is not a power of two, or for a negative time.

    Example:
      >>> qubit = Qubit(t1_s=1.0, t2_s=1.0, depolarising=0.0)
      >>> [round(float(p), 4) for p in probabilities_after(jnp.array([0.0, 1.0]), qubit, 1.0)]
      [0.6321, 0.3679]
    """
    check_time(time_s)
    return on_every_bit(probabilities, qubit.bit_matrix(time_s))


def on_every_bit(values: jax.Array, matrix: jax.Array) -> jax.Array:
    """Apply one matrix ``[2, 2]`` to each of the n bits of an index of values ``[..., 2^n]``."""
    n, shape = qubits_of(values.shape[-1], "values"), values.shape
    matrix = matrix.astype(values.dtype)
    for k in range(n):
        parts = values.reshape(*shape[:-1], 2**k, 2, 2 ** (n - k - 1))
        low, high = parts[..., 0, :], parts[..., 1, :]
        rows = [matrix[i, 0] * low + matrix[i, 1] * high for i in (0, 1)]
        values = jnp.stack(rows, axis=-2).reshape(shape)
    return values


@jax.jit
def _trajectory(amplitudes: jax.Array, kraus: Kraus, key: jax.Array) -> jax.Array:
    n = qubits_of(amplitudes.shape[0], "amplitudes")
    psi = to_complex(amplitudes)
    for k in range(n):
        for name, operators in zip(Kraus._fields, kraus, strict=True):
            parts = psi.reshape(2**k, 2, 2 ** (n - k - 1))
            branches = jnp.einsum("aij,bjc->abic", operators.astype(psi.dtype), parts, precision=lax.Precision.HIGHEST)
            weights = jnp.sum(jnp.abs(branches) ** 2, axis=(1, 2, 3))
            # An impossible branch has the logarithm -inf and is never drawn.
            draw = jax.random.categorical(jax.random.fold_in(stream(key, name), k), jnp.log(weights))
            psi = (branches[draw] / jnp.sqrt(weights[draw]).astype(psi.dtype)).reshape(-1)
    return psi


def trajectory_after(amplitudes: jax.Array, qubit: Qubit, time_s: Numeric, key: jax.Array) -> jax.Array:
    """Draw a quantum trajectory: one amplitude vector ``[2^n]`` (complex, norm 1) after ``time_s`` seconds.

    The average of |psi><psi| over keys is ``density_after``. Jumps are drawn, so no gradient passes through the choice.

    Args:
      amplitudes: initial vector, ``[2^n]``, of norm 1.
      qubit: noise of every qubit.
      time_s: storage time, seconds.
      key: one random key.

    Returns:
      The amplitudes after that time, ``[2^n]``.

    Raises:
      InputError: unless ``amplitudes`` is one vector of 2^n values and ``key`` one key, or for a negative time.

    Example:
      >>> psi = trajectory_after(jnp.array([0.0, 1.0]), Qubit(t1_s=1.0, t2_s=1.0), 100.0, jax.random.key(0))
      >>> jnp.abs(psi).round(3).tolist()
      [1.0, 0.0]
    """
    check_time(time_s)
    check_one_key(key)
    if amplitudes.ndim != 1:
        raise InputError(f"amplitudes of shape {amplitudes.shape}: must be one vector [2^n]; map over more by jax.vmap")
    qubits_of(amplitudes.shape[0], "amplitudes")
    return _trajectory(amplitudes, qubit.kraus(time_s), key)


def qubits_of(size: int, where: str) -> int:
    """Return n of a size 2^n; refuse other sizes, naming ``where``."""
    n = max(size, 1).bit_length() - 1
    if size != 2**n:
        raise InputError(f"{where}: {size} values: must be a power of two, one for each setting of the bits")
    return n


def check_time(time_s: Numeric) -> None:
    """Refuse a negative or NaN time if its value is concrete."""
    if not isinstance(time_s, jax.core.Tracer) and not np.all(np.asarray(time_s) >= 0):
        raise InputError(f"time_s = {time_s!r}: must be at least 0 (unit: s)")


def _root(x: jax.Array) -> jax.Array:
    """Square root with value and derivative 0 for x = 0 or (by rounding) x < 0."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)
