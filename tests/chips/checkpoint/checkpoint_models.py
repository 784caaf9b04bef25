"""What the tests of checkpoints share: models, and comparisons to the bit."""

import functools
import hashlib
import json
import shutil

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from analogsim import preset
from analogsim.linen import AnalogDense
from analogsim.nnx import AnalogLinear
from tests.support.models import MLP

PCM = preset("pcm")
MODEL = MLP(PCM)
KEY = jax.random.key(0)
RNGS = {"analog": jax.random.key(4)}
X = np.random.default_rng(1).normal(size=(20, 8)).astype(np.float32)


class Net(nnx.Module):
    """8-6-3 with normalisation, dropout, and state that is no parameter."""

    def __init__(self, hardware, rngs, hidden=6):
        self.hidden = AnalogLinear(8, hidden, hardware=hardware, rngs=rngs)
        self.norm = nnx.BatchNorm(hidden, use_running_average=True, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, deterministic=True, rngs=rngs)
        self.out = AnalogLinear(hidden, 3, hardware=hardware, rngs=rngs)
        self.steps = nnx.data(3)

    def __call__(self, x):
        return self.out(self.dropout(nnx.relu(self.norm(self.hidden(x)))))


class Wide(nn.Module):
    """8-6-4-3: one layer more."""

    sizes: tuple = (6, 4, 3)
    dtype: object = jnp.float32

    @nn.compact
    def __call__(self, x):
        for size in self.sizes:
            x = AnalogDense(size, hardware=PCM, param_dtype=self.dtype)(x)
        return x


@functools.partial(jax.jit, static_argnums=0)
def apply(model, variables):
    return model.apply(variables, X, rngs=RNGS)


run_nnx = nnx.jit(lambda model: model(X))


def assert_equal(found, expected):
    """Structures, types and bits."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    pairs = zip(jax.tree.leaves(found), jax.tree_util.tree_leaves_with_path(expected), strict=True)
    for a, (path, b) in pairs:
        where = jax.tree_util.keystr(path)
        assert type(a) is type(b), where
        if hasattr(b, "dtype"):
            assert (a.dtype, getattr(a, "weak_type", None)) == (b.dtype, getattr(b, "weak_type", None)), where
            if jnp.issubdtype(b.dtype, jax.dtypes.prng_key):
                a, b = jax.random.key_data(a), jax.random.key_data(b)
            assert np.shape(a) == np.shape(b), where
            assert np.asarray(a).tobytes() == np.asarray(b).tobytes(), where
        else:
            assert a == b, where


def edited(folder, source, change, seal=True):
    """A copy of a checkpoint whose text was changed, with the checksum that the change calls for, or the old one."""
    shutil.copytree(source, folder)
    text = json.loads((folder / "analogsim.json").read_text())
    change(text)
    if seal and "checksum" in text:
        del text["checksum"]
        canonical = json.dumps(text, sort_keys=True, separators=(",", ":"))
        text["checksum"] = "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()
    (folder / "analogsim.json").write_text(json.dumps(text))
    return folder
