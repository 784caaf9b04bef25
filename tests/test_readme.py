"""The README's Python runs as it stands, block after block."""

import pathlib
import re

README = (pathlib.Path(__file__).parent.parent / "README.md").read_text()


def test_every_python_block_runs():
    names: dict = {"analogsim": __import__("analogsim")}
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    assert len(blocks) == 13
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["scores"].sizes == {"compensation": 1, "chip": 100, "time": 6}
    assert names["y"].shape == (100, 10)
    assert (names["folder"] / "chip").is_dir()
    assert names["chip"].at("1 day").time_s == 86400
    assert names["hw"].store.cell.g_max == 20e-6
    assert (names["found"] == names["jnp"].arange(200)).mean() > 0.95


def test_images_and_commands_exist():
    root = pathlib.Path(__file__).parent.parent
    for path in re.findall(r"\]\((?!http)([^)]+)\)", README) + re.findall(
        r"`((?:examples|devices)/[\w/.]+\.py)`", README
    ):
        assert (root / path).is_file(), path
