"""Joules per inference as a differentiable number: a term of a training loss.

    def loss(params, x, labels, key):
        logits = model.apply({"params": params}, x, rngs={"analog": key})
        return cross_entropy(logits, labels) + 1e8 * energy.inference_j(model, {"params": params}, x)

The energy of an inference on analog hardware falls with smaller weights relative to each column's largest, with smaller
inputs relative to their range, and with the continuous fields of the hardware (``analogsim.override_hardware``):
voltage, read time, range, conductance window, energy table. With respect to bits the joules have a derivative, but the
accuracy does not. Counts that follow from shapes (conversions, tiles) are constants.
"""

from typing import Any

import jax

from analogsim.base.call_inputs import count_examples, inputs_of
from analogsim.base.errors import InputError
from analogsim.base.types import PyTree
from analogsim.energy.chip.analog_items import hold_items, layer_items
from analogsim.energy.chip.analog_memory import memory_items, plan_of
from analogsim.energy.chip.analog_time import example_time, waiting_items
from analogsim.energy.chip.digital_unit import rest_items
from analogsim.energy.chip.tile_work import tile_work
from analogsim.energy.work.layer_work import layers_of, trace
from analogsim.layers import modes
from analogsim.models.bound import bind


def inference_j(model: Any, variables: PyTree, x: Any, *, components: tuple[str, ...] | None = None, **options: Any):
    """Return the typical joules per inference on the model's analog hardware, averaged over a batch. Differentiable.

    Args:
      model: a Linen or NNX model with analog layers.
      variables: the variables of a Linen model; None for an NNX model.
      x: inputs ``[batch, ...]``.
      components: names of components to sum (``("cells", "word lines")``), as in the components table; None for all,
        including work outside of analog layers.
      **options: keyword arguments of the Linen model's call.

    Returns:
      Joules, a scalar.

    Raises:
      InputError: if layers run inside a loop or ``remat`` of the model, or for an unknown component.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from analogsim import preset
      >>> from analogsim.linen import AnalogDense
      >>> layer, x = AnalogDense(3, hardware=preset("reram")), jnp.ones((2, 8))
      >>> variables = layer.init(jax.random.key(0), x)
      >>> gradient = jax.grad(lambda v: inference_j(layer, v, x, components=("cells",)))(variables)
      >>> gradient["params"]["kernel"].shape
      (8, 3)
    """
    x, options = inputs_of(x, options)
    examples = count_examples(x)
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), x)
    mode = modes.CollectingMode()
    bound = bind(model, variables, options=options)
    # Runs on the values, so that derivatives reach weights and inputs; counts come from the shapes alone.
    with modes.enter(mode):
        bound.call(x)
    operations, _ = trace(bound, shapes, examples)
    layers = layers_of(mode.uses, operations, examples)
    if any(layer.passes > 1 for layer in layers):
        looped = next(layer.use.path for layer in layers if layer.passes > 1)
        raise InputError(
            f"layer {looped}: runs in a loop of the model, so its energy has no gradient; use energy.compare"
        )
    layer_work = [(layer, tile_work(layer.use)) for layer in layers]
    items = [item for layer, work in layer_work for item in layer_items(layer, work)]
    energy_table = layers[0].use.hardware.energy_table
    moved = plan_of(layer_work, operations, energy_table)
    time = example_time(layer_work, operations, moved, energy_table)
    items += (
        hold_items(layer_work, time.reads_s)
        + rest_items(operations, energy_table)
        + memory_items(moved, operations, energy_table)
    )
    items += waiting_items(layer_work, time, moved, energy_table, 1)
    if components is not None:
        component_names = dict.fromkeys(item.component for item in items)
        for name in components:
            if name not in component_names:
                raise InputError(
                    f"components: unknown component {name!r}; this model has: {', '.join(component_names)}"
                )
        items = [item for item in items if item.component in components]
    return sum(item.energy_j for item in items)
