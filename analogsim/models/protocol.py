"""What the rest of the package asks of a model, whatever library it is written in.

A *front end* answers for the kind of model (``FrontEnd``): what it is, how it is converted, compressed and saved. A
*bound model* answers for one model with its arrays (``BoundModel``): it is programmed, run on readings, observed and
trained. Linen's are ``linen.front_end`` and ``linen.bound``, NNX's are ``nnx.front_end`` and ``nnx.bound``. No other
room knows which of them it has.

A third front end, such as Equinox, is one folder beside ``linen/`` and ``nnx/`` with

    hooks       its linear layers and convolutions with the product replaced. A hook fills a ``layers.layer.LayerCall``
                and hands it on; modes, programming and the signal path are shared, and know of no front end
    bound       a ``BoundModel``. A pytree whose structure is static; Equinox's ``partition`` and ``combine`` do for it
                what ``nnx.split`` and ``nnx.merge`` do. It decides where chips and ranges are kept: beside the model,
                or in the hooks of a copy
    front_end   a ``FrontEnd``, named once, in ``models.bound.front_ends``

``convert`` finds layers through the model's own tree and gives each a path, by which rules, chips, ranges, checkpoints
and tables name it. What may differ is whether layers are known without a call (``needs_call``), and whether arrays lie
beside the model (``unbind`` gives ``variables``) or in it (None).
"""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import numpy as np

from analogsim.base.call_inputs import Options, Sample
from analogsim.factors.codec import Codec
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.rules import Rules
from analogsim.layers.collections import Collections
from analogsim.layers.compression import CoreSelection
from analogsim.layers.inventory import Inventory
from analogsim.layers.layer import LayerUse


class BoundModel(Protocol):
    """A model with its arrays: a pytree, so that functions of it compile once per structure."""

    @property
    def arrays(self) -> Any:
        """Every array of the model, as a tree."""

    def collections(self) -> dict[str, Any]:
        """The arrays by kind: ``params``, where there are any ``ranges`` and ``batch_stats``, and others."""

    def with_collections(self, collections: dict[str, Any]) -> "BoundModel":
        """The same model with other arrays, in collections as ``collections()`` gives them."""

    def unbind(self) -> tuple[Any, Any]:
        """``(model, variables)`` as the user has them; variables are None where the model holds its arrays."""

    def inputs(self) -> Any:
        """Zeros in the shapes of one call's inputs; None without a sample, where layers are known without a call.

        Raises:
          InputError: where there is no sample and layers are known from a call only.
        """

    def places(self, x: Any = None) -> dict[str, np.ndarray]:
        """The numbers by which ``observed`` tells entries of ranges apart, by layer, in the shape of its stack.

        ``x`` are inputs, for their shapes; None for the sample.
        """

    def layer_ranges(self) -> dict[str, dict[str, Any]]:
        """Calibrated ranges by layer, and by the name of a field of ``signal_path.ranges.Ranges``."""

    def hardware(self) -> dict[str, Hardware]:
        """What every analog layer runs on here and now, by path; from shapes alone."""

    def inventory(self) -> Inventory:
        """The model's layers, analog and digital, and products outside of layers; from shapes alone."""

    def program(self, key: jax.Array, reprogram: Any = None) -> Any:
        """Programmed tiles of every analog layer, as a tree; ``reprogram`` are such tiles, to be written again."""

    def run(self, readings: Any, x: Any, key: jax.Array) -> Any:
        """Outputs for a batch on the chip that ``readings`` describe."""

    def call(self, x: Any) -> Any:
        """Outputs in the mode in force (``layers.modes``)."""

    def digital(self, x: Any, key: Any = None, *, as_in_training: bool = False) -> Any:
        """Exact outputs for a batch; ``key`` tells one example's random streams from another's.

        A model that draws random numbers without a key, or normalises by its batch, is refused. With
        ``as_in_training`` it may, where its library allows that.
        """

    def observed(self, x: Any, places: bool = False) -> list[LayerUse]:
        """What passes through every analog layer of the exact model, in order; numbered with ``places``."""

    def with_tracked_ranges(self, x: Any, options: dict[str, Any]) -> "BoundModel":
        """The model with a place for every range that follows values."""

    def train(self, x: Any, key: jax.Array, changing: list[str], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Outputs on hardware drawn from the key, and the collections ``changing`` as they are after the call.

        ``options`` are keyword arguments of a call in training, in the place of the model's own.
        """

    def statistics_after(self, x: Any, key: Any, readings: Any = None) -> Any:
        """``batch_stats`` after one call that normalises by its batch, on a chip where readings are given."""


class FrontEnd(Protocol):
    """A kind of model.

    Attributes:
      name: short, as checkpoints have it.
      title: with its article, for messages.
      roots: first parts of the names of its arrays in checkpoints.
      needs_call: whether layers are known only from a call, so that inputs and options are needed to find them.
    """

    name: str
    title: str
    roots: tuple[str, ...]
    needs_call: bool

    def owns(self, model: Any) -> bool:
        """Whether this is such a model."""

    def owns_arrays(self, item: Any) -> bool:
        """Whether this is what such models keep their arrays in: variables, or the model itself."""

    def bind(
        self, model: Any, variables: Any, sample: Sample | None, options: Options, rngs: dict[str, jax.Array]
    ) -> BoundModel:
        """The model with its arrays, the shapes of its inputs, and what it is called with."""

    def set_ranges(
        self, model: Any, variables: Any, ranges: dict[str, dict[str, Any]], sample: Sample | None = None
    ) -> Any:
        """Variables with these ranges by layer and name, and a sample of inputs; None where the model itself has them.

        A range that is None is taken away. What is not named stays.
        """

    def convert(
        self, model: Any, rules: Rules, *, codec: Codec | None, strict: bool, rngs: Any = None, x: Any = None
    ) -> Any:
        """The model on analog hardware; see ``analogsim.convert``."""

    def to_digital(self, model: Any) -> Any:
        """The plain model behind an analog one; see ``analogsim.to_digital``."""

    def compress(
        self, model: Any, variables: Any, x: Any, selection: CoreSelection, contraction: str, options: dict[str, Any]
    ) -> tuple[Any, Any]:
        """Model and variables with cores in the layers that the selection decides for."""

    def with_other_cores(self, item: Any, change: Callable[[Any], Any]) -> tuple[Any, int]:
        """Arrays (``owns_arrays``) with ``change(cores)`` in every compressed layer, and how many layers that are."""

    def saved(self, model: Any, variables: Any) -> Collections:
        """What a checkpoint keeps."""

    def expected(self, model: Any, sample: Sample | None, options: dict[str, Any]) -> Collections:
        """What a checkpoint of this model has to hold, of arrays or of their shapes."""

    def rebuilt(self, model: Any, trees: dict[str, Any]) -> tuple[Any, Any]:
        """Model and variables of the collections of a checkpoint."""

    def content(self, item: Any) -> list[Any] | None:
        """What tells a module or variable from others of its kind; None for an object of another library."""
