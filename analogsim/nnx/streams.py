"""Random streams and running statistics of an NNX model that is run, not trained.

A model that is merged anew for every example would draw the same numbers for all of them, and one that is left in
training mode would normalise each by itself. Streams of the model's own (dropout) therefore run on keys that the caller
gives, and what is left in training mode is refused by its name.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from analogsim.base.errors import InputError
from analogsim.base.random import stream
from analogsim.nnx.hooks import AnalogOp


class _Held(NamedTuple):
    """A stream of the model: where, whose it is, and the names that a key for it may have."""

    path: str
    stream: nnx.RngStream
    owner: Any
    names: tuple[str, ...]


def _streams(model: nnx.Module) -> Iterator[_Held]:
    """Every stream that is no analog layer's."""
    modules = dict(nnx.iter_modules(model))
    for parts, node in nnx.iter_graph(model):
        if not isinstance(node, nnx.RngStream):
            continue
        above = next(parts[:n] for n in reversed(range(len(parts))) if parts[:n] in modules)
        owner = modules[above]
        if isinstance(
            owner, (AnalogOp, nnx.RNN, nnx.RNNCellBase)
        ):  # a recurrent one's is for its first state, of zeros
            continue
        own = getattr(owner, "rng_collection", "dropout" if hasattr(owner, "dropout_rate") else node.tag)
        yield _Held("/".join(map(str, above)) or "(the model itself)", node, owner, (own, node.tag, "default"))


def restart(model: nnx.Module, rngs: Mapping[str, jax.Array], key: jax.Array | None) -> None:
    """Start the model's own streams from these keys, in place; ``key`` is of one example, and of its chip and time."""
    for entry in _streams(model):
        name = next((name for name in entry.names if name in rngs), None)
        if name is None:
            continue
        stream_key = stream(rngs[name], f"{entry.path}/{name}")
        if key is not None:
            stream_key = jax.random.fold_in(stream_key, jax.random.bits(key, (), jnp.uint32))
        shape = entry.stream.key.get_value().shape
        entry.stream.key.set_value(jax.random.split(stream_key, shape) if shape else stream_key)
        entry.stream.count.set_value(jnp.zeros(shape, jnp.uint32))


class Inference:
    """Refuses, after a call, a model that has drawn numbers without a key, or updated statistics of its batch."""

    def __init__(self, model: nnx.Module, rngs: Mapping[str, jax.Array]):
        self._rngs = rngs
        self._streams = [(held, held.stream.count.get_value()) for held in _streams(model)]
        norms = [(path, m) for path, m in nnx.iter_modules(model) if isinstance(m, nnx.BatchNorm)]
        self._norms = [(path, m, None if m.mean is None else m.mean.get_value()) for path, m in norms]

    def check(self) -> None:
        """By what has changed: a layer that is not in training mode changes nothing, whatever its attributes say."""
        for path, norm, before in self._norms:
            if not norm.use_running_average and norm.mean is not None and norm.mean.get_value() is not before:
                raise InputError(
                    f"layer {'/'.join(map(str, path))}: is in training mode and normalises by its batch, of a single "
                    f"example; call model.eval() first, or take nnx.view(model, use_running_average=True)"
                )
        for entry, before in self._streams:
            has_key = any(name in self._rngs for name in entry.names)
            if has_key or getattr(entry.owner, "deterministic", None) or entry.stream.count.get_value() is before:
                continue
            raise InputError(
                f"layer {entry.path}: draws random numbers from its stream '{entry.names[0]}', the same for every "
                f"example; call model.eval() first, or give rngs={{'{entry.names[0]}': key}} to keep it random"
            )
