"""A weight matrix in the amplitudes of qubits: one register an output, read by as many copies as there are shots.

The column w_j of a tile is prepared as w_j/||w_j|| on ceil(log2 n_in) qubits (``register``), stored, and read bit by
bit; the shares p^ of the outcomes in S shots give the moduli, ||w_j|| sqrt(p^). Reading destroys the copy, so that a
read of the matrix prepares S copies of every column anew, each stored for the same time.

Probabilities have no sign. "differential" spends a qubit on it, the most significant: w+ = max(w, 0) stands beside
w- = max(-w, 0), and w^ = ||w|| (sqrt(p^+) - sqrt(p^-)). "known" keeps the signs classically, a bit a weight.

Mean and variance of a weight over reads, K binomial counts (``root_moments``: exact sums for rare outcomes, the delta
method from 16 expected counts on, good to 0.3 % of the variance where they meet):

    mean       ||w|| (E sqrt(K+) - E sqrt(K-)) / sqrt(S)
    variance   ||w||^2 (Var sqrt(K+) + Var sqrt(K-) - 2 Cov) / S,   Cov = -S p+ p- E d+ E d-,  d = sqrt(K + 1) - sqrt(K)

A weight is spread by about ||w||/(2 sqrt S), each rail. Weights of a column are weakly anticorrelated, by
-w_i w_k/(4 S). That is left out: an output's variance is off by sum_{i != k} x_i x_k w_i w_k/(4 S), which makes it too
large by at most the share cos^2(x, w). Weights below ||w||/sqrt(S) are seldom seen at all, which is in the mean.

Errors are biases: damping drains a column towards its first weight, and turns negative ones positive; white noise of
failed gates lies under all weights, and its root is large.

Slopes: straight through to the weights (slope 1: what is read stands for what was written); to physical numbers and the
time that of the mean and the variance, and with a key that of the expected counts at the counts drawn.
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
from analogsim.devices.protocol import Action, Moments, OneColumnPerOutput
from analogsim.devices.quantum.accounting import StorageReport, storage_report
from analogsim.devices.quantum.channels import check_time
from analogsim.devices.quantum.register import AmplitudeRegister, encoded, moduli, qubits_for
from analogsim.devices.quantum.shot_noise import MOST_SHOTS, counts, root_moments

_ASSUMED = Source(note="assumed")
_ANGLE_BYTES = 2.0  # of a rotation that preparation sets, 16 bits: 2^n - 1 of them a copy


class AmplitudeState(NamedTuple):
    """One tile as prepared.

    Attributes:
      amplitudes: of every column's register, ``[n_out, 2^n]``.
      norm: length of every column, ``[n_out]``.
      signs: of the weights where they are known, ``[n_in, n_out]``; None where a qubit tells them.
      weight_gradient: zeros ``[n_in, n_out]`` that carry the derivative of the weights.
    """

    amplitudes: jax.Array
    norm: jax.Array
    signs: jax.Array | None
    weight_gradient: jax.Array


class AmplitudeStore(OneColumnPerOutput, Description):
    """Columns of weights as registers of qubits; see the module for the equations.

    Example:
      >>> store = AmplitudeStore(rows=2, register=AmplitudeRegister(two_qubit_error=0.0, readout_error=0.0))
      >>> state = store.program(None, jnp.array([[0.6, 0.0], [-0.8, 0.0]]))
      >>> store.read(state, 0.0).mean.round(1).tolist()
      [[0.6000000238418579, 0.0], [-0.800000011920929, 0.0]]
    """

    register: AmplitudeRegister = field(factory=AmplitudeRegister, kind=AmplitudeRegister, doc="that of every column")
    shots: Any = field(
        default=100_000, ge=64, le=MOST_SHOTS, integer=True,
        doc="S, copies of every column that one read takes; fewer than 64 tell nothing of a vector",
        source=Source(note="assumed: a relative error of 0.6 % for 16 weights"),
    )  # fmt: skip
    signs: str = static(
        default="differential", choices=("differential", "known"),
        doc="how signs are kept: by one more qubit, or classically", source=_ASSUMED,
    )  # fmt: skip
    rows: int = static(
        default=512, ge=1, le=65536, integer=True, doc="the most inputs of a tile: what the time of a read allows for",
        source=_ASSUMED,
    )  # fmt: skip

    draws_at_program = False
    destructive_read = True

    @property
    def read_time_s(self) -> Any:
        """Seconds of one product: S times preparing and reading a register, all columns side by side; no storage."""
        return self.shots * (self.register.preparation_s(self.qubits(self.rows)) + self.register.readout_s)

    def qubits(self, n_in: int) -> int:
        """Qubits of one register of so many inputs."""
        return qubits_for(n_in) + (self.signs == "differential")

    def program(self, key: jax.Array | None, weights: jax.Array, reprogram: Any = None) -> AmplitudeState:
        """Amplitudes of ``[n_in, n_out]``; nothing is random before it is read, so the key may be None."""
        del key, reprogram
        if jnp.iscomplexobj(weights):
            raise InputError("weights: complex: read-out in bits tells no phases; an MZIMesh holds complex weights")
        if weights.shape[0] > self.rows:
            raise InputError(
                f"AmplitudeStore.rows = {self.rows}: must be at least {weights.shape[0]}, the inputs of the tile"
            )
        weights = wide(weights)
        wanted = lax.stop_gradient(weights)
        held, signs = encoded(wanted), None
        amplitudes = held.amplitudes
        if self.signs == "differential":
            amplitudes = jnp.concatenate([jnp.maximum(amplitudes, 0.0), jnp.maximum(-amplitudes, 0.0)])
        else:
            signs, amplitudes = jnp.sign(wanted), jnp.abs(amplitudes)
        return AmplitudeState(amplitudes.T, held.norm, signs, weights - wanted)

    def read(self, state: AmplitudeState, time_s: Any, key: jax.Array | None = None) -> Moments:
        """The weights that are read from registers stored for ``time_s`` seconds; with a key, from one set of shots."""
        check_time(time_s)
        dtype, shots = state.weight_gradient.dtype, jnp.asarray(self.shots, state.norm.dtype)
        p = self.register.probabilities(state.amplitudes, jnp.asarray(time_s, state.norm.dtype))
        if key is not None:
            drawn = moduli(counts(stream(key, "shots"), p, shots) / shots)
            return Moments((state.norm * self._joined(drawn, state)).astype(dtype) + state.weight_gradient)
        roots = root_moments(p, shots)
        mean = state.norm * self._joined(roots.mean, state) / jnp.sqrt(shots)
        variance = roots.variance
        if self.signs == "differential":
            plus, minus = jnp.split(variance, 2, axis=-1)
            both = jnp.split(p * roots.step, 2, axis=-1)
            variance = plus + minus + 2 * shots * both[0] * both[1]
        variance = state.norm**2 * variance.T[: len(state.weight_gradient)] / shots
        if state.signs is not None:
            variance = variance * state.signs.astype(variance.dtype) ** 2  # a weight known to be zero is zero
        return Moments(mean.astype(dtype) + state.weight_gradient, variance.astype(dtype))

    def _joined(self, roots: jax.Array, state: AmplitudeState) -> jax.Array:
        """Signed values ``[n_in, n_out]`` of moduli ``[n_out, 2^n]``."""
        n_in = len(state.weight_gradient)
        if state.signs is not None:
            return state.signs.astype(roots.dtype) * roots.T[:n_in]
        plus, minus = jnp.split(roots, 2, axis=-1)
        return (plus - minus).T[:n_in]

    def noise(self, x: jax.Array, y: jax.Array, state: Any) -> None:
        """Shots are part of reading; the product with what was read is digital."""
        return None

    def cost(self, weights: jax.Array, read_fraction: Any) -> tuple[Action, ...]:
        """A product reads the whole matrix: S copies of every column, their angles, and the product, digitally.

        All qubits are kept cold as long as the inference lasts.
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
        """Qubits."""
        return self.qubits(n_in) * n_out

    def report(self, n_in: int, bits: int = 8) -> StorageReport:
        """What one register of ``n_in`` values gives out, and what one read of it takes; see ``accounting``."""
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
