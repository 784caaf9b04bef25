"""The tags of every store say what its methods do. Nothing is computed: the methods are evaluated by shapes."""

import jax
import jax.numpy as jnp
import pytest

from analogsim import InputError, devices, preset
from analogsim.devices import (
    PCM,
    AmplitudeStore,
    Crossbar,
    DigitalMemory,
    FadingLight,
    MZIMesh,
    PhotonicTensorCore,
    ReRAM,
    RingBank,
    Wires,
)
from analogsim.layers.layer import needs_key

LIGHT = MZIMesh()
STORES = {
    "exact memory": DigitalMemory(),
    "8-bit memory": DigitalMemory(bits=8),
    "PCM": Crossbar(cell=PCM()),
    "ReRAM, which does not fluctuate": Crossbar(cell=ReRAM()),
    "with resistive lines": Crossbar(wires=Wires(word_line_ohm=1.0, bit_line_ohm=1.0)),
    "mesh": LIGHT,
    "mesh that fluctuates": LIGHT.replace(**{"shifter.noise_rad": 0.01}),
    "mesh without a detector": LIGHT.replace(detector=None, **{"shifter.noise_rad": None}),
    "open rings": RingBank(locking="open", channels=4),
    "locked rings": RingBank(channels=4),
    "rings without a detector": RingBank(channels=4, detector=None),
    "tensor core": PhotonicTensorCore(),
    "tensor core without noise": PhotonicTensorCore(read_noise=None, detector=None),
    "light": FadingLight(),
    "register": AmplitudeStore(),
}


def test_every_store_is_here():
    kinds = {kind for kind in vars(devices).values() if isinstance(kind, type) and hasattr(kind, "ideal_columns")}
    kinds -= {devices.WeightStore, devices.StoreTags, devices.OneColumnPerOutput}
    assert kinds == {type(store) for store in STORES.values()}
    assert all(issubclass(kind, devices.StoreTags) for kind in kinds)


def programmed(store, key):
    return jax.eval_shape(store.program, key, jnp.ones((3, 2)))


@pytest.mark.parametrize("name", STORES)
def test_tags_are_what_the_methods_do(name, key):
    store = STORES[name]
    state = programmed(store, key)
    if store.draws_at_program:
        with pytest.raises(InputError, match="random"):
            programmed(store, None)
    else:
        assert jax.tree.structure(programmed(store, None)) == jax.tree.structure(state)
    moments = jax.eval_shape(lambda s: store.read(s, 0.0), state)
    # Whether a crossbar's reads vary is up to its cells: the tag says that they may.
    assert store.draws_at_read if isinstance(store, Crossbar) else store.draws_at_read == (moments.variance is not None)
    lines = moments.mean.shape[-1]
    noise = jax.eval_shape(store.noise, jnp.ones((1, 3)), jnp.ones((1, lines)), state)
    assert store.detects_noise == (noise is not None)
    assert store.has_wires == (getattr(store, "wires", None) is not None)


def test_what_is_not_random_needs_no_key():
    assert not needs_key(preset("int8"))
    assert needs_key(preset("int8", **{"dac.noise": 0.1}))
    assert needs_key(preset("mzi-mesh"))
