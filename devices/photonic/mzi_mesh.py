"""A matrix on two meshes of interferometers: light holds the input, the phases hold the weights.

    W^T = s U Sigma V^dagger,   s = largest singular value, so that 0 <= Sigma <= 1 needs no gain in the light

Inputs modulate the fields of N waveguides; they meet the mesh of V^dagger (N modes), an interferometer as attenuator
for each singular value, and the mesh of U (M modes). Homodyne detectors read the real part of the fields behind it, and
digital factors restore s and the mean loss. See D. A. B. Miller, Photon. Res. 1, 1 (2013), doi 10.1364/PRJ.1.000001;
Y. Shen et al., Nat. Photon. 11, 441 (2017), doi 10.1038/nphoton.2017.93.

A coupler that does not split evenly adds a small imaginary part to the field. If all weights are real and the real part
is read, its error is of second order. Complex weights, intensities and trained phases see it in first order.

These effects act between the target matrix and the matrix that is read, in this order: DAC of the phases, thermal
crosstalk and its compensation, each shifter's residual offset and slow drift (``phase_shifter``); couplers that do not
split evenly (``interferometer``), compensated if their errors are known; loss in every cell, 10^(-dB/20) of the field;
detection (``detection``). Read-to-read phase noise enters by its first two moments: the mean matrix is exact, as each
e^(i phi) shrinks by e^(-sigma^2/2), and

    Var(w_ji) = sigma^2 sum_k Im(B_jk A_ki)^2

to first order in sigma^2, with k over the shifters, A from the inputs to them and B from them to the outputs.
One phase acts on many weights, so weight errors are correlated: the output variance sum_i x_i^2 Var(w_ji) holds for
inputs of independent signs only. For one given input it differs; ``sampling="cells"`` draws the phases of every read.

The shifters' positions ``[rows, max(N, M)]`` are those of ``grid.ShifterGrid``.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from analogsim.base.description import Description, field, static
from analogsim.base.dtypes import promoted, to_complex, wide
from analogsim.base.errors import InputError
from analogsim.base.literature import Source, cited
from analogsim.base.random import normal, stream
from analogsim.base.types import Numeric
from analogsim.devices.photonic.detection import Homodyne
from analogsim.devices.photonic.grid import ShifterGrid
from analogsim.devices.photonic.interferometer import theta_for, transfer
from analogsim.devices.photonic.layouts import TOPOLOGIES, layout
from analogsim.devices.photonic.light import field_ratio
from analogsim.devices.photonic.mesh import Couplers, Phases, decompose, rebuild
from analogsim.devices.photonic.phase_noise import noise_variance, squared_products
from analogsim.devices.photonic.phase_shifter import PhaseShifter
from analogsim.devices.protocol import Action, Moments, OneColumnPerOutput

_ASSUMED = Source(note="assumed")
_IDEAL = Source(note="none by default")


class FabricatedMesh(NamedTuple):
    """Fabrication errors of one tile, drawn once.

    Attributes:
      first, last: couplers of the meshes of V^dagger and U.
      between: couplers of the attenuators, each ``[min(N, M)]``.
      offset: standard Gaussian of every shifter's residual phase, ``[rows, width]``.
      drift: standard Gaussian of its slow drift, ``[rows, width]``.
    """

    first: Couplers
    last: Couplers
    between: Couplers
    offset: jax.Array
    drift: jax.Array


class MeshState(NamedTuple):
    """One programmed tile.

    Attributes:
      fabric: its fabrication errors.
      commands: the command of every shifter, radians, ``[rows, width]``.
      gain: digital factor behind the detectors: the largest singular value over the mean transmission of the field.
      weight_gradient: zeros ``[n_in, n_out]`` that carry the derivative of the weights, as the decomposition has none.
    """

    fabric: FabricatedMesh
    commands: jax.Array
    gain: jax.Array
    weight_gradient: jax.Array


class MZIMesh(OneColumnPerOutput, Description):
    """Two meshes of Mach-Zehnder interferometers around a row of attenuators; see the module for the equations.

    Example:
      >>> import jax
      >>> store = MZIMesh()
      >>> state = store.program(jax.random.key(0), jnp.full((8, 4), 0.5))
      >>> store.read(state, 3600.0).mean.shape
      (8, 4)
    """

    topology: str = static(
        default="rectangular", choices=TOPOLOGIES, doc="layout of the interferometers",
        source=cited("clements2016", "reck1994"),
    )  # fmt: skip
    shifter: PhaseShifter = field(factory=PhaseShifter, kind=PhaseShifter, doc="phase shifters of all cells")
    splitter_rad: Any = field(
        default=0.02, unit="rad", ge=0, le=0.5,
        doc="standard deviation of the couplers' angles about pi/4; 0.02 splits 48:52",
        source=Source(note="typical of silicon photonics", recalled=True),
    )  # fmt: skip
    splitter_mean_rad: Any = field(
        default=0.0,
        unit="rad",
        ge=-0.5,
        le=0.5,
        doc="error common to all couplers, as at another wavelength",
        source=_IDEAL,
    )
    error_aware: bool = static(
        default=True, choices=(True, False), doc="whether the phases compensate for the couplers' calibrated errors",
        source=cited("bandyopadhyay2021", "hamerly2021"),
    )  # fmt: skip
    shifter_loss_db: Any = field(
        default=0.1, unit="dB", ge=0, le=20, doc="loss of each of a cell's two shifters",
        source=Source(note="0.3 dB a cell, the default of simphox, split between its parts"),
    )  # fmt: skip
    coupler_loss_db: Any = field(
        default=0.05, unit="dB", ge=0, le=20, doc="loss of each of a cell's two couplers",
        source=Source(note="0.3 dB a cell, the default of simphox, split between its parts"),
    )  # fmt: skip
    arm_imbalance_db: Any = field(
        default=0.0, unit="dB", ge=0, le=20, doc="additional loss of the arm with the phase theta", source=_IDEAL
    )
    balanced: bool = static(
        default=True, choices=(True, False), doc="whether waveguides that bypass cells have the loss of a cell"
    )
    detector: Homodyne | None = field(
        factory=Homodyne, kind=Homodyne, optional=True, doc="detector of every output; None detects without noise"
    )
    laser_w: Any = field(
        default=10e-3, unit="W", gt=0, le=0.1,
        doc="total light into the inputs of a tile at full scale; more than 0.1 W burns facets and waveguides",
        source=_ASSUMED,
    )  # fmt: skip
    rate_hz: Any = field(default=5e9, unit="Hz", gt=0, le=1e12, doc="vectors per second", source=_ASSUMED)

    @property
    def draws_at_read(self) -> bool:
        """True if phases fluctuate from read to read."""
        return self.shifter.noise_rad is not None

    @property
    def detects_noise(self) -> bool:
        """True if the detector is noisy; a perfect one is None."""
        return self.detector is not None

    def model_sources(self) -> tuple[Source, ...]:
        return (cited("miller2013", "shen2017", note="singular value decomposition on meshes"),)

    @property
    def cell_loss_db(self) -> Numeric:
        """Power loss of one cell, dB."""
        return 2 * self.shifter_loss_db + 2 * self.coupler_loss_db

    @property
    def read_time_s(self) -> Numeric:
        """Duration of one matrix-vector product, seconds."""
        return 1 / self.rate_hz

    def path_loss_db(self, n_in: int, n_out: int) -> Numeric:
        """Return the power loss (dB) of the longest path: one cell per column of both meshes and the attenuator."""
        return (layout(n_in, self.topology).columns + 1 + layout(n_out, self.topology).columns) * self.cell_loss_db

    def fabricate(self, key: jax.Array, n_in: int, n_out: int, dtype: DTypeLike = jnp.float32) -> FabricatedMesh:
        """Draw the fabrication errors of one tile.

        Args:
          key: of the draw.
          n_in, n_out: modes of the first and of the last mesh.
          dtype: real dtype of the errors.
        """
        first, last = layout(n_in, self.topology), layout(n_out, self.topology)
        shape = ShifterGrid(n_in, n_out, self.topology).shape

        def couplers(name: str, size: tuple[int, ...]) -> Couplers:
            drawn = normal(stream(key, name), (2, *size), dtype)
            return Couplers(*(self.splitter_mean_rad + self.splitter_rad * drawn).astype(dtype))

        return FabricatedMesh(
            first=couplers("couplers, first mesh", first.occupied.shape),
            last=couplers("couplers, last mesh", last.occupied.shape),
            between=couplers("couplers, attenuators", (min(n_in, n_out),)),
            offset=normal(stream(key, "phase offset"), shape, dtype),
            drift=normal(stream(key, "phase drift"), shape, dtype),
        )

    def program(self, key: jax.Array | None, weights: jax.Array, reprogram: MeshState | None = None) -> MeshState:
        """Fabricate a tile and set its phases.

        Args:
          key: of the fabrication; required.
          weights: ``[n_in, n_out]``, real or complex.
          reprogram: an existing tile to set again; it keeps its fabrication errors.

        Raises:
          InputError: if ``key`` is None.
        """
        if key is None:
            raise InputError("key = None: interferometers are fabricated with errors and need a random key")
        weights = wide(weights)
        target = lax.stop_gradient(weights)
        n_in, n_out = target.shape
        fabric = self.fabricate(key, n_in, n_out, jnp.real(target).dtype) if reprogram is None else reprogram.fabric
        phases, gain = self.phases_for(target, fabric if self.error_aware else None)
        return self.driven(fabric, phases, gain, weights - target)

    def phases_for(
        self, weights: jax.Array, fabric: FabricatedMesh | None = None, largest: Any = None
    ) -> tuple[jax.Array, jax.Array]:
        """Return the phases ``[rows, width]`` and the digital gain with which the mesh represents ``weights``.

        Args:
          weights: ``[n_in, n_out]``, real or complex.
          fabric: fabrication errors whose couplers are known; None assumes perfect couplers.
          largest: s, the available gain; None takes the largest singular value, the smallest sufficient gain.

        Raises:
          InputError: if a singular value exceeds ``largest``: no passive mesh amplifies. If traced, phases are NaN.
        """
        n_in, n_out = weights.shape
        grid = ShifterGrid(n_in, n_out, self.topology)
        # Transposed, because weights are [n_in, n_out] and light meets V^dagger first; ``v`` is V^dagger, as in NumPy.
        u, sigma, v = jnp.linalg.svd(weights.T, full_matrices=True, compute_uv=True)
        if fabric is None:
            fabric = jax.tree.map(
                jnp.zeros_like, jax.eval_shape(lambda: self.fabricate(jax.random.key(0), n_in, n_out))
            )
        least = jnp.where(sigma[0] > 0, sigma[0], 1.0)
        largest = least if largest is None else _enough(jnp.asarray(largest, least.dtype), least)
        # Singular values are factors of the field, ``theta_for`` takes a power.
        attenuator = theta_for((sigma / largest) ** 2, *fabric.between)
        # Attenuators also rotate the phase of the light; V^dagger rotates it back.
        rotation = jnp.exp(-1j * to_complex(jnp.angle(transfer(attenuator, 0.0, *fabric.between).t11)))
        rotation = jnp.ones(n_in, rotation.dtype).at[: len(sigma)].set(rotation)
        apart = functools.partial(decompose, topology=self.topology)
        inputs = (rotation[:, None] * v.astype(rotation.dtype), fabric.first), (u.astype(rotation.dtype), fabric.last)
        before, behind = _both(lambda matrix, couplers: apart(matrix, couplers=couplers), *inputs)
        gain = largest / self._transmission(grid, before, behind)
        return grid.joined(before, attenuator, behind), gain.astype(sigma.dtype)

    def random_phases(self, key: jax.Array, n_in: int, n_out: int) -> tuple[jax.Array, jax.Array]:
        """Return the phases ``[rows, width]`` and the gain of a random matrix to start training from.

        Cells are uniform over their unitary matrices and attenuators are open. The gain gives the entries the variance
        1 / n_in of common initialisers.
        """
        grid = ShifterGrid(n_in, n_out, self.topology)
        power, phase = jax.random.uniform(key, (2, *grid.shape))
        first, attenuator, last = grid.parted(2 * jnp.pi * phase)
        # The power in the bar port, sin^2(theta/2), of a Haar-random 2 x 2 matrix is uniform in [0, 1].
        theta = [2 * jnp.arcsin(jnp.sqrt(m.theta)) for m in grid.parted(power)[::2]]
        first, last = (m._replace(theta=t) for m, t in zip((first, last), theta, strict=True))
        widening = max(n_in, n_out) / n_in  # light spreads over more outputs than there are inputs
        # The mean of |entry|^2 is 1/max(n_in, n_out), of which the real part, which is read, has half.
        gain = jnp.sqrt(2.0 * widening) / field_ratio(self.path_loss_db(n_in, n_out))
        return grid.joined(first, jnp.full_like(attenuator, jnp.pi), last), gain

    def driven(
        self, fabric: FabricatedMesh, phases: jax.Array, gain: jax.Array, weight_gradient: jax.Array
    ) -> MeshState:
        """Drive a tile's shifters to these phases; the DAC has a straight-through gradient of 1.

        Args:
          fabric, phases, gain: as returned by ``fabricate`` and ``phases_for``.
          weight_gradient: zeros ``[n_in, n_out]``, see ``MeshState``.
        """
        mask = self._grid(weight_gradient).mask
        rounded = self.shifter.commands(lax.stop_gradient(phases), mask)
        commands = rounded + jnp.where(mask, phases - lax.stop_gradient(phases), 0.0)
        return MeshState(fabric, commands, gain, weight_gradient)

    def _grid(self, matrix: jax.Array) -> ShifterGrid:
        n_in, n_out = matrix.shape
        return ShifterGrid(n_in, n_out, self.topology)

    def _transmission(self, grid: ShifterGrid, first: Phases, last: Phases) -> jax.Array:
        """Fraction of the field that losses leave: equal for all paths if balanced, else from their mean power."""
        cell = field_ratio(self.cell_loss_db)
        if self.balanced:
            return cell ** (grid.columns + 1)
        fractions = []
        for phases in (first, last):
            u = rebuild(phases, self.topology, None, self.cell_loss_db, balanced=False)
            fractions.append(jnp.sqrt(jnp.sum(jnp.abs(u) ** 2) / len(u)))
        return fractions[0] * cell * fractions[1]

    def read(self, state: MeshState, time_s: Numeric, key: jax.Array | None = None) -> Moments:
        """Return the moments of the matrix's real part, ``[n_in, n_out]``, ``time_s`` seconds after programming."""
        mean, variance = self.fields(state, time_s, key)
        return Moments(jnp.real(mean), variance)

    def fields(self, state: MeshState, time_s: Any, key: jax.Array | None = None) -> tuple[jax.Array, jax.Array | None]:
        """Return the complex matrix ``[n_in, n_out]`` including the gain, and the read variance of its real part.

        The variance is None if phases do not fluctuate, or if ``key`` draws one read.
        """
        grid, phases = self._grid(state.weight_gradient), self.phases(state, time_s)
        noise, variance = self.shifter.noise_rad, None
        if noise is not None and key is not None:
            phases = phases + noise * normal(stream(key, "phase noise"), phases.shape, phases.dtype)
        elif noise is not None:
            # The mean of e^(i phi), as an imaginary phase.
            # The mean matrix is then exact, because it is linear in the factor e^(i phi) of every shifter.
            phases = to_complex(phases) + 0.5j * to_complex(jnp.asarray(noise, phases.dtype) ** 2)
        first, attenuator, last = grid.parted(phases)
        if noise is not None and key is None:
            variance = state.gain**2 * self._variance(state.fabric, grid, first, attenuator, last)
        matrix = self.matrix(state.fabric, first, attenuator, last)
        gain, gradient = state.gain.astype(matrix.dtype), state.weight_gradient.astype(matrix.dtype)
        return gain * matrix.T + gradient, variance

    def phases(self, state: MeshState, time_s: Numeric) -> jax.Array:
        """Return the phases ``[rows, width]`` that light sees ``time_s`` after programming, without read noise."""
        mask = self._grid(state.weight_gradient).mask
        heated = self.shifter.phases(state.commands, mask)
        time = jnp.asarray(time_s, heated.dtype)
        # The gradient of a square root is infinite at time 0: both branches of the selection must be finite.
        root = jnp.sqrt(jnp.where(time > 0, time, 1.0))
        drift = self.shifter.drift_rad * jnp.where(time > 0, root, 0.0) * state.fabric.drift
        return jnp.where(mask, heated + self.shifter.offset_rad * state.fabric.offset + drift, 0.0)

    def matrix(self, fabric: FabricatedMesh, first: Phases, attenuator: jax.Array, last: Phases) -> jax.Array:
        """Return the complex field matrix ``[n_out, n_in]`` of a fabricated tile, losses included; at most 1.

        Args:
          fabric: its fabrication errors.
          first, last: phases of the meshes of V^dagger and U.
          attenuator: theta of each attenuator, ``[min(n_in, n_out)]``, radians.
        """
        together = functools.partial(rebuild, topology=self.topology, cell_loss_db=self.cell_loss_db)
        settings = (self._lossy(first), fabric.first), (self._lossy(last), fabric.last)
        v, u = _both(lambda m, couplers: together(m, couplers=couplers, balanced=self.balanced), *settings)
        passed = self._attenuation(fabric, attenuator)
        k = len(passed)
        return jnp.matmul(u[:, :k], passed[:, None] * v[:k], precision=lax.Precision.HIGHEST)

    def _attenuation(self, fabric: FabricatedMesh, theta: jax.Array) -> jax.Array:
        t11 = transfer(self._arm(theta), 0.0, *fabric.between).t11
        return jnp.asarray(field_ratio(self.cell_loss_db), t11.dtype) * t11

    def _lossy(self, phases: Phases) -> Phases:
        return phases._replace(theta=self._arm(phases.theta))

    def _arm(self, theta: jax.Array) -> jax.Array:
        """Add the loss of the arm with the phase theta as an imaginary part of theta."""
        imbalance = self.arm_imbalance_db
        # Phases stay real without imbalance, as complex ones double the work. A traced number cannot be compared.
        if isinstance(imbalance, float) and imbalance == 0.0:
            return theta
        loss = jnp.log(field_ratio(imbalance))
        dtype = promoted(theta, loss, 1j)
        # i (theta - i ln r) = i theta + ln r: a factor r < 1 on the field.
        return theta.astype(dtype) - 1j * loss.astype(dtype)

    def _variance(
        self, fabric: FabricatedMesh, grid: ShifterGrid, first: Phases, attenuator: jax.Array, last: Phases
    ) -> jax.Array:
        """Variance of the real part of the matrix ``[n_in, n_out]``, without the gain."""
        first, last = self._lossy(first), self._lossy(last)
        common = (self.topology, self.cell_loss_db, self.balanced)
        v, u = (rebuild(m, common[0], c, *common[1:]) for m, c in ((first, fabric.first), (last, fabric.last)))
        passed = self._attenuation(fabric, attenuator)
        k = len(passed)
        middle = jnp.zeros((grid.n_out, grid.n_in), u.dtype).at[:k, :k].set(jnp.diag(passed))
        arm = jnp.asarray(field_ratio(self.cell_loss_db), u.dtype) * jnp.exp(1j * to_complex(self._arm(attenuator)))
        # Only the upper arm's term of T11, cos cos e^(i theta), depends on the phase; the lower arm's is constant.
        split = jnp.cos(jnp.pi / 4 + fabric.between.first) * jnp.cos(jnp.pi / 4 + fabric.between.second)
        behind, before = (jnp.matmul(a, b, precision="highest") for a, b in ((u, middle), (middle, v)))
        total = (
            noise_variance(first, fabric.first, jnp.eye(grid.n_in, dtype=u.dtype), behind, *common)
            + noise_variance(last, fabric.last, before, jnp.eye(grid.n_out, dtype=u.dtype), *common)
            + squared_products(u[:, :k], (split.astype(arm.dtype) * arm)[:, None] * v[:k])
        )
        return jnp.asarray(self.shifter.noise_rad, total.dtype) ** 2 * total.T

    def noise(self, x: jax.Array, y: jax.Array, state: MeshState) -> jax.Array | None:
        """Return the standard deviation of detection noise: shot and dark noise times the gain, and intensity noise.

        Args:
          x: inputs, ``[..., n_in]``.
          y: outputs, ``[..., n_out]``.
          state: the tile.
        """
        if self.detector is None:
            return None
        n_in = x.shape[-1]
        sigma = state.gain * self.detector.sigma(self.laser_w / n_in, self.rate_hz)
        return jnp.hypot(jnp.asarray(sigma, y.dtype), self.detector.relative_sigma(self.rate_hz).astype(y.dtype) * y)

    def cost(self, weights: jax.Array, read_fraction: Numeric) -> tuple[Action, ...]:
        """Return the actions of one product: laser light, one symbol per modulator, one sample per receiver, phases."""
        del read_fraction  # the laser shines whatever the modulators let through
        n_in, n_out = weights.shape
        return (
            Action("laser", self.laser_w / self.rate_hz, "J"),
            Action("modulator", n_in, "symbol"),
            Action("receiver", n_out, "sample"),
            Action("hold", _hold_w(self, lax.stop_gradient(weights)), "W"),
        )

    def n_cells(self, n_in: int, n_out: int) -> int:
        """Return the number of interferometers: those of both meshes and the attenuators."""
        return sum(int(layout(n, self.topology).occupied.sum()) for n in (n_in, n_out)) + min(n_in, n_out)


def _enough(gain: jax.Array, least: jax.Array) -> jax.Array:
    """Return the gain; refuse one below the largest singular value, or return NaN if traced."""
    sufficient = gain >= least * (1 - 1e-6)
    if not isinstance(sufficient, jax.core.Tracer) and not bool(sufficient):
        raise InputError(
            f"largest = {float(gain):g}: must be at least {float(least):g}, the largest singular value of the weights: "
            f"a passive mesh attenuates and never amplifies"
        )
    return jnp.where(sufficient, gain, jnp.nan)


@jax.jit
def _hold_w(store: MZIMesh, weights: jax.Array) -> jax.Array:
    """Power (W) of all phases of a tile, set for perfect couplers."""
    state = store.replace(error_aware=False).program(jax.random.key(0), weights)
    return store.shifter.hold_w(state.commands)


def _both(function: Any, first: tuple, last: tuple) -> tuple[Any, Any]:
    """Apply ``function`` to both meshes; vmap over them if their sizes are equal, which halves the compile time."""
    if jax.tree.map(jnp.shape, first) != jax.tree.map(jnp.shape, last):
        return function(*first), function(*last)
    results = jax.vmap(function)(*jax.tree.map(lambda a, b: jnp.stack([a, b]), first, last))
    return jax.tree.map(lambda a: a[0], results), jax.tree.map(lambda a: a[1], results)
