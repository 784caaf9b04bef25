"""The default of hardware-aware training: every call uses a newly fabricated, programmed and aged chip.

Nothing is approximated: every cell is written with the full model of its technology and read as on a chip. The time of
the read can be drawn at random, uniform in its logarithm, so that training covers the lifetime of a chip. With the
noise scale s (``Hardware.training_noise_scale``), a column carries g_ideal + s (g - g_ideal), and its read variance is
s^2 times that of the cells. ``analogsim.training`` offers cheaper approximations.
"""

import dataclasses
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from analogsim.base.description import Description, field
from analogsim.base.errors import InputError
from analogsim.base.random import stream
from analogsim.base.types import Numeric
from analogsim.signal_path.programmed import ideal_columns, program_all, read_all
from analogsim.signal_path.reading import Reading


class TrainingForward(Protocol):
    """Interface of ``Hardware.training``: gives the tiles of a layer in one training call. A frozen pytree."""

    def reading(
        self, hardware: Any, weights: jax.Array, key: jax.Array | None, tile_rows: int | None, weight_range: Any
    ) -> Reading:
        """Return the reading of a matrix ``[n_in, n_out]``, or of every matrix of a stack ``[S, n_in, n_out]``.

        Args:
          hardware: the layer's hardware; ``hardware.training_noise_scale`` scales every deviation from the ideal.
          weights: the layer's matrix. No gradient passes through it here; see ``Reading.trained_by``.
          key: random key; may be None only if nothing is random.
          tile_rows: rows per tile, as in ``programmed.program``.
          weight_range: calibrated weight range, as in ``programmed.program``.
        """
        ...

    def draws(self, hardware: Any) -> bool:
        """Return whether ``reading`` or the product with it draws random numbers, so that a key is required."""
        ...


class FreshChip(Description):
    """Samples a new chip for every training call and reads it once.

    Raises:
      InputError: if ``until_s`` is given and ``time_s`` is not between 0 and ``until_s``.

    Example:
      >>> from analogsim import preset
      >>> hardware = preset("pcm", training=FreshChip(time_s="1 s", until_s="1 year"))
      >>> hardware.training
      FreshChip(until_s=31557600.0)
    """

    time_s: Any = field(default=1.0, unit="s", ge=0, le=1e12, doc="time of the read after programming")
    until_s: Any = field(
        default=None, unit="s", gt=0, le=1e12, optional=True,
        doc="None reads at time_s; else at a random time between the two, uniform in its logarithm",
    )  # fmt: skip

    def check(self) -> None:
        start, end = self.time_s, self.until_s
        if isinstance(end, float) and isinstance(start, float) and not 0 < start < end:
            self.refuse(
                "time_s",
                f"must be greater than 0 and less than until_s = {end:g} for a random time, uniform in its logarithm "
                f"(unit: s)",
            )

    @property
    def latest_s(self) -> Numeric:
        """Latest time after programming at which the chip may be read (s)."""
        return self.time_s if self.until_s is None else self.until_s

    def when(self, key: jax.Array | None) -> Numeric:
        """Return the time after programming of one call (s); drawn from ``key`` if ``until_s`` is given."""
        if self.until_s is None:
            return self.time_s
        if key is None:
            raise InputError("key = None: a random time after programming is drawn and needs a key")
        first, last = (jnp.log(jnp.asarray(t, jnp.float32)) for t in (self.time_s, self.until_s))
        return jnp.exp(first + (last - first) * jax.random.uniform(stream(key, "time of training")))

    def draws(self, hardware: Any) -> bool:
        """See ``TrainingForward``."""
        store = hardware.store
        converters = hardware.adc is not None and hardware.adc.draws_at_fabrication
        calibrates = hardware.calibration_reads is not None
        return store.draws_at_program or store.draws_at_read or converters or calibrates or self.until_s is not None

    def reading(
        self, hardware: Any, weights: jax.Array, key: jax.Array | None, tile_rows: int | None, weight_range: Any
    ) -> Reading:
        """See ``TrainingForward``. Each layer draws its own time; use ``override_hardware`` for a common one."""
        programmed = program_all(hardware, weights, key, None, tile_rows, weight_range)
        read = read_all(programmed, self.when(key))
        noise_scale = hardware.training_noise_scale
        # A traced scale has no value to compare; it takes the general formula.
        if isinstance(noise_scale, float) and noise_scale == 1.0:
            return read
        ideal = ideal_columns(hardware, weights, tile_rows, weight_range)
        if read.gain is not None:
            # Outputs are multiplied by the factor of drift compensation, which must leave the ideal ones unchanged.
            ideal = ideal / read.gain
        variance = None if read.variance is None else read.variance * jnp.asarray(noise_scale, read.mean.dtype) ** 2
        return dataclasses.replace(
            read,
            mean=ideal + jnp.asarray(noise_scale, read.mean.dtype) * (read.mean - ideal),
            variance=variance,
        )
