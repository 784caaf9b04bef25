"""Base class of the weight modifiers: it gives a layer tiles with modified weights instead of a fresh chip's."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from analogsim.base.description import Description, static
from analogsim.base.dtypes import wide
from analogsim.base.errors import InputError
from analogsim.base.random import normal, split, stream
from analogsim.base.types import Numeric
from analogsim.devices.protocol import Moments
from analogsim.signal_path.programmed import automatic_range, columns_of_tiles, fabricated
from analogsim.signal_path.reading import Reading
from analogsim.signal_path.tiling import normalise

_TINY = 1e-20


class WeightModifier(Description):
    """Base class of the modifiers in ``weight_modifiers``, e.g. ``preset("pcm", training=AdditiveNoise(std=0.05))``.

    A subclass implements ``changed`` or ``moments``. ``moments`` suffices for Gaussian noise, which follows from its
    mean and variance; ``changed`` suffices for a modifier that never draws per example.

    Example:
      >>> from analogsim import preset
      >>> from analogsim.linen import AnalogDense
      >>> class Halved(WeightModifier):
      ...     is_random = False
      ...
      ...     def changed(self, key, weights, scale, noise_scale):
      ...         return weights / 2
      >>> layer = AnalogDense(1, hardware=preset("ideal", training=Halved()), use_bias=False)
      >>> layer.apply({"params": {"kernel": jnp.ones((4, 1))}}, jnp.ones((1, 4))).tolist()
      [[2.0]]
    """

    draw: str = static(
        default="step",
        choices=("step", "example"),
        doc="draw random numbers once per call for the whole batch, or once per input vector, at the output",
    )

    @property
    def is_random(self) -> bool:
        """Whether the modifier draws random numbers."""
        return True

    def moments(self, weights: jax.Array, scale: jax.Array, noise_scale: Numeric) -> Moments:
        """Return the mean and variance over draws of every weight.

        Args:
          weights: normalised weights in [-1, 1], ``[R, C, rows, columns]``.
          scale: digital scale of the outputs, ``[R, C, 1, columns or 1]``.
          noise_scale: factor of the deviations.
        """
        raise NotImplementedError

    def changed(self, key: jax.Array | None, weights: jax.Array, scale: jax.Array, noise_scale: Numeric) -> jax.Array:
        """Return one draw of every weight; arguments as in ``moments``. Gaussian with ``moments`` by default."""
        return self.drawn(key, self.moments(weights, scale, noise_scale), "step").mean

    def weights(self, key: jax.Array | None, weights: jax.Array, scale: jax.Array, noise_scale: Numeric) -> Moments:
        """Return the weights of one call: drawn, or with a variance if they are to be drawn per example."""
        if self.draw == "example":
            return self.moments(weights, scale, noise_scale)
        return Moments(self.changed(key, weights, scale, noise_scale))

    def _deviation(
        self, key: jax.Array | None, weights: jax.Array, scale: jax.Array, noise_scale: Numeric
    ) -> jax.Array | None:
        """Return what ``changed`` adds to the weights, without adding and subtracting them; None for nothing."""
        moments = self.moments(weights, scale, noise_scale)
        shift = None if moments.mean is weights else moments.mean - weights
        if moments.variance is None:
            return shift
        noise = self.drawn(key, Moments(jnp.zeros_like(weights), moments.variance), "step").mean
        return noise if shift is None else noise + shift

    def drawn(self, key: jax.Array | None, moments: Moments, draw: str | None = None) -> Moments:
        """Return a Gaussian draw of ``moments``, or ``moments`` itself if draws happen at the output."""
        if (draw or self.draw) == "example" or moments.variance is None:
            return moments
        if key is None:
            raise InputError("key = None: weights are changed at random, pass a key (jax.random.key(0))")
        xi = normal(stream(key, "weights"), moments.mean.shape, moments.mean.dtype)
        # The floor is negligible; it keeps the gradient of sqrt finite where a noise level is zero.
        return Moments(moments.mean + jnp.sqrt(jnp.maximum(moments.variance, _TINY)) * xi)

    def columns(
        self, hardware: Any, tiled: jax.Array, scale: jax.Array, key: jax.Array | None
    ) -> tuple[Moments, jax.Array | None]:
        """Return the moments of the column weights ``[R, C, rows, n_columns]``, and the factor of drift compensation.

        Args:
          hardware: the layer's hardware.
          tiled, scale: normalised weights and their scales, as in ``moments``.
          key: random key; may be None only if nothing is drawn.
        """
        store, noise_scale = hardware.store, hardware.training_noise_scale
        ideal = columns_of_tiles(hardware, tiled)
        gaussian = type(self).changed is WeightModifier.changed and type(self).weights is WeightModifier.weights
        if gaussian and self.draw == "step":
            deviation, changed = self._deviation(key, tiled, scale, noise_scale), Moments(tiled)
        else:
            changed = self.weights(key, tiled, scale, noise_scale)
            deviation = None if changed.mean is tiled else changed.mean - tiled
        # ``to_columns`` is linear, so mapping the difference is exact beyond the window and for constant currents.
        mean = ideal if deviation is None else ideal + jax.vmap(jax.vmap(store.to_columns))(deviation)
        if changed.variance is not None and mean.shape != tiled.shape:
            raise InputError(
                f"{type(self).__name__}.draw = 'example': must be 'step' for {type(store).__name__}, which reads a "
                f"weight by several columns"
            )
        return Moments(mean, changed.variance), None

    def draws(self, hardware: Any) -> bool:
        """See ``analogsim.hardware.fresh_chip.TrainingForward``."""
        return self.is_random or (hardware.adc is not None and hardware.adc.draws_at_fabrication)

    def reading(
        self, hardware: Any, weights: jax.Array, key: jax.Array | None, tile_rows: int | None, weight_range: Any
    ) -> Reading:
        """See ``analogsim.hardware.fresh_chip.TrainingForward``."""
        if weights.ndim > 2:
            keys = None if key is None else split(key, len(weights))
            one = functools.partial(self.reading, hardware, tile_rows=tile_rows, weight_range=weight_range)
            return jax.vmap(one)(weights, keys)
        if self.draw == "example" and hardware.sampling == "cells":
            raise InputError(
                f"{type(self).__name__}.draw = 'example': must be 'step' with sampling = 'cells', which samples cells "
                f"that a modifier does not have; or train on FreshChip()"
            )
        if hardware.store.detects_noise:
            raise InputError(
                f"Hardware.training = {type(self).__name__}: must be FreshChip() for a {type(hardware.store).__name__} "
                f"with a detector, whose noise depends on what was programmed; or set store.detector to None"
            )
        tiled, scale = normalise(wide(weights), hardware, tile_rows, weight_range)
        held, gain = self.columns(hardware, tiled, scale, key)
        return Reading(
            state=None,
            mean=held.mean,
            variance=held.variance,
            curvature=None,
            converters=fabricated(hardware, key, held.mean.shape),
            gain=gain,
            scale=scale,
            time_s=0.0,
            n_in=weights.shape[0],
            n_out=weights.shape[1],
            noise_persists=True,  # weights drawn for an example stay the same in all steps of its product
            full_scale=automatic_range(hardware, tiled),
        )
