"""Interface of output converters.

A converter is a frozen description. Device-to-device variation between tiles (capacitors, comparators) is drawn once by
``fabricate`` and is the converter's state; ``convert`` maps the ADC inputs of that tile to the values of their codes,
in the units of the input. ``convert`` adds no noise: the signal path adds ``noise`` to the ADC input, together with all
other noise.
"""

from typing import Any, Protocol

import jax

from analogsim.base.types import Numeric, PyTree


class Converter(Protocol):
    """Interface of ADCs. All methods are pure and traceable; an ADC without random parts has the state None.

    Implemented by ``ADC``, ``SARADC``, ``TabulatedADC`` and others, with examples there.
    """

    @property
    def bits(self) -> Any:
        """Resolution in bits, sign included."""
        ...

    @property
    def range(self) -> Any:
        """Full-scale input in fully driven cells, used if the layer has no calibrated range."""
        ...

    @property
    def middle(self) -> Any:
        """Centre of the range, in fully driven cells; None for 0."""
        ...

    @property
    def noise(self) -> Any:
        """Input-referred noise in fully driven cells, or None; applied by the signal path."""
        ...

    @property
    def draws_at_fabrication(self) -> bool:
        """True if ``fabricate`` draws random numbers and needs a key."""
        ...

    @property
    def codes(self) -> Any:
        """Number of output codes."""
        ...

    @property
    def lsb(self) -> Any:
        """Step between neighbouring outputs over the range."""
        ...

    def fabricate(self, key: jax.Array | None, n_columns: int) -> Any:
        """Draw the errors of one tile's converters.

        Args:
          key: of the draw; None only for a converter without random parts.
          n_columns: physical columns of the tile.

        Returns:
          The state, a pytree; None if nothing is random.

        Raises:
          InputError: if a key is needed and None, or if ``n_columns`` is not an integer >= 1.
        """
        ...

    def convert(self, y: jax.Array, bound: Numeric, state: PyTree) -> jax.Array:
        """Convert the ADC inputs of one tile.

        The gradient is straight-through: 1 with respect to ``y`` inside the range and 0 outside; the range receives
        the gradient of clipped values.

        Args:
          y: ADC inputs, ``[..., n_columns]``.
          bound: the range, in the units of ``y``, broadcastable to it; positive.
          state: as returned by this converter's ``fabricate``.

        Returns:
          The converted values in the units of ``y``, in float32 or the wider dtype of ``y``: bfloat16 cannot represent
          every code.
        """
        ...
