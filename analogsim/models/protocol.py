"""The interface between the rest of the package and the library that a model is written in.

A *front end* (``FrontEnd``) represents one kind of model, Flax Linen or Flax NNX: it recognises, binds, converts,
compresses and saves models of that kind. A *bound model* (``BoundModel``) is one model together with its arrays: it is
programmed, run on a chip, observed and trained. ``chips``, ``training``, ``energy`` and ``sweeps`` call these two
protocols only, and do not depend on the kind of model.

A third front end, for Equinox say, is a package next to ``linen`` and ``nnx`` with three parts:

    hooks        linear layers and convolutions whose product is replaced. The replacement builds a
                 ``layers.layer.LayerCall`` (path, hardware, operator, input, kernel, and a ``LayerState`` that knows
                 where the layer keeps its chip, keys and ranges) and returns ``layers.layer.forward(call)``. Modes,
                 programming and the signal path are shared and independent of the front end.
    bound        a ``BoundModel``. For Equinox, ``partition`` and ``combine`` take the role of ``nnx.split`` and
                 ``nnx.merge``. Chips and ranges are either variables outside of the model (Linen) or stored in the
                 hooks of a copy of it (NNX).
    front_end    a ``FrontEnd``, added to ``models.bound.front_ends``

Both kinds of object follow these conventions:

    paths        A layer's path, such as ``"encoder/Dense_0"``, identifies it in rules, chips, ranges, checkpoints and
                 tables; ``hardware.rules.ROOT`` if the layer is the whole model, ``hardware.rules.attending(path)`` for
                 products with the table of an embedding, which are a separate array.
    purity       Methods of a bound model run inside ``jax.jit``, ``jax.vmap`` and ``jax.lax`` loops: they have no side
                 effects, and draw random numbers only from their keys and from streams in the model's arrays.
    inputs       ``x`` is an array ``[n, ...]``, a tuple of arrays or ``analogsim.Inputs``, see ``base.call_inputs``.
    ``None``     as ``variables`` means that the model holds its arrays itself.

Front ends may differ in two respects: whether layers are known only from a call (``FrontEnd.needs_call``), and whether
``BoundModel.unbind`` returns variables or a model that holds its arrays.
"""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import numpy as np

from analogsim.base.call_inputs import Inputs, Options, Sample
from analogsim.base.types import PyTree
from analogsim.factors.codec import Codec
from analogsim.hardware.hardware import Hardware
from analogsim.hardware.rules import Rules
from analogsim.layers.collections import Collections
from analogsim.layers.compression import CoreSelection
from analogsim.layers.inventory import Inventory
from analogsim.layers.layer import LayerUse


class BoundModel(Protocol):
    """A model with its arrays. Returned by ``bind``, which has an example.

    A JAX pytree: its leaves are arrays, its structure is static and compared by value, so that functions of it compile
    once per structure.
    """

    @property
    def arrays(self) -> Any:
        """All arrays of the model, as a pytree."""

    def collections(self) -> dict[str, Any]:
        """Return the arrays by kind: ``params``, ``ranges`` and ``batch_stats`` if there are any, and others."""

    def with_collections(self, collections: dict[str, Any]) -> "BoundModel":
        """Return the same model with other arrays, in the format of ``collections``."""

    def unbind(self) -> tuple[Any, Any]:
        """Return ``(model, variables)`` in the user's form; the variables are None if the model holds its arrays."""

    def inputs(self) -> Inputs | None:
        """Return zeros in the shapes of one call's inputs; None if the shapes are unknown and not needed.

        Raises:
          InputError: if the shapes are unknown and layers are known only from a call.
        """

    def places(self, x: Any = None) -> dict[str, np.ndarray]:
        """Number the entries of ranges consecutively over all layers, as in ``LayerUse.place``.

        Args:
          x: inputs, for their shapes; by default ``inputs()``.

        Returns:
          integers by path, in the shape of the layer's stack: ``()`` for one layer, ``(3,)`` for three stacked layers.
        """

    def layer_ranges(self) -> dict[str, dict[str, Any]]:
        """Return the calibrated ranges by path and by name of a field of ``signal_path.ranges.Ranges``."""

    def hardware(self) -> dict[str, Hardware]:
        """Return the hardware of every analog layer by path, with overrides in force, by abstract evaluation."""

    def inventory(self) -> Inventory:
        """List analog layers, digital layers and products outside of layers, by abstract evaluation."""

    def program(self, key: jax.Array, reprogram: Any = None) -> Any:
        """Program all analog layers.

        Args:
          key: random key of fabrication and writing.
          reprogram: an earlier result, whose tiles are reprogrammed; None fabricates new ones.

        Returns:
          a pytree whose nodes are ``signal_path.programmed.ProgrammedTiles``, one per analog layer.
        """

    def run(self, readings: PyTree, x: Any, key: jax.Array) -> Any:
        """Return the model's outputs on a chip.

        Args:
          readings: the result of ``program`` with a ``ChipArray`` in place of every ``ProgrammedTiles``.
          x: a batch of inputs.
          key: random key of read noise and of the streams given to ``bind``.
        """

    def call(self, x: Any) -> Any:
        """Return the outputs in the current mode (``layers.modes``)."""

    def digital(self, x: Any, key: jax.Array | None = None, *, in_eval_mode: bool = False) -> Any:
        """Return the outputs of the digital model.

        Args:
          x: a batch of inputs.
          key: random key that separates the examples' random streams, if streams were given to ``bind``.
          in_eval_mode: set the modes that a model has as attributes to those of inference first, in a copy (NNX:
            ``model.eval()``), for the digital teacher of a model that is being trained.

        Raises:
          InputError: if the model draws random numbers without a stream, or normalises by its batch; not in eval mode.
        """

    def observed(self, x: Any, places: bool = False) -> list[LayerUse]:
        """Run the digital model, and return every use of an analog layer in order.

        Args:
          x: a batch of inputs.
          places: whether to set ``LayerUse.place``, see ``places``.
        """

    def with_tracked_ranges(self, x: Any, options: dict[str, Any]) -> "BoundModel":
        """Return the model with storage for its tracked ranges (``TrackedRange``), before the first step of training.

        Args:
          x: a batch of inputs.
          options: keyword arguments of a call in training, instead of the model's options.
        """

    def train(self, x: Any, key: jax.Array, changing: list[str], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Run the model once as in training.

        Args:
          x: a batch of inputs.
          key: random key of the hardware and of the model's random layers.
          changing: names of the collections that the call may change.
          options: keyword arguments of the call, instead of the model's options.

        Returns:
          the outputs, and the collections ``changing`` after the call.
        """

    def statistics_after(self, x: Any, key: jax.Array, readings: PyTree = None) -> Any:
        """Return ``batch_stats`` after one call that normalises by its batch.

        Args:
          x: a batch of inputs.
          key: random key of read noise, or None.
          readings: the chip to run on, as for ``run``; None for the model itself.
        """


class FrontEnd(Protocol):
    """One kind of model. See ``analogsim.linen.front_end`` for an implementation.

    Attributes:
      name: short name, stored in checkpoints.
      title: name with article, for messages.
      roots: first parts of the names of arrays in checkpoints.
      needs_call: whether layers are known only from a call, which needs inputs and options.
    """

    name: str
    title: str
    roots: tuple[str, ...]
    needs_call: bool

    def owns(self, model: Any) -> bool:
        """Return whether an object is a model of this kind."""

    def owns_arrays(self, item: Any) -> bool:
        """Return whether an object holds the arrays of such a model: its variables, or the model itself."""

    def bind(
        self, model: Any, variables: PyTree, sample: Sample | None, options: Options, rngs: dict[str, jax.Array]
    ) -> BoundModel:
        """Return the model with its arrays.

        Args:
          model, variables: the model, and its variables or None.
          sample: shapes of one call's inputs, if known.
          options: static keyword arguments of the model's call.
          rngs: keys of the model's random streams, by name.
        """

    def set_ranges(
        self, model: Any, variables: PyTree, ranges: dict[str, dict[str, Any]], sample: Sample | None = None
    ) -> Any:
        """Set calibrated ranges and leave all others unchanged.

        Args:
          model, variables: the model, and its variables or None.
          ranges: ranges by path and name, as in ``BoundModel.layer_ranges``; None removes a range.
          sample: shapes of one call's inputs, stored with the ranges if the front end needs a call.

        Returns:
          new variables; None if the ranges were set in the model itself, in place.
        """

    def convert(
        self, model: Any, rules: Rules, *, codec: Codec | None, strict: bool, rngs: Any = None, x: Any = None
    ) -> Any:
        """Return the model on analog hardware; see ``analogsim.convert``."""

    def to_digital(self, model: Any) -> Any:
        """Return the plain model behind an analog one; see ``analogsim.to_digital``."""

    def compress(
        self, model: Any, variables: PyTree, x: Any, selection: CoreSelection, contraction: str, options: dict[str, Any]
    ) -> tuple[Any, Any]:
        """Return model and variables with cores instead of kernels, if ``selection`` decides so for a layer."""

    def with_other_cores(self, item: Any, change: Callable[[Any], Any]) -> tuple[Any, int]:
        """Apply ``change`` to the cores of every compressed layer.

        Args:
          item: variables or a model, see ``owns_arrays``; not modified.
          change: function of a layer's tuple of cores ``[r_(k-1), m_k, n_k, r_k]``.

        Returns:
          the changed variables or model, and the number of compressed layers.
        """

    def saved(self, model: Any, variables: PyTree) -> Collections:
        """Return the arrays that a checkpoint saves."""

    def expected(self, model: Any, sample: Sample | None, options: dict[str, Any]) -> Collections:
        """Return the collections, with arrays or their shapes, that a checkpoint of this model must contain."""

    def rebuilt(self, model: Any, trees: dict[str, Any]) -> tuple[Any, Any]:
        """Return ``(model, variables)`` from the collections of a checkpoint."""

    def content(self, item: Any) -> list[Any] | None:
        """Return the parts whose values identify a module or variable; None for objects of other libraries."""
