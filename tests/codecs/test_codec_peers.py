"""The same trains from other libraries, where they are installed (``pip install -e '.[peers]'``)."""

import jax.numpy as jnp
import numpy as np
import pytest

from analogsim.codecs import TensorTrain, apply, decode
from analogsim.factors.trains import interleaved

MODES = (4, 3, 2), (2, 3, 4)


@pytest.fixture(scope="module")
def matrix():
    return np.random.default_rng(3).normal(size=(24, 24))


@pytest.fixture(scope="module")
def cores(matrix):
    codec = TensorTrain(rank=5, modes_in=MODES[0], modes_out=MODES[1])
    return codec.compress(jnp.asarray(matrix, jnp.float32))[0]


def test_tensorly_decomposes_alike(matrix, cores):
    decomposition = pytest.importorskip("tensorly.decomposition")
    theirs = decomposition.tensor_train(interleaved(matrix, *MODES), rank=[1, 5, 5, 1])
    whole = theirs.to_tensor().reshape(4, 2, 3, 3, 2, 4).transpose(0, 2, 4, 1, 3, 5).reshape(24, 24)
    np.testing.assert_allclose(decode(cores), whole, atol=1e-5)


@pytest.mark.slow  # its import compiles
@pytest.mark.filterwarnings("ignore")
def test_quimb_applies_alike(matrix, cores):
    tensors = pytest.importorskip("quimb.tensor")
    inner = [np.asarray(cores[0])[0], np.asarray(cores[1]), np.asarray(cores[2])[..., 0]]
    network = tensors.TensorNetwork([
        tensors.Tensor(inner[0], ("i0", "j0", "a")),
        tensors.Tensor(inner[1], ("a", "i1", "j1", "b")),
        tensors.Tensor(inner[2], ("b", "i2", "j2")),
    ])  # fmt: skip
    x = np.random.default_rng(4).normal(size=24).astype(np.float32)
    vector = tensors.Tensor(x.reshape(MODES[0]), ("i0", "i1", "i2"))
    y = (network & vector).contract(all, output_inds=("j0", "j1", "j2")).data.reshape(24)
    np.testing.assert_allclose(apply(jnp.asarray(x), cores, "factored"), y, rtol=1e-4, atol=1e-4)
