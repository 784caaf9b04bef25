"""Weight modifiers for the forward pass of hardware-aware training: noise, discretisation, defects.

Let w in [-1, 1] be a weight relative to the one that uses the full conductance window of a cell (the largest of its
column on a tile), s the noise scale of training and xi ~ N(0, 1):

    AdditiveNoise(std)         w + s std xi
    MultiplicativeNoise(std)   w (1 + s std xi)
    ReadNoise(std)             w + s std sqrt|w| xi, drawn for every input vector
    ProgrammingNoise()         the published programming error of the cells
    DeviceNoise(time_s)        programming error, drift and read noise at a time, by their mean and variance
    Discretise(bits)           w + s (Q(w) - w), Q the nearest of 2^bits - 1 levels
    DropConnect(probability)   0 with probability s p, else w/(1 - s p)
    StuckCells(off, on)        0 with probability s p_off, +-1 with probability s p_on, else w

Gradients pass straight through to the weights. ``draw="step"`` draws once per call, as chips differ from each other.
``draw="example"`` draws for every input vector, at the output: the product uses the mean weights, and the variance
becomes one Gaussian number per output (as for read noise, see ``signal_path.path``). For a layer that receives one
vector per example the expected loss is the same, the gradients vary less, and fewer random numbers are drawn if the
batch is smaller than the number of inputs. Convolutions and transformers, which use each weight many times per
example, should draw per step.

Sources: V. Joshi et al., Nat. Commun. 11, 2473 (2020), doi 10.1038/s41467-020-16108-9 (additive noise); M. J. Rasch et
al., Nat. Commun. 14, 5282 (2023), doi 10.1038/s41467-023-40770-4 (read noise, the published recipe); L. Wan et al.,
ICML 2013 (DropConnect); D. P. Kingma et al., arXiv 1506.02557 (noise moved from the weights to the output).
"""

from typing import Any

import jax
import jax.numpy as jnp

from analogsim.base.description import field, static
from analogsim.base.errors import InputError
from analogsim.base.literature import cited
from analogsim.base.random import stream
from analogsim.base.types import Numeric
from analogsim.devices.digital import full_scale_code
from analogsim.devices.protocol import Moments
from analogsim.hardware.fresh_chip import FreshChip
from analogsim.hardware.weight_modifier import WeightModifier
from analogsim.signal_path.drift_compensation import factors

_RASCH = cited("rasch2023")


class AdditiveNoise(WeightModifier):
    """Adds Gaussian noise of one standard deviation to all weights.

    Example:
      >>> from analogsim import preset
      >>> hardware = preset("pcm", training=AdditiveNoise(std=0.05))
    """

    std: Any = field(ge=0, le=10, doc="standard deviation, in units of relative_to")
    relative_to: str = static(
        default="column", choices=("column", "layer"), doc="the full-window weight of the column, or of the layer"
    )

    def moments(self, weights: jax.Array, scale: jax.Array, noise_scale: Numeric) -> Moments:
        std = self.std * noise_scale
        if self.relative_to == "layer":
            # The ratio is huge for an almost empty column; the bound keeps its square finite in float32.
            std = std * jnp.minimum(jnp.max(scale) / scale, 2.0**50)
        return Moments(weights, jnp.broadcast_to(jnp.asarray(std, weights.dtype) ** 2, weights.shape))


class MultiplicativeNoise(WeightModifier):
    """Adds Gaussian noise proportional to each weight.

    Example:
      >>> noise = MultiplicativeNoise(std=0.5)
      >>> noise.moments(jnp.array([1.0, 0.5]), jnp.ones(1), 1.0).variance.tolist()     # (std w)^2
      [0.25, 0.0625]
    """

    std: Any = field(ge=0, le=10, doc="standard deviation relative to each weight")

    def moments(self, weights: jax.Array, scale: jax.Array, noise_scale: Numeric) -> Moments:
        return Moments(weights, (jnp.asarray(self.std * noise_scale, weights.dtype) * weights) ** 2)


class ReadNoise(WeightModifier):
    """Adds read noise whose variance is proportional to |w|, with a new draw for every input vector.

    Example:
      >>> noise = ReadNoise(std=0.5)
      >>> noise.moments(jnp.array([1.0, -0.5]), jnp.ones(1), 1.0).variance.tolist()     # std^2 |w|
      [0.25, 0.125]
    """

    std: Any = field(
        default=0.0175, ge=0, le=10, doc="standard deviation of a weight that uses the full window", source=_RASCH
    )
    draw: str = static(default="example", choices=("example",), doc="once per input vector")

    def moments(self, weights: jax.Array, scale: jax.Array, noise_scale: Numeric) -> Moments:
        return Moments(weights, jnp.asarray(self.std * noise_scale, weights.dtype) ** 2 * jnp.abs(weights))


class Discretise(WeightModifier):
    """Rounds weights to the levels of a symmetric grid that contains zero.

    Example:
      >>> weights = jnp.array([1.0, 0.4, -0.1])
      >>> new = Discretise(bits=3).changed(None, weights, jnp.ones(1), 1.0)     # 7 levels: multiples of 1/3
      >>> [round(float(w), 3) for w in jnp.abs(new)]
      [1.0, 0.333, 0.0]
    """

    bits: Any = field(ge=2, le=24, integer=True, doc="bits including the sign: 2^bits - 1 levels")
    draw: str = static(default="step", choices=("step",), doc="unused: nothing is drawn")

    is_random = False

    def changed(self, key: jax.Array | None, weights: jax.Array, scale: jax.Array, noise_scale: Numeric) -> jax.Array:
        levels = full_scale_code(self.bits, weights.dtype)
        return weights + jnp.asarray(noise_scale, weights.dtype) * (jnp.round(weights * levels) / levels - weights)


class DropConnect(WeightModifier):
    """Sets random weights to zero and scales up the others, so that the expected weights stay the same.

    Example:
      >>> new = DropConnect(probability=0.5).changed(jax.random.key(0), jnp.ones(100), jnp.ones(1), 1.0)
      >>> sorted(set(new.tolist()))     # 0, or 1/(1 - 0.5)
      [0.0, 2.0]
    """

    probability: Any = field(ge=0, lt=1, doc="fraction of the weights that are dropped", source=cited("wan2013"))

    def changed(self, key: jax.Array | None, weights: jax.Array, scale: jax.Array, noise_scale: Numeric) -> jax.Array:
        p = _fraction(self.probability * noise_scale)
        survives = jax.random.uniform(_required(key), weights.shape) >= p
        return jnp.where(survives, weights / (1 - p), 0.0).astype(weights.dtype)

    def moments(self, weights: jax.Array, scale: jax.Array, noise_scale: Numeric) -> Moments:
        p = _fraction(self.probability * noise_scale)
        return Moments(weights, (p / (1 - p) * weights**2).astype(weights.dtype))


class StuckCells(WeightModifier):
    """Sets random weights to zero or to the positive or negative end of the window, whatever their value.

    Raises:
      InputError: if the two fractions add up to more than 1.

    Example:
      >>> stuck = StuckCells(off=0.25, on=0.25)
      >>> stuck.moments(jnp.array([0.5]), jnp.ones(1), 1.0).mean.tolist()     # half of the weights keep their value
      [0.25]
    """

    off: Any = field(default=0.0, ge=0, le=1, doc="fraction of the weights that are stuck at zero")
    on: Any = field(default=0.0, ge=0, le=1, doc="fraction that are stuck at the end of the window, of either sign")

    def check(self) -> None:
        if isinstance(self.off, float) and isinstance(self.on, float) and self.off + self.on > 1:
            raise InputError(f"StuckCells.off + on = {self.off + self.on:g}: must be at most 1", ("off",))

    def changed(self, key: jax.Array | None, weights: jax.Array, scale: jax.Array, noise_scale: Numeric) -> jax.Array:
        off, on = self._fractions(noise_scale)
        # One number per weight decides about both defects, which exclude each other: u < off, or off <= u < off + on.
        u = jax.random.uniform(_required(key), weights.shape)
        end = jnp.where(u < off + on / 2, 1.0, -1.0)
        return jnp.where(u < off, 0.0, jnp.where(u < off + on, end, weights)).astype(weights.dtype)

    def _fractions(self, noise_scale: Numeric) -> tuple[jax.Array, jax.Array]:
        """Return the fractions of both defects; a noise scale above 1 makes at most all weights defective."""
        total = jnp.asarray(self.off + self.on, jnp.float32)
        defective = _fraction(total * noise_scale)
        off = defective * self.off / jnp.where(total > 0, total, 1.0)
        return off, defective - off

    def moments(self, weights: jax.Array, scale: jax.Array, noise_scale: Numeric) -> Moments:
        off, on = self._fractions(noise_scale)
        healthy = 1 - off - on
        mean = healthy * weights
        return Moments(mean, healthy * weights**2 + on - mean**2)


class DeviceNoise(WeightModifier):
    """Applies programming error, drift and read noise of the cells, by the mean and variance of every weight.

    Reproduces the errors of ``FreshChip`` up to second moments with one random number per weight: a read gives
    N(mean(w, t), variance(w, t)), tabulated for the cell technology (``Crossbar.expected``). Drift compensation is that
    of the hardware, with noise-free calibration reads. ``FreshChip`` samples every cell and supports every store.

    Raises:
      InputError: when a layer uses it on a store without ``expected``.

    Example:
      >>> from analogsim import preset
      >>> hardware = preset("pcm", training=DeviceNoise(time_s="1 s", until_s="1 year"))
    """

    time_s: Any = field(default=1.0, unit="s", ge=0, le=1e12, doc="time of the read after programming")
    until_s: Any = field(
        default=None, unit="s", gt=0, le=1e12, optional=True,
        doc="None reads at time_s; else at a random time between the two, uniform in its logarithm",
    )  # fmt: skip
    read_noise: str = static(default="on", choices=("on", "off"), doc="whether read noise is included")

    def check(self) -> None:
        FreshChip(time_s=self.time_s, until_s=self.until_s)

    @property
    def latest_s(self) -> Any:
        """Latest time after programming at which the cells may be read (s)."""
        return self.time_s if self.until_s is None else self.until_s

    def columns(
        self, hardware: Any, tiled: jax.Array, scale: jax.Array, key: jax.Array | None
    ) -> tuple[Moments, jax.Array | None]:
        expected = getattr(hardware.store, "expected", None)
        if expected is None:
            raise InputError(
                f"{type(self).__name__}: {type(hardware.store).__name__} has no cells whose errors are known; train on "
                f"FreshChip()"
            )
        when = FreshChip(time_s=self.time_s, until_s=self.until_s).when(key)
        moments = expected(tiled, when, self.read_noise == "on")
        before, now = moments.before, moments.now
        if hardware.drift_estimator == "projection":
            before, now = tiled * moments.written, tiled * moments.mean
        gain = _compensation(hardware, before, now)
        # Outputs are multiplied by the factor of drift compensation, which must leave the ideal ones unchanged.
        ideal = tiled if gain is None else tiled / gain
        noise_scale = jnp.asarray(hardware.training_noise_scale, tiled.dtype)
        mean = ideal + noise_scale * (moments.mean - ideal)
        return self.drawn(key, Moments(mean, noise_scale**2 * moments.variance)), gain


class ProgrammingNoise(DeviceNoise):
    """Applies only the published programming error of the cells: they are read immediately and without noise.

    Example:
      >>> from analogsim import preset
      >>> hardware = preset("pcm", training=ProgrammingNoise())
    """

    time_s: float = static(default=0.0, ge=0, le=0, doc="read immediately after programming")
    until_s: None = static(default=None, choices=(None,), doc="read immediately after programming")
    read_noise: str = static(default="off", choices=("off",), doc="programming error only")


class Chain(WeightModifier):
    """Applies modifiers in order, e.g. ``Chain(modifiers=(Discretise(bits=5), AdditiveNoise(std=0.05)))``.

    Raises:
      InputError: for fewer than two modifiers, a ``DeviceNoise`` or ``Chain`` among them, or a modifier other than the
        last that draws per example.

    Example:
      >>> from analogsim import preset
      >>> chain = Chain(modifiers=(Discretise(bits=5), AdditiveNoise(std=0.05)))
      >>> preset("pcm", training=chain).training.is_random
      True
    """

    modifiers: tuple[Any, ...] = field(doc="modifiers of single weights, in order")
    draw: str = static(default="step", choices=("step",), doc="unused: each modifier has its own setting")

    @property
    def is_random(self) -> bool:
        """Whether any of the modifiers draws random numbers."""
        return any(modifier.is_random for modifier in self.modifiers)

    def check(self) -> None:
        if not isinstance(self.modifiers, tuple) or len(self.modifiers) < 2:
            self.refuse("modifiers", "must be a tuple of two or more modifiers")
        for i, modifier in enumerate(self.modifiers):
            if not isinstance(modifier, WeightModifier) or isinstance(modifier, (DeviceNoise, Chain)):
                raise InputError(
                    f"Chain.modifiers[{i}] = {modifier!r}: must be one of AdditiveNoise, MultiplicativeNoise, "
                    f"ReadNoise, Discretise, DropConnect, StuckCells",
                    ("modifiers", i),
                )
            if modifier.draw == "example" and i < len(self.modifiers) - 1:
                raise InputError(
                    f"Chain.modifiers[{i}] = {modifier!r}: only the last may draw for every example", ("modifiers", i)
                )

    def changed(self, key: jax.Array | None, weights: jax.Array, scale: jax.Array, noise_scale: Numeric) -> jax.Array:
        for i, modifier in enumerate(self.modifiers):
            weights = modifier.changed(
                None if key is None else stream(key, f"modifier {i}"), weights, scale, noise_scale
            )
        return weights

    def weights(self, key: jax.Array | None, weights: jax.Array, scale: jax.Array, noise_scale: Numeric) -> Moments:
        *first, last = self.modifiers
        for i, modifier in enumerate(first):
            weights = modifier.changed(
                None if key is None else stream(key, f"modifier {i}"), weights, scale, noise_scale
            )
        last_key = None if key is None else stream(key, f"modifier {len(first)}")
        return last.weights(last_key, weights, scale, noise_scale)


def _compensation(hardware: Any, before: jax.Array, now: jax.Array) -> jax.Array | None:
    """Return the factors ``[R, C, 1, columns or 1]`` of drift compensation from readouts ``[R, C, rows, columns]``."""
    before, now = (jnp.mean(a, axis=-2, keepdims=True) for a in (before, now))
    return factors(hardware, hardware.drift_compensation, before, now, now.shape[-1])


def _fraction(probability: Any) -> jax.Array:
    """Limit a fraction of the weights to below 1, whatever the noise scale."""
    return jnp.clip(jnp.asarray(probability, jnp.float32), 0.0, 0.999)


def _required(key: jax.Array | None) -> jax.Array:
    if key is None:
        raise InputError("key = None: weights are changed at random, pass a key (jax.random.key(0))")
    return key
