"""One immutable description of the hardware of a layer: weight store, tile size, converters, energy table.

Users pass it to layers. It is a pytree, so every physical number in it can be swept or differentiated.
"""

from typing import Any

import jax
import numpy as np

from analogsim.base.description import Description, describe, field, static
from analogsim.base.errors import InputError, within
from analogsim.base.extrapolation import remedy
from analogsim.base.literature import Source, cited
from analogsim.base.types import Numeric
from analogsim.converters import DAC
from analogsim.converters.range_rules import DynamicRange, LearnedRange, RangeRule
from analogsim.devices.digital import DigitalMemory
from analogsim.hardware.energy_table import EnergyTable
from analogsim.hardware.fresh_chip import FreshChip
from analogsim.signal_path.drift_compensation import ESTIMATORS


class Hardware(Description):
    """Describes the analog hardware that a layer runs on.

    Physical numbers are leaves of the pytree; sizes and choices (``rows``, ``scaling``) are static and recompile.

    Raises:
      InputError: if a value is out of range, or two fields contradict each other.

    Example:
      >>> hw = Hardware(store=DigitalMemory(bits=8), dac=DAC(bits=8))
      >>> hw.replace(**{"dac.bits": 6}).dac.bits
      6
    """

    name: str = static(default="custom", label=True, doc="for tables and messages")
    store: Any = field(
        factory=DigitalMemory,
        methods=(
            "program",
            "read",
            "noise",
            "combine",
            "to_columns",
            "cost",
            "n_cells",
            "time_limit_s",
            "detects_noise",
        ),
        doc="weight store: the device or array that holds the weights",
    )
    rows: int = static(default=512, ge=1, le=65536, integer=True, doc="inputs per tile")
    columns: int = static(default=512, ge=1, le=65536, integer=True, doc="outputs per tile")
    dac: DAC | None = field(default=None, optional=True, kind=DAC, doc="input converter; None drives exact values")
    adc: Any = field(
        default=None,
        optional=True,
        methods=("fabricate", "convert", "bits", "range", "middle", "noise", "draws_at_fabrication"),
        doc="output converter; None reads exactly",
    )
    scaling: str = static(
        default="column",
        choices=("column", "tile"),
        doc="one digital scale per column of a tile, or one per tile",
    )
    groups: str = static(
        default="shared",
        choices=("shared", "apart"),
        doc="matrices of grouped convolutions and batch axes: along the diagonal of shared tiles, or on separate tiles",
    )
    drift_compensation: str = static(
        default="none",
        choices=("none", "global", "column"),
        doc="a digital factor restores the readout of a tile (global) or of every line (column)",
    )
    drift_estimator: str = static(
        default="projection",
        choices=ESTIMATORS,
        doc="readout that drift compensation restores: along the weights that were written, or the mean absolute one, "
        "as published, which zero weights bias",
    )
    calibration_reads: Any = field(
        default=None,
        ge=1,
        le=1e9,
        optional=True,
        doc="reads of each row that a factor of drift compensation is taken from, with their noise; None: without",
    )
    sampling: str = static(
        default="outputs",
        choices=("outputs", "cells"),
        doc="draw read noise once per output, with exact mean and variance, or (slow) once per cell and input vector",
    )
    bound_management: str = static(
        default="none",
        choices=("none", "iterative"),
        doc="iterative: an example that overflows an ADC is re-read with twice the input range, up to 10 times",
    )
    training: Any = field(
        factory=FreshChip,
        methods=("reading", "draws"),
        doc="forward pass of hardware-aware training: FreshChip, or a weight modifier of analogsim.training",
    )
    training_noise_scale: Any = field(
        default=1.0,
        ge=0,
        le=100,
        doc="scales the weight deviations and the converter noise during training, for schedules",
    )
    input_range: Any = field(
        default=None,
        optional=True,
        kind=RangeRule,
        doc="LearnedRange, TrackedRange or DynamicRange; None: the calibrated range, else the maximum of each example",
    )
    output_range: Any = field(
        default=None,
        optional=True,
        kind=RangeRule,
        doc="LearnedRange(rule='gradient') or TrackedRange; None: as calibrated, else that of the ADC",
    )
    energy_table: EnergyTable = field(factory=EnergyTable, kind=EnergyTable, doc="energy per action")

    def model_sources(self) -> tuple[Source, ...]:
        found = []
        if self.drift_compensation != "none":
            found.append(cited("legallo2018", note=f"{self.drift_compensation} drift compensation"))
        if self.bound_management != "none":
            found.append(cited("gokmen2017", note="bound management"))
        return tuple(found)

    def check(self) -> None:
        if self.bound_management != "none" and self.adc is None:
            self.refuse("bound_management", "must be 'none' where no ADC overflows")
        self._check_ranges()
        latest = getattr(self.training, "latest_s", None)
        if isinstance(latest, float):
            with within("training"):
                self.check_time(latest, "Hardware.training: latest_s")
        own_s = self.store.read_time_s
        asked_s = self.energy_table.read_time_s
        own = "separate rate; set store.rate_hz" if hasattr(self.store, "rate_hz") else "separate time; set that"
        if own_s is not None and isinstance(asked_s, float) and asked_s != EnergyTable().read_time_s:
            self.refuse(
                "energy_table.read_time_s",
                f"has no effect on {type(self.store).__name__}, which has a {own} instead (unit: s)",
            )

        if self.store.cell_write_j is not None and self.energy_table.cell_write_j is not None:
            self.refuse(
                "energy_table.cell_write_j",
                f"must be None for {type(self.store).__name__}, whose description says what a write takes (unit: J)",
            )

    def check_time(self, time_s: Numeric, where: str) -> None:
        """Raise if the store's model has no data for a time. Traced times are not checked.

        Args:
          time_s: seconds after programming, a number or an array. It is compared in float32, as reads compute with.
          where: name of the time in the error message, e.g. ``"layer Dense_0: time"``.

        Raises:
          InputError: if a time exceeds the store's ``time_limit_s``; the message gives the remedy.
        """
        limit = self.store.time_limit_s
        if limit is None or isinstance(time_s, jax.core.Tracer) or isinstance(limit, jax.core.Tracer):
            return
        if np.float32(np.max(time_s)) > np.float32(limit):
            raise InputError(
                f"{where} = {np.max(time_s):g}: the model of '{self.name}' has data only from 0 to {limit:g} (unit: s "
                f"after programming){remedy(self.store)}"
            )

    @property
    def extrapolated_after_s(self) -> Any:
        """Seconds after programming beyond which the store's model extrapolates; None if it never does."""
        return self.store.extrapolated_after_s

    @property
    def cell_write_j(self) -> Any:
        """Energy to write and verify one cell (J): the store's if it defines one, else the energy table's; or None."""
        own_j = self.store.cell_write_j
        return self.energy_table.cell_write_j if own_j is None else own_j

    @property
    def read_time_s(self) -> Any:
        """Duration of one read of a tile (s): the store's if it defines one, else the energy table's."""
        own_s = self.store.read_time_s
        return self.energy_table.read_time_s if own_s is None else own_s

    def _check_ranges(self) -> None:
        rule = self.output_range
        if self.dac is None and self.adc is None and self.input_range is not None:
            self.refuse("input_range", "must be None without converters, where nothing has a range")
        if rule is not None and self.adc is None:
            self.refuse("output_range", "must be None without an ADC, where no output has a range")
        if isinstance(rule, DynamicRange) or (isinstance(rule, LearnedRange) and rule.rule == "published"):
            self.refuse(
                "output_range",
                "must be LearnedRange(rule='gradient'), TrackedRange() or None; the published rule and a range "
                "for every example are for inputs",
            )
        if rule is not None and self.adc.middle is not None:
            self.refuse("output_range", "must be None for an ADC with a middle, whose range is its own")
        if self.bound_management != "none" and isinstance(self.input_range, LearnedRange):
            self.refuse("input_range", "must not be learned with bound_management, which doubles it where outputs clip")

    def __str__(self) -> str:
        return describe(self)
