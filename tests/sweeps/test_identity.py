"""Hashes of inputs: equal for equal ones in every process, different for whatever changes numbers."""

import functools
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from analogsim import preset
from analogsim.sweeps.identity import fingerprint

FACTOR = 1.0

SCRIPT = """
import jax.numpy as jnp, flax.linen as nn
from flax import nnx
from analogsim import ChipScores, preset
from analogsim.sweeps.identity import fingerprint
class Net(nnx.Module):
    def __init__(self, rngs):
        self.layer, self.drop, self.act = nnx.Linear(3, 2, rngs=rngs), nnx.Dropout(0.5, rngs=rngs), nnx.relu
    def __call__(self, x):
        return self.act(self.layer(x))
scores = ChipScores(Net(nnx.Rngs(0)), None, jnp.ones((4, 3)), jnp.zeros(4, int))
print(fingerprint((scores, preset("pcm"), nn.Dense(3))))
"""


class Adder:
    def __init__(self, number):
        self.number = number

    def __call__(self, x):
        return x + self.number


class Net(nn.Module):
    act: object = nn.relu

    @nn.compact
    def __call__(self, x):
        return self.act(nn.Dense(3)(x))


def scaled(x):
    return FACTOR * x


def test_every_process_finds_the_same():
    runs = [subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True) for _ in range(2)]
    assert runs[0].stdout == runs[1].stdout != "", runs[0].stderr


def test_what_changes_numbers_changes_the_hash():
    different = [
        jax.jit(lambda x: x + 1), jax.jit(lambda x: x + 2), lambda x: x + 3, Adder(1), Adder(2), Adder(1).__call__,
        functools.partial(scaled, 2), functools.partial(scaled, 3), functools.lru_cache(lambda x: x * 5),
        np.vectorize(lambda x: x * 6), jax.custom_jvp(lambda x: x * 7), jax.custom_jvp(lambda x: x * 8),
        Net(), Net(act=nn.tanh), Net(act=nn.silu), Net(act=nn.gelu), nnx.Linear(3, 2, rngs=nnx.Rngs(0)),
        nnx.Linear(3, 2, rngs=nnx.Rngs(1)), jnp.ones(3), jnp.ones((3, 1)), jnp.ones(3, int), 1, 1.0, True, "1", None,
        preset("pcm"), preset("pcm", rows=256), ("a", "bc"), ("ab", "c"), np.array(["a", "b"], object),
    ]  # fmt: skip
    assert len({fingerprint(item) for item in different}) == len(different)


def test_equal_inputs_have_one_hash():
    for one, other in ((Adder(1), Adder(1)), (Net(), Net()), (jnp.ones(3), np.ones(3, np.float32)),
                       ({"a": 1, "b": 2}, {"b": 2, "a": 1}), (nn.tanh, nn.tanh)):  # fmt: skip
        assert fingerprint(one) == fingerprint(other)


def test_code_is_followed_into_globals_and_methods(monkeypatch):
    before = fingerprint(scaled)
    monkeypatch.setitem(globals(), "FACTOR", 2.0)
    assert fingerprint(scaled) != before
    before = fingerprint(Net())
    monkeypatch.setattr(Net, "__call__", lambda self, x: x)
    assert fingerprint(Net()) != before


def test_circles_and_names_that_are_not_yet_defined_end():
    def calls_itself(x):
        return calls_itself(x - later)

    assert fingerprint(calls_itself)
    later = 1
    assert fingerprint(calls_itself)
    loop = [1]
    loop.append(loop)
    assert fingerprint(loop)
