"""A weight matrix in the amplitudes of qubits: one register per output, read from one copy per shot.

The column w_j of a tile is prepared as w_j/||w_j|| on ceil(log2 n_in) qubits (``register``), stored, and read bit by
bit; the frequencies p^ of the outcomes in S shots give the moduli, ||w_j|| sqrt(p^). Reading destroys the copy, so that
a read of the matrix prepares S new copies of every column, each stored for the same time.

Probabilities have no sign. "differential" encodes it in an additional, most significant qubit: amplitudes
w+ = max(w, 0) and w- = max(-w, 0), read as w^ = ||w|| (sqrt(p^+) - sqrt(p^-)). "known" stores the signs classically,
one bit per weight.

Mean and variance of a weight over reads, with K binomial counts (``root_moments``: exact sums for rare outcomes, the
delta method from 16 expected counts on, which agree to 0.3 % of the variance there):

    mean       ||w|| (E sqrt(K+) - E sqrt(K-)) / sqrt(S)
    variance   ||w||^2 (Var sqrt(K+) + Var sqrt(K-) - 2 Cov) / S,   Cov = -S p+ p- E d+ E d-,  d = sqrt(K + 1) - sqrt(K)

The standard deviation of a weight is about ||w||/(2 sqrt S) per rail. Weights of a column have a small negative
covariance of -w_i w_k/(4 S). It is neglected: an output's variance is off by sum_{i != k} x_i x_k w_i w_k/(4 S), which
makes it too large by at most the fraction cos^2(x, w). Weights below ||w||/sqrt(S) are rarely observed at all, which
the mean includes.

Errors are biases: damping moves a column towards its first weight and turns negative weights positive; white noise of
failed gates adds to all probabilities, and its square root is large.

Gradients: straight-through to the weights (derivative 1); to physical parameters and time, those of the mean and the
variance, or with a key those of the expected counts at the drawn counts.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from analogsim.base.description import Description, field, static
from analogsim.base.dtypes import wide
from analogsim.base.errors import InputError
from analogsim.base.literature import Source
from analogsim.base.random import stream
from analogsim.base.types import Numeric, PyTree
from analogsim.devices.protocol import Action, Moments, OneColumnPerOutput
from analogsim.devices.quantum.accounting import StorageReport, storage_report
from analogsim.devices.quantum.channels import check_time
from analogsim.devices.quantum.register import AmplitudeRegister, encoded, moduli, qubits_for
from analogsim.devices.quantum.shot_noise import MOST_SHOTS, counts, root_moments

_ASSUMED = Source(note="assumed")
_ANGLE_BYTES = 2.0  # per rotation angle of the preparation, 16 bits; a copy takes 2^n - 1 angles


class AmplitudeState(NamedTuple):
    """One programmed tile.

    Attributes:
      amplitudes: amplitudes of every column's register, ``[n_out, 2^n]``.
      norm: Euclidean norm of every column, ``[n_out]``.
      signs: signs of the weights if stored classically, ``[n_in, n_out]``; None if a qubit encodes them.
      weight_gradient: zeros ``[n_in, n_out]`` that carry the derivative of the weights.
    """

    amplitudes: jax.Array
    norm: jax.Array
    signs: jax.Array | None
    weight_gradient: jax.Array


class AmplitudeStore(OneColumnPerOutput, Description):
    """A weight store with one register of qubits per column; see the module for the equations.

    Example:
      >>> store = AmplitudeStore(rows=2, register=AmplitudeRegister(two_qubit_error=0.0, readout_error=0.0))
      >>> state = store.program(None, jnp.array([[0.6, 0.0], [-0.8, 0.0]]))
      >>> store.read(state, 0.0).mean.round(1).tolist()
      [[0.6000000238418579, 0.0], [-0.800000011920929, 0.0]]
    """

    register: AmplitudeRegister = field(
        factory=AmplitudeRegister, kind=AmplitudeRegister, doc="register of every column"
    )
    shots: Any = field(
        default=100_000, ge=64, le=MOST_SHOTS, integer=True,
        doc="S, copies of every column per read; fewer than 64 give no useful estimate of a vector",
        source=Source(note="assumed: a relative error of 0.6 % for 16 weights"),
    )  # fmt: skip
    signs: str = static(
        default="differential", choices=("differential", "known"),
        doc="storage of signs: in one more qubit, or classically", source=_ASSUMED,
    )  # fmt: skip
    rows: int = static(
        default=512, ge=1, le=65536, integer=True, doc="largest number of inputs of a tile; sets the read time",
        source=_ASSUMED,
    )  # fmt: skip

    draws_at_program = False
    destructive_read = True

    @property
    def read_time_s(self) -> Numeric:
        """Duration of one product, seconds: S preparations and reads, all columns in parallel, without storage time."""
        return self.shots * (self.register.preparation_s(self.qubits(self.rows)) + self.register.readout_s)

    def qubits(self, n_in: int) -> int:
        """Return the number of qubits of one register with ``n_in`` values."""
        return qubits_for(n_in) + (self.signs == "differential")

    def program(self, key: jax.Array | None, weights: jax.Array, reprogram: Any = None) -> AmplitudeState:
        """Encode weights ``[n_in, n_out]``; only reading is random, so the key may be None.

        Raises:
          InputError: if the weights are complex, or if there are more inputs than ``rows``.
        """
        del key, reprogram
        if jnp.iscomplexobj(weights):
            raise InputError("weights: complex: must be real, as bit read-out measures no phase; use MZIMesh instead")
        if weights.shape[0] > self.rows:
            raise InputError(
                f"AmplitudeStore.rows = {self.rows}: must be at least {weights.shape[0]}, the inputs of the tile"
            )
        weights = wide(weights)
        target = lax.stop_gradient(weights)
        columns, signs = encoded(target), None
        amplitudes = columns.amplitudes
        if self.signs == "differential":
            amplitudes = jnp.concatenate([jnp.maximum(amplitudes, 0.0), jnp.maximum(-amplitudes, 0.0)])
        else:
            signs, amplitudes = jnp.sign(target), jnp.abs(amplitudes)
        return AmplitudeState(amplitudes.T, columns.norm, signs, weights - target)

    def read(self, state: AmplitudeState, time_s: Numeric, key: jax.Array | None = None) -> Moments:
        """Return the weights ``[n_in, n_out]`` read from registers stored for ``time_s`` seconds.

        With a key, one set of shots is drawn; without, mean and variance over reads are returned.
        """
        check_time(time_s)
        dtype, shots = state.weight_gradient.dtype, jnp.asarray(self.shots, state.norm.dtype)
        p = self.register.probabilities(state.amplitudes, jnp.asarray(time_s, state.norm.dtype))
        if key is not None:
            drawn = moduli(counts(stream(key, "shots"), p, shots) / shots)
            return Moments((state.norm[None] * self._joined(drawn, state)).astype(dtype) + state.weight_gradient)
        roots = root_moments(p, shots)
        mean = state.norm[None] * self._joined(roots.mean, state) / jnp.sqrt(shots)
        variance = roots.variance
        if self.signs == "differential":
            plus, minus = jnp.split(variance, 2, axis=-1)
            both = jnp.split(p * roots.step, 2, axis=-1)
            variance = plus + minus + 2 * shots * both[0] * both[1]
        variance = state.norm[None] ** 2 * variance.T[: len(state.weight_gradient)] / shots
        if state.signs is not None:
            variance = variance * state.signs.astype(variance.dtype) ** 2  # a weight known to be zero is zero
        return Moments(mean.astype(dtype) + state.weight_gradient, variance.astype(dtype))

    def _joined(self, roots: jax.Array, state: AmplitudeState) -> jax.Array:
        """Combine moduli ``[n_out, 2^n]`` and signs into signed values ``[n_in, n_out]``."""
        n_in = len(state.weight_gradient)
        if state.signs is not None:
            return state.signs.astype(roots.dtype) * roots.T[:n_in]
        plus, minus = jnp.split(roots, 2, axis=-1)
        return (plus - minus).T[:n_in]

    def noise(self, x: jax.Array, y: jax.Array, state: PyTree) -> None:
        """Return None: shot noise is part of ``read``, and the product with the read weights is digital."""
        return None

    def cost(self, weights: jax.Array, read_fraction: Numeric) -> tuple[Action, ...]:
        """Return the actions of one product: S copies of every column with their angles, and the digital product.

        All qubits are kept cold for the duration of the inference.
        """
        del read_fraction  # no input drives a register
        n_in, n_out = weights.shape
        n, copies = self.qubits(n_in), self.shots * n_out
        return (
            Action("qubit gate", copies * self.register.gates(n), "gate"),
            Action("qubit read", copies * n, "read"),
            Action("qubit", n * n_out, "qubit"),
            Action("weight fetch", copies * (2**n - 1) * _ANGLE_BYTES, "B"),
            Action("mac", n_in * n_out, "MAC"),
        )

    def n_cells(self, n_in: int, n_out: int) -> int:
        """Return the number of qubits of all registers."""
        return self.qubits(n_in) * n_out

    def report(self, n_in: int, bits: int = 8) -> StorageReport:
        """Return capacity and read cost of one register of ``n_in`` values with ``bits`` bits; see ``accounting``."""
        n = self.qubits(n_in)
        return storage_report(
            n_in,
            bits,
            n,
            self.shots,
            self.register.preparation_s(n),
            self.register.readout_s,
            self.register.fidelity(n),
        )
