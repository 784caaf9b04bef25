"""The fields of a hardware description that the signal path uses. Users pass ``analogsim.Hardware``."""

from typing import Any, Protocol


class TileHardware(Protocol):
    """Interface of the hardware of a product: tiles of a store with their converters.

    Attributes:
      name: for messages.
      store: what holds the weights, a ``devices.WeightStore``.
      rows: most inputs of one tile.
      columns: most outputs of one tile.
      scaling: one digital scale per ``"column"`` of a tile, or per ``"tile"``.
      groups: matrices of grouped convolutions and batch axes lie on ``"shared"`` tiles, or on tiles ``"apart"``.
      dac: input converter, a ``converters.DAC``; None drives exact values.
      adc: output converter, a ``converters.Converter``; None reads exactly.
      input_range: a ``converters.range_rules.RangeRule``; None: as calibrated, else every example's own.
      output_range: likewise of outputs.
      bound_management: ``"iterative"`` widens the input range of an example that overflows an ADC; or ``"none"``.
      sampling: read noise is drawn per output of the product (``"outputs"``), or per cell and read (``"cells"``).
      drift_compensation: ``"none"``, ``"global"`` or ``"column"``.
      drift_estimator: one of ``drift_compensation.ESTIMATORS``.
      calibration_reads: reads of each row that a factor of drift compensation is taken from; None: without noise.
      extrapolated_after_s: from which time after programming on the store has no data, seconds; None for never.
    """

    @property
    def name(self) -> str: ...
    @property
    def store(self) -> Any: ...
    @property
    def rows(self) -> int: ...
    @property
    def columns(self) -> int: ...
    @property
    def scaling(self) -> str: ...
    @property
    def groups(self) -> str: ...
    @property
    def dac(self) -> Any: ...
    @property
    def adc(self) -> Any: ...
    @property
    def input_range(self) -> Any: ...
    @property
    def output_range(self) -> Any: ...
    @property
    def bound_management(self) -> str: ...
    @property
    def sampling(self) -> str: ...
    @property
    def drift_compensation(self) -> str: ...
    @property
    def drift_estimator(self) -> str: ...
    @property
    def calibration_reads(self) -> Any: ...
    @property
    def extrapolated_after_s(self) -> Any: ...
