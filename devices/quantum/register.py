"""A register of qubits whose amplitudes store a vector: preparation, storage, bit-by-bit read-out.

A real vector v of N values is stored as its norm s = ||v|| (classically) and the amplitudes v/s of n = ceil(log2 N)
qubits. Preparation takes 2^n - 2 two-qubit gates in sequence (M. Mottonen et al., arXiv quant-ph/0407010):

    rho_0 = F |a><a| + (1 - F) 1/2^n,  F = (1 - e2)^(2^n - 2)      failures are modelled as white noise

so that 1024 values with e2 = 0.005 are prepared with F = 0.6 %. Storage follows ``channels``. Each qubit is read with
the independent error probabilities P(1|0) and P(0|1) of a confusion matrix; applying its inverse to the frequencies of
the outcomes makes them unbiased, noisier, and sometimes negative.

Probabilities carry no signs: a read gives moduli. Damping moves them towards index 0 and is a bias that no number of
shots removes. Without preparing new copies, signs take exponentially many copies; with it, interference with a
reference takes about twice the copies, 36 N ln N / delta^2 per stage (I. Kerenidis and A. Prakash, arXiv 1808.09266;
the constant is recalled).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from analogsim.base.description import Description, field
from analogsim.base.dtypes import wide
from analogsim.base.errors import InputError
from analogsim.base.literature import Source, cited
from analogsim.base.types import Numeric
from analogsim.devices.quantum.channels import Qubit, check_time, density_after, on_every_bit, probabilities_after
from analogsim.devices.quantum.shot_noise import counts


class Encoded(NamedTuple):
    """A vector encoded for a register.

    Attributes:
      amplitudes: amplitudes of norm 1, ``[2^n, ...]``; the basis state 0 for a vector of zeros.
      norm: norm of the vector, stored classically, ``[...]``.
    """

    amplitudes: jax.Array
    norm: jax.Array


def qubits_for(n_values: int) -> int:
    """Return the number of qubits whose amplitudes store ``n_values`` numbers: ceil(log2 N), at least one.

    Example:
      >>> [qubits_for(n) for n in (1, 2, 3, 1024, 1025)]
      [1, 1, 2, 10, 11]
    """
    return max((n_values - 1).bit_length(), 1)


def encoded(vectors: jax.Array) -> Encoded:
    """Encode vectors ``[N, ...]`` along their first axis; zero vectors and their derivatives stay finite."""
    values = wide(vectors)
    padding = 2 ** qubits_for(len(values)) - len(values)
    values = jnp.pad(values, [(0, padding)] + [(0, 0)] * (values.ndim - 1))
    # No derivative, because the result does not depend on the scale.
    largest = lax.stop_gradient(jnp.max(jnp.abs(values), axis=0))
    empty = largest == 0
    scale = jnp.where(empty, 1.0, largest)  # no square overflows or underflows
    values = values / scale[None]
    norm = jnp.sqrt(jnp.where(empty, 1.0, jnp.sum(values**2, axis=0)))
    ground = jnp.zeros_like(values).at[0].set(1.0)
    return Encoded(jnp.where(empty, ground, values / norm[None]), jnp.where(empty, 0.0, norm * scale))


class AmplitudeRegister(Description):
    """A register of qubits with preparation, storage and read-out; see the module for the equations.

    Example:
      >>> register = AmplitudeRegister()
      >>> stored = register.encode(jnp.array([3.0, 0.0, 4.0]))
      >>> float(stored.norm), [round(float(a), 2) for a in stored.amplitudes]
      (5.0, [0.6, 0.0, 0.8, 0.0])
      >>> f"{float(register.fidelity(10)):.4f}"
      '0.0060'
    """

    qubit: Qubit = field(factory=Qubit, kind=Qubit, doc="noise of every stored qubit")
    two_qubit_error: Any = field(
        default=5e-3, ge=0, lt=1, doc="e2, probability that a two-qubit gate fails",
        source=cited("krantz2019", note="order of magnitude of transmons", recalled=True),
    )  # fmt: skip
    gate_s: Any = field(
        default=200e-9,
        unit="s",
        ge=0,
        le=1,
        doc="duration of a two-qubit gate",
        source=Source(note="cross resonance", recalled=True),
    )
    readout_s: Any = field(
        default=1e-6, unit="s", gt=0, le=1, doc="duration of reading all qubits in parallel",
        source=cited("krantz2019", note="order of magnitude of dispersive read-out", recalled=True),
    )  # fmt: skip
    readout_error: Any = field(
        default=0.01, ge=0, lt=0.5, doc="P(1|0), a qubit in 0 is read as 1; also P(0|1) if that is not given",
        source=Source(note="typical of dispersive read-out", recalled=True),
    )  # fmt: skip
    excited_readout_error: Any = field(
        default=None, ge=0, lt=0.5, optional=True, doc="P(0|1), a qubit in 1 is read as 0; None: as readout_error"
    )

    def model_sources(self) -> tuple[Source, ...]:
        return (cited("mottonen2005", note="gates that prepare a real vector", recalled=True),)

    def encode(self, vector: jax.Array) -> Encoded:
        """Encode a real vector ``[N]`` as amplitudes ``[2^n]`` and a norm.

        Raises:
          InputError: if the vector is complex or not one-dimensional or, when its values are concrete, if it is zero or
            not finite. A traced zero vector gives the basis state 0 and the norm 0.
        """
        if jnp.iscomplexobj(vector) or jnp.ndim(vector) != 1:
            raise InputError(
                f"vector of shape {jnp.shape(vector)} and type {jnp.asarray(vector).dtype}: must be real, [N]"
            )
        if not isinstance(vector, jax.core.Tracer):
            values = np.asarray(vector, np.float64)
            if not np.all(np.isfinite(values)):
                raise InputError(f"vector: {np.sum(~np.isfinite(values))} of {values.size} values are not finite")
            if not np.any(values):
                raise InputError("vector: all zeros: no state of a register has amplitudes that are all zero")
        return encoded(jnp.asarray(vector))

    def gates(self, qubits: int) -> int:
        """Return the number of two-qubit gates that prepare a real vector: 2^n - 2."""
        return 2**qubits - 2

    def fidelity(self, qubits: int) -> jax.Array:
        """Return F, the fraction of copies that are prepared without a failed gate."""
        # log1p, because 1 - e2 in float32 changes an error of 1e-6 by up to 3 %, and the power repeats it 2^n times.
        return jnp.exp(self.gates(qubits) * jnp.log1p(-jnp.asarray(self.two_qubit_error)))

    def preparation_s(self, qubits: int) -> Numeric:
        """Return the duration of preparing one copy, seconds; gates run in sequence."""
        return self.gates(qubits) * self.gate_s

    def confusion(self) -> jax.Array:
        """Return the read-out probabilities ``[bit read, bit]``; columns sum to 1."""
        up = jnp.asarray(self.readout_error)
        down = up if self.excited_readout_error is None else jnp.asarray(self.excited_readout_error)
        return jnp.stack([jnp.stack([1 - up, down]), jnp.stack([up, 1 - down])])

    def prepared(self, amplitudes: jax.Array) -> jax.Array:
        """Return the density matrix ``[2^n, 2^n]`` of a register prepared with amplitudes ``[2^n]``."""
        size = amplitudes.shape[0]
        fidelity = self.fidelity(size.bit_length() - 1)
        return fidelity * jnp.outer(amplitudes, jnp.conj(amplitudes)) + (1 - fidelity) / size * jnp.eye(size)

    def density(self, amplitudes: jax.Array, time_s: Numeric) -> jax.Array:
        """Return the exact density matrix ``[2^n, 2^n]`` after ``time_s`` seconds; at most 10 qubits."""
        return density_after(self.prepared(amplitudes), self.qubit, time_s)

    def probabilities(self, amplitudes: jax.Array, time_s: Numeric, read_out: bool = True) -> jax.Array:
        """Return the probabilities ``[..., 2^n]`` of the bits after ``time_s`` seconds.

        Args:
          amplitudes: target amplitudes of the preparation, ``[..., 2^n]``, of norm 1.
          time_s: storage time, seconds.
          read_out: whether to include read-out errors; without them, the result is the diagonal of ``density``.
        """
        check_time(time_s)
        size = amplitudes.shape[-1]
        fidelity = self.fidelity(size.bit_length() - 1)
        after = probabilities_after(fidelity * jnp.abs(amplitudes) ** 2 + (1 - fidelity) / size, self.qubit, time_s)
        return on_every_bit(after, self.confusion()) if read_out else after

    def corrected(self, frequencies: jax.Array) -> jax.Array:
        """Correct frequencies ``[..., 2^n]`` with the inverse confusion matrix: unbiased, sometimes negative."""
        return on_every_bit(frequencies, jnp.linalg.inv(self.confusion()))

    def read(
        self, encoded: Encoded, time_s: Numeric, shots: Numeric, key: jax.Array, invert: bool = False
    ) -> jax.Array:
        """Estimate the moduli ``[2^n]`` of the stored vector from shots, each of a newly prepared copy.

        Args:
          encoded: the result of ``encode``.
          time_s: storage time of each copy, seconds.
          shots: number of copies read.
          key: of the outcomes.
          invert: whether to apply the inverse confusion matrix; negative frequencies are then set to zero.

        Example:
          >>> register = AmplitudeRegister(two_qubit_error=0.0, readout_error=0.0, qubit=Qubit(depolarising=0.0))
          >>> stored = register.encode(jnp.array([3.0, -4.0]))
          >>> register.read(stored, 0.0, 1_000_000, jax.random.key(0)).round(1).tolist()
          [3.0, 4.0]
        """
        frequencies = counts(key, self.probabilities(encoded.amplitudes, time_s), shots) / shots
        return encoded.norm * moduli(self.corrected(frequencies) if invert else frequencies)

    def overlap(
        self,
        stored: Encoded,
        reference: jax.Array,
        time_s: Numeric,
        shots: Numeric | None = None,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """Return the overlap |<b|a>|^2 of the stored vector a and a reference b, both normalised.

        The inverse preparation of b runs on the stored register (again with fidelity F, else white noise) and maps b to
        all bits 0; the bits are read with read-out errors, and the fraction of all-zero outcomes is returned. At most
        10 qubits.

        Args:
          stored: the result of ``encode``.
          reference: b, real, ``[N]``.
          time_s: storage time, seconds.
          shots: number of copies; None returns the exact probability.
          key: of the outcomes, required with shots.

        Raises:
          InputError: if ``encode`` refuses the reference, if its size differs, or for shots without a key.
        """
        b = self.encode(jnp.asarray(reference)).amplitudes.astype(stored.amplitudes.dtype)
        size = b.shape[0]
        if stored.amplitudes.shape != b.shape:
            raise InputError(
                f"reference: {size} amplitudes: must be as many as the stored {stored.amplitudes.shape[0]}"
            )
        rho = self.density(stored.amplitudes, time_s)
        fidelity = self.fidelity(size.bit_length() - 1)
        # A reflection that swaps b and the all-zero state replaces the gates of b's preparation: their effect on other
        # states decides only which wrong outcomes are read, and these count through read-out errors alone.
        # The sign (that of the all-zero state, which no outcome shows) is the one without cancellation at b = e_0.
        normal_vector = b.at[0].add(jnp.where(b[0] < 0, -1.0, 1.0).astype(b.dtype))
        half_length = 1 + jnp.abs(b[0])  # half the square of its length, as b has length 1
        reflection = jnp.eye(size, dtype=b.dtype) - jnp.outer(normal_vector, normal_vector) / half_length
        probabilities = jnp.real(jnp.einsum("ij,jk,ik->i", reflection, rho, reflection, precision="highest"))
        prepared = fidelity * probabilities + (1 - fidelity) / size
        read = on_every_bit(prepared, self.confusion().astype(probabilities.dtype))
        # Rounding may leave [0, 1], where a binomial draw is NaN.
        zeros = jnp.clip(read[0], 0.0, 1.0)
        if shots is None:
            return zeros
        if key is None:
            raise InputError("key = None: shots are drawn and need a random key")
        return counts(key, jnp.stack([zeros, 1 - zeros]), shots)[0] / shots


def moduli(frequencies: jax.Array) -> jax.Array:
    """Return sqrt(p) of frequencies, any shape; negative ones count as zero, and the derivative at zero is zero."""
    seen = frequencies > 0
    return jnp.where(seen, jnp.sqrt(jnp.where(seen, frequencies, 1.0)), 0.0)
