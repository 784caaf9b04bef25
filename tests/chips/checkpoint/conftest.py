"""Models, chips and checkpoints that no test changes."""

import jax
import pytest
from checkpoint_models import KEY, MODEL, PCM, Net, X
from flax import nnx

from analogsim import calibrate, program, save
from tests.support.models import drawn


@pytest.fixture(scope="session")
def variables():
    return calibrate(MODEL, drawn(MODEL, X), X)


@pytest.fixture(scope="session")
def chip(variables):
    return program(MODEL, variables, jax.random.key(2)).at("1 year")


@pytest.fixture(scope="session")
def chips(variables):
    return program(MODEL, variables, jax.random.split(KEY, 3)).at("1 day")


@pytest.fixture(scope="session")
def kept(tmp_path_factory, variables, chip):
    """A checkpoint that no test changes."""
    folder = tmp_path_factory.mktemp("kept") / "mlp"
    save(folder, MODEL, variables, chip)
    return folder


@pytest.fixture(scope="session")
def net():
    model = Net(PCM, nnx.Rngs(0, dropout=1))
    calibrate(model, None, X)
    return model


@pytest.fixture(scope="session")
def net_chip(net):
    return program(net, key=KEY)


@pytest.fixture(scope="session")
def kept_net(tmp_path_factory, net):
    folder = tmp_path_factory.mktemp("kept") / "net"
    save(folder, net)
    return folder
