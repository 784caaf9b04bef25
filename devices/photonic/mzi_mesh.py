"""A matrix on two meshes of interferometers: light holds the input, the phases hold the weights.

    W^T = s U Sigma V^dagger,   s = largest singular value, so that 0 <= Sigma <= 1 needs no gain in the light

Inputs modulate the fields of N waveguides; they meet the mesh of V^dagger (N modes), an interferometer as attenuator
for each singular value, and the mesh of U (M modes). Homodyne detectors read the real part of the fields behind it, and
digital factors restore s and the mean loss: D. A. B. Miller, Photon. Res. 1, 1 (2013), doi 10.1364/PRJ.1.000001;
Y. Shen et al., Nat. Photon. 11, 441 (2017), doi 10.1038/nphoton.2017.93.

Couplers that do not split evenly turn a field by a small imaginary amount: where all weights are real and the real part
is read, their error is of second order. Complex weights, intensities and phases that are trained see the first.

What stands between the wanted matrix and the one that is read, in this order: DAC of the phases, thermal crosstalk and
its compensation, each shifter's residual offset, its slow drift (``phase_shifter``); couplers that do not split evenly
(``interferometer``), set around where they are known; loss in every cell, 10^(-dB/20) of the field; detection
(``detection``). Noise of the phases from read to read enters by its first two moments: the mean matrix is exact, each
e^(i phi) shrinking to its mean e^(-sigma^2/2), and

    Var(w_ji) = sigma^2 sum_k Im(B_jk A_ki)^2

with k over the shifters, A from the inputs to them and B from them to the outputs, to first order in sigma^2.
Phases act on many weights at once. An output's variance is therefore sum_i x_i^2 Var(w_ji) for inputs of independent
signs; for one given input it differs, and ``sampling="cells"`` draws every read's phases instead.

Shifters stand on a grid ``[rows, max(N, M)]`` in the order in which light meets them: two rows for each column of a
mesh (phi, theta), one for its output phases; the attenuators' row between the meshes.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from analogsim.base.description import Description, field, static
from analogsim.base.dtypes import wide
from analogsim.base.errors import InputError
from analogsim.base.literature import Source, cited
from analogsim.base.random import normal, stream
from analogsim.devices.photonic.detection import Homodyne
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
    """What fabrication draws, for life.

    Attributes:
      first, last: couplers of the meshes of V^dagger and U.
      between: couplers of the attenuators, each ``[min(N, M)]``.
      offset: standard Gaussian of every shifter's residual phase, ``[rows, width]``.
      drift: standard Gaussian of its slow drift, likewise.
    """

    first: Couplers
    last: Couplers
    between: Couplers
    offset: jax.Array
    drift: jax.Array


class MeshState(NamedTuple):
    """One tile as fabricated and set.

    Attributes:
      fabric: what fabrication drew.
      commands: what every shifter is driven with, radians, ``[rows, width]``.
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
        default="rectangular", choices=TOPOLOGIES, doc="where the interferometers stand",
        source=cited("clements2016", "reck1994"),
    )  # fmt: skip
    shifter: PhaseShifter = field(factory=PhaseShifter, kind=PhaseShifter, doc="every phase shifter")
    splitter_rad: Any = field(
        default=0.02, unit="rad", ge=0, le=0.5, doc="spread of the couplers' angles about pi/4; 0.02 splits 48:52",
        source=Source(note="typical of silicon photonics", recalled=True),
    )  # fmt: skip
    splitter_mean_rad: Any = field(
        default=0.0,
        unit="rad",
        ge=-0.5,
        le=0.5,
        doc="error that all couplers share, as at another wavelength",
        source=_IDEAL,
    )
    error_aware: bool = static(
        default=True, choices=(True, False), doc="whether phases are set around the couplers' calibrated errors",
        source=cited("bandyopadhyay2021", "hamerly2021"),
    )  # fmt: skip
    shifter_loss_db: Any = field(
        default=0.1, unit="dB", ge=0, le=20, doc="in each of a cell's two shifters",
        source=Source(note="0.3 dB a cell, the default of simphox, split between its parts"),
    )  # fmt: skip
    coupler_loss_db: Any = field(
        default=0.05, unit="dB", ge=0, le=20, doc="in each of a cell's two couplers",
        source=Source(note="0.3 dB a cell, the default of simphox, split between its parts"),
    )  # fmt: skip
    arm_imbalance_db: Any = field(
        default=0.0, unit="dB", ge=0, le=20, doc="lost in addition in the arm with the phase theta", source=_IDEAL
    )
    balanced: bool = static(
        default=True, choices=(True, False), doc="whether waveguides that pass by cells lose as much as cells do"
    )
    detector: Homodyne | None = field(
        factory=Homodyne, kind=Homodyne, optional=True, doc="behind every output; None detects without noise"
    )
    laser_w: Any = field(
        default=10e-3, unit="W", gt=0, le=0.1,
        doc="light into the inputs of a tile, together, at full scale; more than 0.1 W burns facets and waveguides",
        source=_ASSUMED,
    )  # fmt: skip
    rate_hz: Any = field(default=5e9, unit="Hz", gt=0, le=1e12, doc="vectors a second", source=_ASSUMED)

    @property
    def draws_at_read(self) -> bool:
        """Whether phases fluctuate from read to read."""
        return self.shifter.noise_rad is not None

    @property
    def detects_noise(self) -> bool:
        """Whether the detector is noisy, or perfect (None)."""
        return self.detector is not None

    def model_sources(self) -> tuple[Source, ...]:
        return (cited("miller2013", "shen2017", note="singular value decomposition on meshes"),)

    @property
    def cell_loss_db(self) -> Any:
        """Lost in one cell, of power."""
        return 2 * self.shifter_loss_db + 2 * self.coupler_loss_db

    @property
    def read_time_s(self) -> Any:
        """Seconds of one product."""
        return 1 / self.rate_hz

    def path_loss_db(self, n_in: int, n_out: int) -> Any:
        """Lost on the longest path through a tile, of power: every column's cell, and the attenuator's."""
        return (layout(n_in, self.topology).columns + 1 + layout(n_out, self.topology).columns) * self.cell_loss_db

    def fabricate(self, key: jax.Array, n_in: int, n_out: int, dtype: Any = jnp.float32) -> FabricatedMesh:
        """Draw the imperfections of one tile."""
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
        """Fabricate a tile and set its phases to ``[n_in, n_out]``, real or complex."""
        if key is None:
            raise InputError("key = None: interferometers are fabricated with errors and need a random key")
        weights = wide(weights)
        wanted = lax.stop_gradient(weights)
        n_in, n_out = wanted.shape
        fabric = self.fabricate(key, n_in, n_out, jnp.real(wanted).dtype) if reprogram is None else reprogram.fabric
        phases, gain = self.phases_for(wanted, fabric if self.error_aware else None)
        return self.driven(fabric, phases, gain, weights - wanted)

    def phases_for(
        self, weights: jax.Array, fabric: FabricatedMesh | None = None, largest: Any = None
    ) -> tuple[jax.Array, jax.Array]:
        """Wanted phases ``[rows, width]`` and the digital gain at which the mesh is ``weights`` ``[n_in, n_out]``.

        Args:
          weights: real or complex.
          fabric: whose couplers' errors are known; None takes them as perfect.
          largest: s, the gain that there is; None takes the largest singular value, the least that is enough.

        Raises:
          InputError: where a singular value exceeds ``largest``: no passive mesh amplifies. Traced, phases are NaN.
        """
        n_in, n_out = weights.shape
        grid = ShifterGrid(n_in, n_out, self.topology)
        u, sigma, v = jnp.linalg.svd(weights.T, full_matrices=True, compute_uv=True)
        if fabric is None:
            fabric = jax.tree.map(
                jnp.zeros_like, jax.eval_shape(lambda: self.fabricate(jax.random.key(0), n_in, n_out))
            )
        least = jnp.where(sigma[0] > 0, sigma[0], 1.0)
        largest = least if largest is None else _enough(jnp.asarray(largest, least.dtype), least)
        attenuator = theta_for((sigma / largest) ** 2, *fabric.between)
        # What the attenuators turn is turned back before them.
        turned = jnp.exp(-1j * jnp.angle(transfer(attenuator, 0.0, *fabric.between).t11))
        turned = jnp.ones(n_in, turned.dtype).at[: len(sigma)].set(turned)
        apart = functools.partial(decompose, topology=self.topology)
        inputs = (turned[:, None] * v, fabric.first), (u.astype(turned.dtype), fabric.last)
        before, behind = _both(lambda matrix, couplers: apart(matrix, couplers=couplers), *inputs)
        gain = largest / self._transmission(grid, before, behind)
        return grid.joined(before, attenuator, behind), gain.astype(sigma.dtype)

    def random_phases(self, key: jax.Array, n_in: int, n_out: int) -> tuple[jax.Array, jax.Array]:
        """Phases of a random matrix to start training from, and a gain that makes it as large as the usual draws.

        Cells are uniform over their unitary matrices, attenuators are open: entries have the variance 1 / n_in.
        """
        grid = ShifterGrid(n_in, n_out, self.topology)
        power, phase = jax.random.uniform(key, (2, *grid.shape))
        first, attenuator, last = grid.parted(2 * jnp.pi * phase)
        theta = [2 * jnp.arcsin(jnp.sqrt(m.theta)) for m in grid.parted(power)[::2]]
        first, last = (m._replace(theta=t) for m, t in zip((first, last), theta, strict=True))
        share = max(n_in, n_out) / n_in  # of the light, where it spreads over more outputs than there are inputs
        gain = jnp.sqrt(2.0 * share) / field_ratio(self.path_loss_db(n_in, n_out))
        return grid.joined(first, jnp.full_like(attenuator, jnp.pi), last), gain

    def driven(
        self, fabric: FabricatedMesh, phases: jax.Array, gain: jax.Array, weight_gradient: jax.Array
    ) -> MeshState:
        """A tile whose shifters are driven to these phases; the DAC's staircase has the slope 1.

        Args:
          fabric, phases, gain: as of ``fabricate`` and ``phases_for``.
          weight_gradient: zeros ``[n_in, n_out]``, see ``MeshState``.
        """
        held = self._grid(weight_gradient).held
        set_to = self.shifter.commands(lax.stop_gradient(phases), held)
        commands = set_to + jnp.where(held, phases - lax.stop_gradient(phases), 0.0)
        return MeshState(fabric, commands, gain, weight_gradient)

    def _grid(self, matrix: jax.Array) -> "ShifterGrid":
        n_in, n_out = matrix.shape
        return ShifterGrid(n_in, n_out, self.topology)

    def _transmission(self, grid: "ShifterGrid", first: Phases, last: Phases) -> jax.Array:
        """The share of the field that losses leave: of every path alike, or in the mean of their power."""
        lost = field_ratio(self.cell_loss_db)
        if self.balanced:
            return lost ** (grid.columns + 1)
        shares = []
        for phases in (first, last):
            u = rebuild(phases, self.topology, None, self.cell_loss_db, balanced=False)
            shares.append(jnp.sqrt(jnp.sum(jnp.abs(u) ** 2) / len(u)))
        return shares[0] * lost * shares[1]

    def read(self, state: MeshState, time_s: Any, key: jax.Array | None = None) -> Moments:
        """The real part of the matrix ``time_s`` after programming."""
        mean, variance = self.fields(state, time_s, key)
        return Moments(jnp.real(mean), variance)

    def fields(self, state: MeshState, time_s: Any, key: jax.Array | None = None) -> tuple[jax.Array, jax.Array | None]:
        """The complex matrix ``[n_in, n_out]``, gain included, and the variance of its real part from read to read."""
        grid, phases = self._grid(state.weight_gradient), self.phases(state, time_s)
        noise, variance = self.shifter.noise_rad, None
        if noise is not None and key is not None:
            phases = phases + noise * normal(stream(key, "phase noise"), phases.shape, phases.dtype)
        elif noise is not None:
            phases = phases + 0.5j * jnp.asarray(noise, phases.dtype) ** 2  # e^(i phi) shrinks to its mean
        first, attenuator, last = grid.parted(phases)
        if noise is not None and key is None:
            variance = state.gain**2 * self._variance(state.fabric, grid, first, attenuator, last)
        matrix = self.matrix(state.fabric, first, attenuator, last)
        return state.gain * matrix.T + state.weight_gradient, variance

    def phases(self, state: MeshState, time_s: Any) -> jax.Array:
        """The phases that light sees, without the noise of a read, ``[rows, width]``."""
        held = self._grid(state.weight_gradient).held
        seen = self.shifter.phases(state.commands, held)
        time = jnp.asarray(time_s, seen.dtype)
        root = jnp.sqrt(jnp.where(time > 0, time, 1.0))
        drift = self.shifter.drift_rad * jnp.where(time > 0, root, 0.0) * state.fabric.drift
        return jnp.where(held, seen + self.shifter.offset_rad * state.fabric.offset + drift, 0.0)

    def matrix(self, fabric: FabricatedMesh, first: Phases, attenuator: jax.Array, last: Phases) -> jax.Array:
        """What phases amount to on this fabric, losses included: ``[n_out, n_in]``, complex, never above 1."""
        together = functools.partial(rebuild, topology=self.topology, cell_loss_db=self.cell_loss_db)
        settings = (self._lossy(first), fabric.first), (self._lossy(last), fabric.last)
        v, u = _both(lambda m, couplers: together(m, couplers=couplers, balanced=self.balanced), *settings)
        held = self._attenuation(fabric, attenuator)
        k = len(held)
        return jnp.matmul(u[:, :k], held[:, None] * v[:k], precision=lax.Precision.HIGHEST)

    def _attenuation(self, fabric: FabricatedMesh, theta: jax.Array) -> jax.Array:
        return field_ratio(self.cell_loss_db) * transfer(self._arm(theta), 0.0, *fabric.between).t11

    def _lossy(self, phases: Phases) -> Phases:
        return phases._replace(theta=self._arm(phases.theta))

    def _arm(self, theta: jax.Array) -> jax.Array:
        """Loss of the arm with the phase, as the imaginary part of it."""
        imbalance = self.arm_imbalance_db
        if isinstance(imbalance, float) and imbalance == 0.0:
            return theta
        return theta - 1j * jnp.log(field_ratio(imbalance))

    def _variance(
        self, fabric: FabricatedMesh, grid: "ShifterGrid", first: Phases, attenuator: jax.Array, last: Phases
    ) -> jax.Array:
        """Variance of the real part of the matrix ``[n_in, n_out]``, gain left out."""
        first, last = self._lossy(first), self._lossy(last)
        common = (self.topology, self.cell_loss_db, self.balanced)
        v, u = (rebuild(m, common[0], c, *common[1:]) for m, c in ((first, fabric.first), (last, fabric.last)))
        held = self._attenuation(fabric, attenuator)
        k = len(held)
        middle = jnp.zeros((grid.n_out, grid.n_in), u.dtype).at[:k, :k].set(jnp.diag(held))
        arm = field_ratio(self.cell_loss_db) * jnp.exp(1j * self._arm(attenuator))
        split = jnp.cos(jnp.pi / 4 + fabric.between.first) * jnp.cos(jnp.pi / 4 + fabric.between.second)
        total = (
            noise_variance(first, fabric.first, jnp.eye(grid.n_in, dtype=u.dtype), u @ middle, *common)
            + noise_variance(last, fabric.last, middle @ v, jnp.eye(grid.n_out, dtype=u.dtype), *common)
            + squared_products(u[:, :k], (split * arm)[:, None] * v[:k])
        )
        return jnp.asarray(self.shifter.noise_rad, total.dtype) ** 2 * total.T

    def noise(self, x: jax.Array, y: jax.Array, state: MeshState) -> jax.Array | None:
        """Detection: shot and dark noise behind the gain, and the laser's intensity noise."""
        if self.detector is None:
            return None
        n_in = x.shape[-1]
        sigma = state.gain * self.detector.sigma(self.laser_w / n_in, self.rate_hz)
        return jnp.hypot(jnp.asarray(sigma, y.dtype), self.detector.relative_sigma(self.rate_hz).astype(y.dtype) * y)

    def cost(self, weights: jax.Array, read_fraction: Any) -> tuple[Action, ...]:
        """The laser's light, a symbol of every modulator, a sample of every receiver; and the power of the phases."""
        del read_fraction  # the laser shines whatever the modulators let through
        n_in, n_out = weights.shape
        return (
            Action("laser", self.laser_w / self.rate_hz, "J"),
            Action("modulator", n_in, "symbol"),
            Action("receiver", n_out, "sample"),
            Action("hold", _hold_w(self, lax.stop_gradient(weights)), "W"),
        )

    def n_cells(self, n_in: int, n_out: int) -> int:
        """Interferometers of both meshes and the attenuators between."""
        return sum(int(layout(n, self.topology).occupied.sum()) for n in (n_in, n_out)) + min(n_in, n_out)


def _enough(gain: jax.Array, least: jax.Array) -> jax.Array:
    """The gain, refused where singular values would have to be amplified by the light itself."""
    tight = gain >= least * (1 - 1e-6)
    if not isinstance(tight, jax.core.Tracer) and not bool(tight):
        raise InputError(
            f"largest = {float(gain):g}: must be at least {float(least):g}, the largest singular value of the weights: "
            f"a passive mesh attenuates and never amplifies"
        )
    return jnp.where(tight, gain, jnp.nan)


@jax.jit
def _hold_w(store: MZIMesh, weights: jax.Array) -> jax.Array:
    """Power of all phases of a tile, set for perfect couplers."""
    state = store.replace(error_aware=False).program(jax.random.key(0), weights)
    return store.shifter.hold_w(state.commands)


def _both(function: Any, first: tuple, last: tuple) -> tuple[Any, Any]:
    """``function`` of both meshes; where they are of one size, at once, which halves the time of compiling."""
    if jax.tree.map(jnp.shape, first) != jax.tree.map(jnp.shape, last):
        return function(*first), function(*last)
    found = jax.vmap(function)(*jax.tree.map(lambda a, b: jnp.stack([a, b]), first, last))
    return jax.tree.map(lambda a: a[0], found), jax.tree.map(lambda a: a[1], found)


class ShifterGrid(NamedTuple):
    """The places of a tile's shifters, in the order in which light meets them: see the module."""

    n_in: int
    n_out: int
    topology: str

    @property
    def columns(self) -> int:
        """Of both meshes."""
        return layout(self.n_in, self.topology).columns + layout(self.n_out, self.topology).columns

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and width."""
        return 2 * self.columns + 3, max(self.n_in, self.n_out)

    @property
    def held(self) -> np.ndarray:
        """Where a shifter stands."""
        return _held(*self)

    def joined(self, first: Phases, attenuator: jax.Array, last: Phases) -> jax.Array:
        """All phases on the grid, zero where no shifter stands."""
        top = _on_grid(first, self.n_in, self.topology, self.shape[1])
        end = _on_grid(last, self.n_out, self.topology, self.shape[1])
        row = jnp.zeros((1, self.shape[1]), attenuator.dtype).at[0, : len(attenuator)].set(attenuator)
        return jnp.concatenate([top, row, end])

    def parted(self, phases: jax.Array) -> tuple[Phases, jax.Array, Phases]:
        """The opposite of ``joined``."""
        rows = 2 * layout(self.n_in, self.topology).columns + 1
        first = _off_grid(phases[:rows], self.n_in, self.topology)
        last = _off_grid(phases[rows + 1 :], self.n_out, self.topology)
        return first, phases[rows, : min(self.n_in, self.n_out)], last


@functools.cache
def _held(n_in: int, n_out: int, topology: str) -> np.ndarray:
    grid = ShifterGrid(n_in, n_out, topology)
    rows = 2 * layout(n_in, topology).columns + 1
    held = np.zeros(grid.shape, bool)
    held[rows, : min(n_in, n_out)] = True
    for start, n in ((0, n_in), (rows + 1, n_out)):
        where = layout(n, topology)
        column, slot = np.nonzero(where.occupied)
        for step in (0, 1):
            held[start + 2 * column + step, where.upper[column, slot]] = True
        held[start + 2 * where.columns, :n] = True
    return held


def _on_grid(phases: Phases, n: int, topology: str, width: int) -> jax.Array:
    where = layout(n, topology)
    grid = jnp.zeros((2 * where.columns + 1, width), phases.output.dtype)
    column, slot = np.nonzero(where.occupied)
    mode = where.upper[column, slot]
    grid = grid.at[2 * column, mode].set(phases.phi[column, slot])
    grid = grid.at[2 * column + 1, mode].set(phases.theta[column, slot])
    return grid.at[-1, :n].set(phases.output)


def _off_grid(grid: jax.Array, n: int, topology: str) -> Phases:
    where = layout(n, topology)
    column = np.arange(where.columns)[:, None]
    return Phases(theta=grid[2 * column + 1, where.upper], phi=grid[2 * column, where.upper], output=grid[-1, :n])
