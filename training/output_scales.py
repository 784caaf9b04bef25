"""Learned digital output scales, and remapping of weights so that the largest weight of every column is equal.

Digital logic after the converters multiplies every output by the scale of its column. A learned scale s is merged into
it, y_j = s_j sum_i x_i W_ij, so that the optimiser can scale a column without changing its cells. The scales are stored
in the collection ``ranges``, like the converters' ranges:

    variables = with_output_scales(model, variables, x)                 # ones: the outputs do not change
    tree = {"params": variables["params"], "ranges": variables["ranges"]}
    tx = optax.chain(optax.adam(1e-3), remap_weights())                 # trained together, columns scaled to 1
    variables = fold_output_scales(variables)                           # a plain network again: W_ij s_j

``remap_weights`` is the channel-wise symmetric mapping of Rasch et al. (Nat. Commun. 14, 5282 (2023), doi
10.1038/s41467-023-40770-4): after every step the largest weight of each column is 1 and s holds the magnitude, so that
noise relative to the conductance window, and clipping at a fixed value, have the same effect in every column.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax

from analogsim.base.call_inputs import inputs_of
from analogsim.base.checks import check_number
from analogsim.base.errors import InputError
from analogsim.base.types import PyTree
from analogsim.models.bound import Sample, bind, front_end_of
from analogsim.training.fitting import path_names

_SCALED = "scale"


def with_output_scales(model: Any, variables: PyTree = None, x: Any = None, **options: Any) -> Any:
    """Add learned output scales to every analog layer, with initial values of 1.

    Args:
      model, variables: a Linen model with analog layers and its variables, or an NNX model and None.
      x: inputs of one call (``analogsim.Inputs``), ``[n, ...]``, for the shapes of a Linen model; not needed after
        ``calibrate``.
      **options: keyword arguments of the Linen model's call.

    Returns:
      for Linen, the variables with ``ranges/<layer>/analog/scale`` of shape ``[n_out]``, or ``[S, n_out]`` for a layer
      of S matrices (grouped convolutions, batch axes). For NNX, None: the scales are set in the model.

    Raises:
      InputError: for layers in stacks (``nn.scan``, ``nnx.vmap``), which do not support scales.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from analogsim import preset
      >>> from analogsim.linen import AnalogDense
      >>> layer, x = AnalogDense(3, hardware=preset("pcm")), jnp.ones((2, 4))
      >>> variables = with_output_scales(layer, layer.init(jax.random.key(0), x), x)
      >>> variables["ranges"]["analog"]["scale"].tolist()
      [1.0, 1.0, 1.0]
    """
    if x is not None:
        x, options = inputs_of(x, options)
    front_end = front_end_of(model)
    bound = bind(model, variables, x if front_end.needs_call else None, options)
    scales = {}
    for layer in bound.inventory().layers:
        *matrices, _, n_out = layer.matrices
        scales[layer.path] = {_SCALED: jnp.ones((*matrices, n_out))}
    for path, numbers in bound.places().items():
        if numbers.ndim:
            raise InputError(f"layer {path}: is in a stack (nn.scan, nnx.vmap), which does not support output scales")
    return front_end.set_ranges(model, variables, scales, None if x is None else Sample.of(x))


def remap_weights(limit: float = 1.0) -> optax.GradientTransformationExtraArgs:
    """Rescale every column of weights to a largest weight of ``limit``, and compensate it in the output scale.

    To be the last transformation of an ``optax.chain``, on a tree ``{"params": ..., "ranges": ...}`` with scales
    (``with_output_scales``). It does not change the product of kernel and scale, and so not the network's outputs.

    Args:
      limit: largest absolute weight of every column.

    Returns:
      a gradient transformation, which requires the parameters in ``update``.

    Raises:
      InputError: for a tree without scales, or a scale without a kernel that has the same number of outputs.

    Example:
      >>> tree = {"params": {"d": {"kernel": jnp.array([[2.0], [-4.0]])}},
      ...         "ranges": {"d": {"analog": {"scale": jnp.array([1.0])}}}}
      >>> tx = optax.chain(optax.sgd(0.0), remap_weights())
      >>> updates, _ = tx.update(jax.tree.map(jnp.zeros_like, tree), tx.init(tree), tree)
      >>> new = optax.apply_updates(tree, updates)
      >>> new["params"]["d"]["kernel"].tolist(), new["ranges"]["d"]["analog"]["scale"].tolist()
      ([[0.5], [-1.0]], [4.0])
    """
    check_number(limit, "limit", gt=0)

    def update(updates: PyTree, state: PyTree, params: PyTree = None, **_: Any) -> tuple[Any, Any]:
        if params is None:
            raise InputError("remap_weights needs the parameters: tx.update(gradients, state, params)")
        kernels = scaled_kernels(params)
        new = jax.tree.map(lambda p, u: p + u, params, updates)
        for kernel_path, scale_path in kernels:
            kernel, scale = _at(new, kernel_path), _at(new, scale_path)
            columns = _outputs(kernel, scale)
            largest = jnp.max(jnp.abs(kernel), axis=tuple(range(kernel.ndim - len(columns))))
            # A column of zeros keeps its scale.
            factor = jnp.where(largest > 0, largest, limit) / limit
            # Optax adds an update to its parameter, so the largest weight equals the limit only up to rounding.
            updates = _with(updates, kernel_path, kernel / factor - _at(params, kernel_path))
            updates = _with(updates, scale_path, scale * _as_scale(factor, scale) - _at(params, scale_path))
        return updates, state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def fold_output_scales(variables: PyTree) -> Any:
    """Multiply the kernels of a Linen model by their output scales and remove the scales; the outputs do not change.

    Args:
      variables: variables with ``params`` and ``ranges``.

    Returns:
      the variables with new kernels and without scales.

    Raises:
      InputError: as ``remap_weights``.

    Example:
      >>> variables = {"params": {"d": {"kernel": jnp.ones((2, 1))}},
      ...              "ranges": {"d": {"analog": {"scale": jnp.array([3.0])}}}}
      >>> fold_output_scales(variables)["params"]["d"]["kernel"].tolist()
      [[3.0], [3.0]]
    """
    for kernel_path, scale_path in scaled_kernels(variables):
        kernel, scale = _at(variables, kernel_path), _at(variables, scale_path)
        shape = _outputs(kernel, scale)
        folded = kernel * scale.reshape(-1)[: math.prod(shape)].reshape(shape)
        variables = _without(_with(variables, kernel_path, folded), scale_path)
    return variables


def scaled_kernels(tree: PyTree) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return the paths of every kernel with a learned scale and of the scale, in ``{"params": ..., "ranges": ...}``."""
    if "params" not in tree or "ranges" not in tree:
        raise InputError("the tree must hold the collections 'params' and 'ranges', {'params': ..., 'ranges': ...}")
    pairs = []
    for path, scale in jax.tree_util.tree_leaves_with_path(tree["ranges"]):
        names = tuple(path_names(path))
        if names[-2:] != ("analog", _SCALED):
            continue
        kernel_path = ("params", *names[:-2], "kernel")
        kernel = _at(tree, kernel_path)
        layer = "/".join(names[:-2]) or "(the model itself)"
        if kernel is None or not _outputs(kernel, scale):
            has = "no kernel" if kernel is None else f"a kernel of shape {jnp.shape(kernel)}"
            raise InputError(
                f"layer {layer}: a scale of shape {jnp.shape(scale)} does not fit, because the layer has {has}"
            )
        pairs.append((kernel_path, ("ranges", *names)))
    if not pairs:
        raise InputError("no layer has a learned scale; add scales by with_output_scales(model, variables, x)")
    return pairs


def _outputs(kernel: Any, scale: Any) -> tuple[int, ...]:
    """Return the shape of the kernel's last axes that match the scale in size; ``()`` if none do."""
    for axes in range(1, jnp.ndim(kernel)):
        shape = jnp.shape(kernel)[-axes:]
        if math.prod(shape) == jnp.size(scale):
            return shape
    # A grouped convolution on several matrices: the last of them may have unused columns, which have scales, too.
    return jnp.shape(kernel)[-1:] if jnp.ndim(scale) == 2 and jnp.shape(kernel)[-1] < jnp.size(scale) else ()


def _as_scale(factor: jax.Array, scale: jax.Array) -> jax.Array:
    """Reshape factors of the outputs to the shape of a scale, with 1 for unused columns."""
    flat = factor.reshape(-1)
    return jnp.concatenate([flat, jnp.ones(scale.size - flat.size, flat.dtype)]).reshape(scale.shape)


def _at(tree: PyTree, path: tuple[str, ...]) -> Any:
    for name in path:
        if not hasattr(tree, "keys") or name not in tree:
            return None
        tree = tree[name]
    return tree


def _with(tree: PyTree, path: tuple[str, ...], value: Any) -> Any:
    return value if not path else {**tree, path[0]: _with(tree[path[0]], path[1:], value)}


def _without(tree: PyTree, path: tuple[str, ...]) -> Any:
    if len(path) == 1:
        return {name: inner for name, inner in tree.items() if name != path[0]}
    return {**tree, path[0]: _without(tree[path[0]], path[1:])}
