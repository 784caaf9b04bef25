"""What every output converter promises.

A converter is a frozen description. What differs from one fabricated tile to the next (capacitors, comparators) is
drawn once by ``fabricate`` and is the converter's state; ``convert`` turns the analog outputs of that tile into what
their codes stand for, in the units of the input. The noise of a conversion is no part of it: the signal path adds
``noise`` to the analog output before, together with all other noise.
"""

from typing import Any, Protocol

import jax


class Converter(Protocol):
    """A family of ADCs. All methods are pure and traceable; an ADC that has nothing random has the state None."""

    @property
    def bits(self) -> Any:
        """Bits, sign included."""
        ...

    @property
    def range(self) -> Any:
        """Full-scale output in fully driven cells, where the layer has no calibrated range."""
        ...

    @property
    def middle(self) -> Any:
        """What the range is about, in fully driven cells; None for 0."""
        ...

    @property
    def noise(self) -> Any:
        """Input-referred noise in fully driven cells, or None; applied by the signal path."""
        ...

    @property
    def draws_at_fabrication(self) -> bool:
        """Whether ``fabricate`` draws random numbers, so that it needs a key."""
        ...

    @property
    def codes(self) -> Any:
        """How many different outputs there are."""
        ...

    @property
    def lsb(self) -> Any:
        """From one output to the next, as a share of the range."""
        ...

    def fabricate(self, key: jax.Array | None, lines: int) -> Any:
        """Draw the imperfections of one tile's converters.

        Args:
          key: what they are drawn from; None only for a converter that has nothing random.
          lines: readout lines (columns) of the tile.

        Returns:
          The state, a pytree; None if nothing is random.

        Raises:
          InputError: if a key is needed and None, or ``lines`` is no integer of at least 1.
        """
        ...

    def convert(self, y: jax.Array, bound: Any, state: Any) -> jax.Array:
        """Convert the outputs of one tile.

        The slope is straight-through: 1 with respect to ``y`` inside the range and 0 outside; the range receives the
        slope of what was clipped.

        Args:
          y: analog outputs, ``[..., lines]``.
          bound: the range, in the units of ``y``, broadcastable to it; positive.
          state: as returned by this converter's ``fabricate``.

        Returns:
          The converted outputs in the units of ``y``, in float32 or the wider dtype of ``y``: a bfloat16 could not
          hold every code.
        """
        ...
