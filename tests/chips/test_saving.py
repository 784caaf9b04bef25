"""What calibrate and program return can be saved and comes back bit for bit, with Orbax and with Flax's own bytes."""

import jax
import numpy as np
import pytest
from flax import serialization

from analogsim import InputError, calibrate, preset, program
from tests.support.models import MLP, drawn

PCM = preset("pcm")
MODEL = MLP(PCM)


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(1).normal(size=(20, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def variables(x):
    return calibrate(MODEL, drawn(MODEL, x), x)


@pytest.fixture(scope="module")
def chips(variables):
    """Two chips of the same model."""
    return [program(MODEL, variables, jax.random.key(k)) for k in (2, 3)]


def assert_equal(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)


@jax.jit
def apply(variables, x):
    return MODEL.apply(variables, x, rngs={"analog": jax.random.key(4)})


def output(chip, x):
    """Random reads included."""
    return apply(chip.at("1 year").variables, x)


def blank(model, variables):
    """A chip of zeros: something to be filled."""
    shapes = jax.eval_shape(lambda v: program(model, v, jax.random.key(0)), variables)
    return jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), shapes)


def test_bytes_of_calibrated_variables_come_back(x, variables):
    other = jax.tree.map(np.zeros_like, variables)
    found = serialization.from_bytes(other, serialization.to_bytes(variables))
    assert_equal(found, variables)
    program(MODEL, found, jax.random.key(0))  # the sample is still there


def test_bytes_without_a_target_keep_parameters_and_ranges(x, variables, chips):
    found = serialization.msgpack_restore(serialization.to_bytes(variables))
    layers = (
        {"params": v["params"], "ranges": {name: v["ranges"][name] for name in ("Dense_0", "Dense_1")}}
        for v in (found, variables)
    )
    np.testing.assert_array_equal(*(apply(v, x) for v in layers))
    with pytest.raises(InputError, match="pass x"):  # only the input's shape is lost
        program(MODEL, found, jax.random.key(2))
    again = program(MODEL, found, jax.random.key(2), x)
    assert_equal(jax.tree.leaves(again.cells), jax.tree.leaves(chips[0].cells))


def test_bytes_of_a_chip_come_back_and_age_alike(x, chips):
    chip, other = chips
    found = serialization.from_bytes(other, serialization.to_bytes(chip.at("1 day")))
    np.testing.assert_array_equal(output(found, x), output(chip, x))
    assert not np.array_equal(output(other, x), output(chip, x))
    assert found.time_s == 86400.0


def test_names_in_bytes_are_those_of_files_written_earlier(chips):
    names = serialization.to_state_dict(chips[0])
    of_array = {name.rpartition("['array']")[2] for name in names if name.startswith(".readings['Dense_0']")}
    assert {".mean", ".scale", ".time_s", ".hardware.store.cell.g_max"} < of_array


def test_bytes_of_another_chip_are_refused(variables, chips):
    data = serialization.to_bytes(chips[0])
    found = serialization.from_bytes(blank(MODEL, variables), data)
    assert_equal(jax.tree.leaves(found.cells), jax.tree.leaves(chips[0].cells))
    with pytest.raises(InputError, match=r"Chip\.cells.*: saved with shape \(1, 1, .*, the target has \(2, 1, "):
        serialization.from_bytes(blank(MLP(preset("pcm", rows=4)), variables), data)
    with pytest.raises(InputError, match=r"another structure than the target \(differs: \.cells"):
        serialization.from_bytes(blank(MLP(preset("ideal")), variables), data)


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


def test_an_age_that_no_chip_has_does_not_come_back(variables, chips):
    raw = serialization.to_state_dict(chips[0])
    for wrong, message in (
        (-5.0, r"Chip\.time_s = -5: must be finite and at least 0"),
        (np.nan, r"Chip\.time_s = nan"),
    ):
        with pytest.raises(InputError, match=message):
            serialization.from_state_dict(chips[1], raw | {".time_s": wrong})
