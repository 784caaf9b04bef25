"""A register of qubits whose amplitudes are a vector: prepared, stored, read bit by bit.

A real vector v of N values is kept as its length s = ||v|| (classically) and the amplitudes v/s of n = ceil(log2 N)
qubits. Preparing them takes 2^n - 2 two-qubit gates (M. Mottonen et al., arXiv quant-ph/0407010), one after the other:

    rho_0 = F |a><a| + (1 - F) 1/2^n,  F = (1 - e2)^(2^n - 2)      what fails is taken to be white noise

so that 1024 values with e2 = 0.005 are prepared with F = 0.6 %. Storage is that of ``channels``. A read bit is wrong
with the probabilities P(1|0) and P(0|1) of a confusion matrix, each qubit by itself; its inverse may be applied to the
shares of the outcomes, which makes them unbiased, noisier, and sometimes negative.

Probabilities tell no signs: what is read are moduli. Damping drains them towards index 0 and is a bias, not a noise: no
number of shots removes it. Without preparing copies again, signs take exponentially many of them; with it, an
interference with a reference takes about twice the copies, 36 N ln N / delta^2 a stage (I. Kerenidis and A. Prakash,
arXiv 1808.09266; the constant is recalled).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from analogsim.base.description import Description, field
from analogsim.base.errors import InputError
from analogsim.base.literature import Source, cited
from analogsim.devices.quantum.channels import Qubit, check_time, density_after, on_every_bit, probabilities_after
from analogsim.devices.quantum.shot_noise import counts


class Encoded(NamedTuple):
    """A vector as a register holds it.

    Attributes:
      amplitudes: of length 1, ``[2^n, ...]``; index 0 alone for a vector of zeros.
      norm: the vector's length, kept classically, ``[...]``.
    """

    amplitudes: jax.Array
    norm: jax.Array


def qubits_for(n_values: int) -> int:
    """Qubits whose amplitudes are ``n_values`` numbers: ceil(log2 N), at least one.

    Example:
      >>> [qubits_for(n) for n in (1, 2, 3, 1024, 1025)]
      [1, 1, 2, 10, 11]
    """
    return max((n_values - 1).bit_length(), 1)


def encoded(vectors: jax.Array) -> Encoded:
    """Amplitudes of vectors ``[N, ...]`` along their first axis; zeros and their slopes stay finite."""
    wide = vectors.astype(jnp.promote_types(vectors.dtype, jnp.float32))
    padding = 2 ** qubits_for(len(wide)) - len(wide)
    wide = jnp.pad(wide, [(0, padding)] + [(0, 0)] * (wide.ndim - 1))
    largest = lax.stop_gradient(jnp.max(jnp.abs(wide), axis=0))
    empty = largest == 0
    scale = jnp.where(empty, 1.0, largest)  # so that no square over- or underflows
    wide = wide / scale
    norm = jnp.sqrt(jnp.where(empty, 1.0, jnp.sum(wide**2, axis=0)))
    ground = jnp.zeros_like(wide).at[0].set(1.0)
    return Encoded(jnp.where(empty, ground, wide / norm), jnp.where(empty, 0.0, norm * scale))


class AmplitudeRegister(Description):
    """Qubits, the gates that prepare them, and their read-out; see the module.

    Example:
      >>> register = AmplitudeRegister()
      >>> held = register.encode(jnp.array([3.0, 0.0, 4.0]))
      >>> float(held.norm), [round(float(a), 2) for a in held.amplitudes]
      (5.0, [0.6, 0.0, 0.8, 0.0])
      >>> f"{float(register.fidelity(10)):.4f}"
      '0.0060'
    """

    qubit: Qubit = field(factory=Qubit, kind=Qubit, doc="every qubit, while it is stored")
    two_qubit_error: Any = field(
        default=5e-3, ge=0, lt=1, doc="e2, probability that a two-qubit gate fails",
        source=cited("krantz2019", note="order of magnitude of transmons", recalled=True),
    )  # fmt: skip
    gate_s: Any = field(
        default=200e-9,
        unit="s",
        ge=0,
        le=1,
        doc="a two-qubit gate",
        source=Source(note="cross resonance", recalled=True),
    )
    readout_s: Any = field(
        default=1e-6, unit="s", gt=0, le=1, doc="reading all qubits, side by side",
        source=cited("krantz2019", note="order of magnitude of dispersive read-out", recalled=True),
    )  # fmt: skip
    readout_error: Any = field(
        default=0.01, ge=0, lt=0.5, doc="P(1|0), a qubit in 0 is read as 1; and P(0|1) where that is not given",
        source=Source(note="typical of dispersive read-out", recalled=True),
    )  # fmt: skip
    excited_readout_error: Any = field(
        default=None, ge=0, lt=0.5, optional=True, doc="P(0|1), a qubit in 1 is read as 0; None: as readout_error"
    )

    def model_sources(self) -> tuple[Source, ...]:
        return (cited("mottonen2005", note="gates that prepare a real vector", recalled=True),)

    def encode(self, vector: jax.Array) -> Encoded:
        """Amplitudes ``[2^n]`` and length of a real vector ``[N]``.

        Raises:
          InputError: for a complex vector, one that is not one-dimensional, and, where its values are known, for one
            that is zero or not finite. Where they are traced, zeros give index 0 and the length 0.
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
        """Two-qubit gates that prepare a real vector: 2^n - 2."""
        return 2**qubits - 2

    def fidelity(self, qubits: int) -> jax.Array:
        """F, the share of copies that are prepared without a failed gate."""
        return jnp.exp(self.gates(qubits) * jnp.log1p(-jnp.asarray(self.two_qubit_error)))

    def preparation_s(self, qubits: int) -> Any:
        """Seconds to prepare one copy, gate after gate."""
        return self.gates(qubits) * self.gate_s

    def confusion(self) -> jax.Array:
        """Probabilities ``[bit read, bit]``; its columns sum to 1."""
        up = jnp.asarray(self.readout_error)
        down = up if self.excited_readout_error is None else jnp.asarray(self.excited_readout_error)
        return jnp.stack([jnp.stack([1 - up, down]), jnp.stack([up, 1 - down])])

    def prepared(self, amplitudes: jax.Array) -> jax.Array:
        """The density matrix ``[2^n, 2^n]`` of a prepared register."""
        size = amplitudes.shape[0]
        share = self.fidelity(size.bit_length() - 1)
        return share * jnp.outer(amplitudes, jnp.conj(amplitudes)) + (1 - share) / size * jnp.eye(size)

    def density(self, amplitudes: jax.Array, time_s: Any) -> jax.Array:
        """The density matrix after ``time_s`` seconds, exactly; at most 10 qubits."""
        return density_after(self.prepared(amplitudes), self.qubit, time_s)

    def probabilities(self, amplitudes: jax.Array, time_s: Any, read_out: bool = True) -> jax.Array:
        """Probabilities ``[..., 2^n]`` of the bits after ``time_s`` seconds, from amplitudes ``[..., 2^n]``.

        Args:
          amplitudes: as prepared, of length 1.
          time_s: since then.
          read_out: whether errors of the read-out are included; without them, it is the diagonal of ``density``.
        """
        check_time(time_s)
        size = amplitudes.shape[-1]
        share = self.fidelity(size.bit_length() - 1)
        after = probabilities_after(share * jnp.abs(amplitudes) ** 2 + (1 - share) / size, self.qubit, time_s)
        return on_every_bit(after, self.confusion()) if read_out else after

    def corrected(self, frequencies: jax.Array) -> jax.Array:
        """Shares ``[..., 2^n]`` with the inverse of the confusion matrix: unbiased, sometimes negative."""
        return on_every_bit(frequencies, jnp.linalg.inv(self.confusion()))

    def read(self, held: Encoded, time_s: Any, shots: Any, key: jax.Array, invert: bool = False) -> jax.Array:
        """Moduli ``[2^n]`` of the stored vector from so many shots, each of a copy prepared anew.

        Args:
          held: of ``encode``.
          time_s: how long each copy is stored.
          shots: copies that are read.
          key: of the outcomes.
          invert: whether the confusion matrix is inverted; negative shares are then set to zero.

        Example:
          >>> register = AmplitudeRegister(two_qubit_error=0.0, readout_error=0.0, qubit=Qubit(depolarising=0.0))
          >>> held = register.encode(jnp.array([3.0, -4.0]))
          >>> register.read(held, 0.0, 1_000_000, jax.random.key(0)).round(1).tolist()
          [3.0, 4.0]
        """
        shares = counts(key, self.probabilities(held.amplitudes, time_s), shots) / shots
        return held.norm * moduli(self.corrected(shares) if invert else shares)

    def overlap(
        self, stored: Encoded, reference: jax.Array, time_s: Any, shots: Any = None, key: Any = None
    ) -> jax.Array:
        """|<b|a>|^2 of the stored vector a with another one b, both of length 1: what a register is good for.

        b's preparation is run backwards on the stored register (with the fidelity F again, white noise else), which
        turns b into all bits 0; the bits are read, each with its read-out error, and the share of zeros is what is
        given. At most 10 qubits. With shots and a key, from so many copies.

        Raises:
          InputError: for another vector that ``encode`` refuses, or of another size.
        """
        b = self.encode(jnp.asarray(reference)).amplitudes.astype(stored.amplitudes.dtype)
        size = b.shape[0]
        if stored.amplitudes.shape != b.shape:
            raise InputError(
                f"reference: {size} amplitudes: must be as many as the stored {stored.amplitudes.shape[0]}"
            )
        rho = self.density(stored.amplitudes, time_s)
        share = self.fidelity(size.bit_length() - 1)
        # A reflection that swaps b and the state of all zeros stands for the gates of b's preparation: what they do
        # to other states decides only which wrong outcomes are read, and those with read-out errors alone count.
        apart = b - jnp.zeros_like(b).at[0].set(1.0)
        length = jnp.sum(apart**2)
        turned = jnp.eye(size) - 2 * jnp.outer(apart, apart) / jnp.where(length > 0, length, 1.0)
        probabilities = jnp.real(jnp.einsum("ij,jk,ik->i", turned, rho, turned))
        read = on_every_bit(share * probabilities + (1 - share) / size, self.confusion().astype(probabilities.dtype))
        fidelity = jnp.clip(read[0], 0.0, 1.0)
        if shots is None:
            return fidelity
        if key is None:
            raise InputError("key = None: shots are drawn and need a random key")
        return counts(key, jnp.stack([fidelity, 1 - fidelity]), shots)[0] / shots


def moduli(frequencies: jax.Array) -> jax.Array:
    """sqrt(p) of shares, negative ones as zero; the slope at zero is zero."""
    seen = frequencies > 0
    return jnp.where(seen, jnp.sqrt(jnp.where(seen, frequencies, 1.0)), 0.0)
