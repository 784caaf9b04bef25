"""The README's Python runs as it stands: block after block, beginning without any name."""

import contextlib
import pathlib
import re

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
#: What every block holds, and the line of the README before it.
BLOCKS = [
    (README[: found.start()].count("\n") + 1, found[1])
    for found in re.finditer(r"^```python\n(.*?)^```$", README, flags=re.S | re.M)
]


def run(block: str, line: int, names: dict) -> None:
    """Run one block; an error tells which, and its traceback has the README's line numbers."""
    try:
        exec(compile("\n" * line + block, str(ROOT / "README.md"), "exec"), names)
    except BaseException as error:
        begins = "\n".join(f"    {text}" for text in block.splitlines()[:3])
        error.add_note(f"README.md, the block after line {line}, which begins\n{begins}")
        raise


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """The names that all blocks leave, run in their order; each goes on with the names of those before it."""
    names: dict = {}
    with contextlib.chdir(tmp_path_factory.mktemp("readme")):  # a block writes into out/
        for line, block in BLOCKS:
            run(block, line, names)
        yield names


def test_every_fence_of_python_is_a_block():
    assert len(BLOCKS) == README.count("```python") > 0


def test_a_block_that_fails_is_named():
    with pytest.raises(ZeroDivisionError) as caught:
        run("first = 1\nsecond = first / 0\nthird = 3\nfourth = 4\n", 41, {})
    (note,) = caught.value.__notes__
    assert note.startswith("README.md, the block after line 41")
    assert note.splitlines()[1:] == ["    first = 1", "    second = first / 0", "    third = 3"]
    assert caught.traceback[-1].lineno + 1 == 43  # pytest counts from zero


def test_chips_are_scored_at_six_ages(names):
    assert names["scores"].sizes == {"compensation": 1, "chip": 100, "time": 6}
    assert names["y"].shape == (100, 10)


def test_a_chip_is_saved_and_read_at_an_age(names):
    assert (names["folder"] / "chip").is_dir()
    assert names["chip"].at("1 day").time_s == 86400


def test_hardware_has_the_fields_that_it_was_given(names):
    assert names["hw"].store.cell.g_max == 20e-6


def test_a_sweep_and_a_page_are_written(names):
    assert (names["folder"] / "results.nc").is_file()
    assert pathlib.Path("out/energy.html").is_file()


def test_patterns_are_recalled(names):
    assert (np.asarray(names["recalled"]) == np.arange(200)).mean() > 0.95


def test_images_and_commands_exist():
    for path in re.findall(r"\]\((?!http)([^)]+)\)", README) + re.findall(
        r"`((?:examples|devices)/[\w/.]+\.py)`", README
    ):
        assert (ROOT / path).is_file(), path
