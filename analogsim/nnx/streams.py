"""Random streams and running statistics of an NNX model in inference.

The model is merged anew for every example. So its random streams (dropout) would draw the same numbers for all
examples, and batch normalisation in training mode would normalise each example by itself. The streams are therefore
restarted from keys given by the caller, and layers in training mode raise an error.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from analogsim.base.errors import InputError
from analogsim.base.random import bits, stored_key, stream
from analogsim.nnx.hooks import AnalogOp, path_of


class _ModelStream(NamedTuple):
    """A random stream, the module that owns it with its path, and the names under which a key for it may be given."""

    path: str
    stream: nnx.RngStream
    owner: Any
    names: tuple[str, ...]


def _streams(model: nnx.Module) -> Iterator[_ModelStream]:
    """Yield every random stream that belongs to no analog layer."""
    modules = dict(nnx.iter_modules(model))
    for parts, node in nnx.iter_graph(model):
        if not isinstance(node, nnx.RngStream):
            continue
        above = next(parts[:n] for n in reversed(range(len(parts))) if parts[:n] in modules)
        owner = modules[above]
        # Recurrent cells of Flax 0.12 pass their stream to the initialiser of the carry, which gives zeros.
        if isinstance(owner, (AnalogOp, nnx.RNN, nnx.RNNCellBase)):
            continue
        name = getattr(owner, "rng_collection", "dropout" if hasattr(owner, "dropout_rate") else node.tag)
        yield _ModelStream(path_of(above), node, owner, (name, node.tag, "default"))


def restart(model: nnx.Module, rngs: Mapping[str, jax.Array], key: jax.Array | None) -> None:
    """Restart the model's random streams, in place.

    Args:
      model: the model.
      rngs: keys by name: the stream's collection (``"dropout"``), its tag, or ``"default"``; other streams continue.
      key: key that separates the draws of examples, chips and times; None for the same draws in all.
    """
    for entry in _streams(model):
        name = next((name for name in entry.names if name in rngs), None)
        if name is None:
            continue
        stream_key = stream(rngs[name], f"{entry.path}/{name}")
        if key is not None:
            # fold_in takes an integer, not another key.
            stream_key = jax.random.fold_in(stream_key, bits(key, ()))
        old = entry.stream.key.get_value()
        shape = old.shape
        stored = stored_key(stream_key, old)
        entry.stream.key.set_value(jax.random.split(stored, shape) if shape else stored)
        entry.stream.count.set_value(jnp.zeros(shape, jnp.uint32))


class Inference:
    """Detects calls in training mode: create it before a call of the model, and ``check`` after it."""

    def __init__(self, model: nnx.Module, rngs: Mapping[str, jax.Array]):
        self._rngs = rngs
        self._streams = [(entry, entry.stream.count.get_value()) for entry in _streams(model)]
        norms = [(path, m) for path, m in nnx.iter_modules(model) if isinstance(m, nnx.BatchNorm)]
        self._norms = [(path, m, None if m.mean is None else m.mean.get_value()) for path, m in norms]

    def check(self) -> None:
        """Raise ``InputError`` if the call drew random numbers without a key, or updated running statistics."""
        # Attributes such as ``deterministic`` do not tell, because a call may override them; what has changed does.
        for path, norm, before in self._norms:
            # By identity, because values are unknown in a trace; an update always stores a new array.
            if not norm.use_running_average and norm.mean is not None and norm.mean.get_value() is not before:
                raise InputError(
                    f"layer {path_of(path)}: is in training mode and normalises by its batch of a single example; call "
                    f"model.eval() first, or use nnx.view(model, use_running_average=True)"
                )
        for entry, before in self._streams:
            has_key = any(name in self._rngs for name in entry.names)
            if has_key or getattr(entry.owner, "deterministic", None) or entry.stream.count.get_value() is before:
                continue
            raise InputError(
                f"layer {entry.path}: draws random numbers from its stream '{entry.names[0]}', the same for every "
                f"example; call model.eval() first, or pass rngs={{'{entry.names[0]}': key}} to keep it random"
            )
