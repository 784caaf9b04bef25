"""What calibrate and program return can be saved and comes back bit for bit, with Orbax and with Flax's own bytes."""

import jax
import numpy as np
import pytest
from flax import serialization
from models import MLP

from analogsim import InputError, calibrate, preset, program

PCM = preset("pcm")
MODEL = MLP(PCM)


@pytest.fixture(scope="module")
def x():
    return jax.random.normal(jax.random.key(1), (20, 8))


@pytest.fixture(scope="module")
def variables(x):
    return calibrate(MODEL, MODEL.init(jax.random.key(0), x), x)


@pytest.fixture(scope="module")
def chips(variables):
    """Two chips of the same model."""
    return [program(MODEL, variables, jax.random.key(k)) for k in (2, 3)]


def assert_equal(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)


def output(chip, x):
    """Random reads included."""
    return MODEL.apply(chip.at("1 year").variables, x, rngs={"analog": jax.random.key(4)})


def test_bytes_of_calibrated_variables_come_back(x, variables):
    other = calibrate(MODEL, MODEL.init(jax.random.key(5), x), 2 * x)
    found = serialization.from_bytes(other, serialization.to_bytes(variables))
    assert_equal(found, variables)
    program(MODEL, found, jax.random.key(0))  # the sample is still there


def test_bytes_without_a_target_keep_parameters_and_ranges(x, variables):
    found = serialization.msgpack_restore(serialization.to_bytes(variables))
    rngs = {"analog": jax.random.key(4)}
    np.testing.assert_array_equal(MODEL.apply(found, x, rngs=rngs), MODEL.apply(variables, x, rngs=rngs))
    with pytest.raises(InputError, match="pass x"):  # only the input's shape is lost
        program(MODEL, found, jax.random.key(2))
    again, first = program(MODEL, found, jax.random.key(2), x), program(MODEL, variables, jax.random.key(2))
    assert_equal(jax.tree.leaves(again.cells), jax.tree.leaves(first.cells))


def test_bytes_of_a_chip_come_back_and_age_alike(x, chips):
    chip, other = chips
    found = serialization.from_bytes(other, serialization.to_bytes(chip.at("1 day")))
    np.testing.assert_array_equal(output(found, x), output(chip, x))
    assert not np.array_equal(output(other, x), output(chip, x))
    assert found.time_s == 86400.0


def test_bytes_of_another_chip_are_refused(x, chips):
    data = serialization.to_bytes(chips[0])
    wide = MLP(preset("pcm", rows=4))
    target = program(wide, wide.init(jax.random.key(0), x), jax.random.key(0), x)
    with pytest.raises(InputError, match="Chip"):
        serialization.from_bytes(target, data)
    exact = MLP(preset("ideal"))
    target = program(exact, exact.init(jax.random.key(0), x), jax.random.key(0), x)
    with pytest.raises(InputError, match="another structure"):
        serialization.from_bytes(target, data)


@pytest.mark.filterwarnings("ignore")  # Orbax's own
def test_orbax_brings_back_variables_and_chips(tmp_path, x, variables, chips):
    import orbax.checkpoint as ocp

    chip, other = chips
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "network", variables)
        checkpointer.save(tmp_path / "chip", chip)
        checkpointer.wait_until_finished()
        assert_equal(checkpointer.restore(tmp_path / "network", variables), variables)
        found = checkpointer.restore(tmp_path / "chip", other)
        bare = checkpointer.restore(tmp_path / "network")
    np.testing.assert_array_equal(output(found, x), output(chip, x))
    np.testing.assert_array_equal(
        bare["ranges"]["Dense_0"]["analog"]["input"], variables["ranges"]["Dense_0"]["analog"]["input"]
    )
    with pytest.raises(InputError, match="pass x"):
        program(MODEL, bare, jax.random.key(2))
