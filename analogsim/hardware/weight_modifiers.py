"""What weights become in the forward pass of hardware-aware training: noise, discretisation, defects.

With w in [-1, 1] a weight relative to the one that takes all of a cell's window (the largest of its column on a tile),
s the strength of training and xi ~ N(0, 1),

    AdditiveNoise(std)         w + s std xi
    MultiplicativeNoise(std)   w (1 + s std xi)
    ReadNoise(std)             w + s std sqrt|w| xi, drawn anew for every input vector
    ProgrammingNoise()         the cells' published error of writing
    DeviceNoise(time_s)        that, drift and read noise some time after programming, by their mean and variance
    Discretise(bits)           w + s (Q(w) - w), Q the nearest of 2^bits - 1 levels
    DropConnect(probability)   0 with probability s p, else w/(1 - s p)
    StuckCells(off, on)        0 with probability s p_off, +-1 with probability s p_on, else w

Gradients pass straight through to the weights. ``draw="step"`` draws once a call, as one chip would differ from the
next; ``draw="example"`` anew for every input vector, at the output: the mean of what is drawn is multiplied with, and
the variance becomes one Gaussian an output (as for read noise, ``signal_path``). That has the same expected
loss for a layer that sees one vector an example, its gradients vary less, and it needs fewer random numbers than
weights where the batch is smaller than the number of inputs. A convolution or a transformer, which meets one weight
many times in an example, should draw by step.

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
from analogsim.devices.digital import full_scale_code
from analogsim.devices.protocol import Moments
from analogsim.hardware.fresh_chip import FreshChip
from analogsim.hardware.weight_modifier import WeightModifier
from analogsim.signal_path.drift_compensation import factors

_RASCH = cited("rasch2023")


class AdditiveNoise(WeightModifier):
    """Gaussian noise of one size on all weights.

    Example:
      >>> from analogsim import preset
      >>> hardware = preset("pcm", training=AdditiveNoise(std=0.05))
    """

    std: Any = field(ge=0, le=10, doc="relative to the weight that takes all of a cell's window, or to the largest")
    relative_to: str = static(
        default="column", choices=("column", "layer"), doc="the window of the column's cells, or the layer's largest"
    )

    def moments(self, weights: jax.Array, scale: jax.Array, noise_scale: Any) -> Moments:
        std = self.std * noise_scale
        if self.relative_to == "layer":
            # Of a column that is next to empty it is huge; the bound keeps its square finite.
            std = std * jnp.minimum(jnp.max(scale) / scale, 2.0**50)
        return Moments(weights, jnp.broadcast_to(jnp.asarray(std, weights.dtype) ** 2, weights.shape))


class MultiplicativeNoise(WeightModifier):
    """Gaussian noise in proportion to each weight."""

    std: Any = field(ge=0, le=10, doc="relative to each weight")

    def moments(self, weights: jax.Array, scale: jax.Array, noise_scale: Any) -> Moments:
        return Moments(weights, (jnp.asarray(self.std * noise_scale, weights.dtype) * weights) ** 2)


class ReadNoise(WeightModifier):
    """Noise of every read whose variance grows with the weight; a new draw for every input vector."""

    std: Any = field(default=0.0175, ge=0, le=10, doc="of a weight that takes the whole window", source=_RASCH)
    draw: str = static(default="example", choices=("example",), doc="anew for every input vector")

    def moments(self, weights: jax.Array, scale: jax.Array, noise_scale: Any) -> Moments:
        return Moments(weights, jnp.asarray(self.std * noise_scale, weights.dtype) ** 2 * jnp.abs(weights))


class Discretise(WeightModifier):
    """Weights rounded to the levels of a symmetric grid, zero among them."""

    bits: Any = field(ge=2, le=24, integer=True, doc="bits, sign included: 2^bits - 1 levels")
    draw: str = static(default="step", choices=("step",), doc="nothing is drawn")

    is_random = False

    def changed(self, key: jax.Array | None, weights: jax.Array, scale: jax.Array, noise_scale: Any) -> jax.Array:
        levels = full_scale_code(self.bits, weights.dtype)
        return weights + jnp.asarray(noise_scale, weights.dtype) * (jnp.round(weights * levels) / levels - weights)


class DropConnect(WeightModifier):
    """Weights dropped at random, the others enlarged so that their sum is expected to stay."""

    probability: Any = field(ge=0, lt=1, doc="share of the weights that are dropped", source=cited("wan2013"))

    def changed(self, key: jax.Array | None, weights: jax.Array, scale: jax.Array, noise_scale: Any) -> jax.Array:
        p = _share(self.probability * noise_scale)
        kept = jax.random.uniform(_known(key), weights.shape) >= p
        return jnp.where(kept, weights / (1 - p), 0.0).astype(weights.dtype)

    def moments(self, weights: jax.Array, scale: jax.Array, noise_scale: Any) -> Moments:
        p = _share(self.probability * noise_scale)
        return Moments(weights, (p / (1 - p) * weights**2).astype(weights.dtype))


class StuckCells(WeightModifier):
    """Weights that read zero or the end of the window, whichever sign, whatever was written."""

    off: Any = field(default=0.0, ge=0, le=1, doc="share of the weights that are stuck at zero")
    on: Any = field(default=0.0, ge=0, le=1, doc="share that are stuck at the end of the window, of either sign")

    def check(self) -> None:
        if isinstance(self.off, float) and isinstance(self.on, float) and self.off + self.on > 1:
            raise InputError(f"StuckCells.off + on = {self.off + self.on:g}: must be at most 1", ("off",))

    def changed(self, key: jax.Array | None, weights: jax.Array, scale: jax.Array, noise_scale: Any) -> jax.Array:
        off, on = _share(self.off * noise_scale), _share(self.on * noise_scale)
        u = jax.random.uniform(_known(key), weights.shape)
        end = jnp.where(u < off + on / 2, 1.0, -1.0)
        return jnp.where(u < off, 0.0, jnp.where(u < off + on, end, weights)).astype(weights.dtype)

    def moments(self, weights: jax.Array, scale: jax.Array, noise_scale: Any) -> Moments:
        off, on = _share(self.off * noise_scale), _share(self.on * noise_scale)
        healthy = 1 - off - on
        mean = healthy * weights
        return Moments(mean, healthy * weights**2 + on - mean**2)


class DeviceNoise(WeightModifier):
    """All that the hardware's cells do until they are read, by the mean and variance of every weight.

    The errors of ``FreshChip`` up to their second moments, at the cost of one random number a weight: what is read is
    N(mean(w, t), variance(w, t)), tabulated for the cell's technology (``Crossbar.expected``), and drift
    compensation is that of the hardware, its calibrating reads without noise. ``FreshChip`` samples every cell, and
    takes every store.

    Example:
      >>> from analogsim import preset
      >>> hardware = preset("pcm", training=DeviceNoise(time_s="1 s", until_s="1 year"))
    """

    time_s: Any = field(default=1.0, unit="s", ge=0, le=1e12, doc="read so long after programming")
    until_s: Any = field(
        default=None, unit="s", gt=0, le=1e12, optional=True,
        doc="None reads at time_s; else at a random time between the two, uniform in its logarithm",
    )  # fmt: skip
    read_noise: str = static(default="on", choices=("on", "off"), doc="whether the noise of the read counts")

    def check(self) -> None:
        FreshChip(time_s=self.time_s, until_s=self.until_s)

    @property
    def latest_s(self) -> Any:
        """The last time that is read at."""
        return self.time_s if self.until_s is None else self.until_s

    def lines(
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
        ideal = tiled if gain is None else tiled / gain
        noise_scale = jnp.asarray(hardware.training_noise_scale, tiled.dtype)
        mean = ideal + noise_scale * (moments.mean - ideal)
        return self.drawn(key, Moments(mean, noise_scale**2 * moments.variance)), gain


class ProgrammingNoise(DeviceNoise):
    """The cells' published error of writing alone: read at once, without noise."""

    time_s: float = static(default=0.0, ge=0, le=0, doc="at once")
    until_s: None = static(default=None, choices=(None,), doc="at once")
    read_noise: str = static(default="off", choices=("off",), doc="writing only")


class Chain(WeightModifier):
    """One modifier after the other, for example ``Chain(modifiers=(Discretise(bits=5), AdditiveNoise(std=0.05)))``.

    Only the last may draw for every example.
    """

    modifiers: tuple[Any, ...] = field(doc="modifiers of single weights, in order")
    draw: str = static(default="step", choices=("step",), doc="each as it says itself")

    @property
    def is_random(self) -> bool:
        """Whether any of them is."""
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

    def changed(self, key: jax.Array | None, weights: jax.Array, scale: jax.Array, noise_scale: Any) -> jax.Array:
        for i, modifier in enumerate(self.modifiers):
            weights = modifier.changed(
                None if key is None else stream(key, f"modifier {i}"), weights, scale, noise_scale
            )
        return weights

    def weights(self, key: jax.Array | None, weights: jax.Array, scale: jax.Array, noise_scale: Any) -> Moments:
        *first, last = self.modifiers
        for i, modifier in enumerate(first):
            weights = modifier.changed(
                None if key is None else stream(key, f"modifier {i}"), weights, scale, noise_scale
            )
        own = None if key is None else stream(key, f"modifier {len(first)}")
        return last.weights(own, weights, scale, noise_scale)


def _compensation(hardware: Any, before: jax.Array, now: jax.Array) -> jax.Array | None:
    """Factors ``[R, C, 1, columns or 1]`` of drift compensation from what is read of ``[R, C, rows, columns]``."""
    before, now = (jnp.mean(a, axis=-2, keepdims=True) for a in (before, now))
    return factors(hardware, hardware.drift_compensation, before, now, now.shape[-1])


def _share(probability: Any) -> jax.Array:
    """A share of the weights, below 1 whatever the strength."""
    return jnp.clip(jnp.asarray(probability, jnp.float32), 0.0, 0.999)


def _known(key: jax.Array | None) -> jax.Array:
    if key is None:
        raise InputError("key = None: weights are changed at random, pass a key (jax.random.key(0))")
    return key
