"""What the signal path needs to know of the hardware. ``analogsim.Hardware`` is what users pass."""

from typing import Any, Protocol


class TileHardware(Protocol):
    """Tiles of a store with their converters: the part of a hardware description that carries a product."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    @property
    def store(self) -> Any:
        """What holds the weights, a ``devices.WeightStore``."""
        ...

    @property
    def rows(self) -> int:
        """Most inputs of one tile."""
        ...

    @property
    def columns(self) -> int:
        """Most outputs of one tile."""
        ...

    @property
    def scaling(self) -> str:
        """One digital scale per ``"column"`` of a tile, or per ``"tile"``."""
        ...

    @property
    def groups(self) -> str:
        """Matrices of grouped convolutions and batch axes lie on ``"shared"`` tiles, or on tiles ``"apart"``."""
        ...

    @property
    def dac(self) -> Any:
        """Input converter, a ``converters.DAC``; None drives exact values."""
        ...

    @property
    def adc(self) -> Any:
        """Output converter, a ``converters.Converter``; None reads exactly."""
        ...

    @property
    def input_range(self) -> Any:
        """A ``converters.range_rules.RangeRule``; None: as calibrated, else every example's own."""
        ...

    @property
    def output_range(self) -> Any:
        """Likewise of outputs."""
        ...

    @property
    def bound_management(self) -> str:
        """``"iterative"`` widens the input range of an example that overflows an ADC; or ``"none"``."""
        ...

    @property
    def sampling(self) -> str:
        """Read noise is drawn per output of the product (``"outputs"``), or per cell and read (``"cells"``)."""
        ...

    @property
    def drift_compensation(self) -> str:
        """``"none"``, ``"global"`` or ``"column"``."""
        ...

    @property
    def drift_estimator(self) -> str:
        """One of ``drift_compensation.ESTIMATORS``."""
        ...

    @property
    def calibration_reads(self) -> Any:
        """Reads of each row that a factor of drift compensation is taken from; None for reads without noise."""
        ...

    @property
    def extrapolated_after_s(self) -> Any:
        """From which time after programming on the store is read beyond its data, seconds; None for never."""
        ...
