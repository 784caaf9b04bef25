"""The layout that the build relies on: every package listed, links in place, imports light."""

import os
import pathlib
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).parent.parent
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())


def _run(code: str, **options) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_package_folder_is_listed():
    found = {"analogsim"}
    for top, name in ((ROOT / "analogsim", "analogsim"), (ROOT / "devices", "analogsim.devices"),
                      (ROOT / "training", "analogsim.training")):  # fmt: skip
        for init in top.rglob("__init__.py"):
            relative = init.parent.relative_to(top)
            if name == "analogsim" and relative.parts[:1] in (("devices",), ("training",)):
                continue  # seen through the links
            found.add(".".join((name, *relative.parts)))
    assert found == set(CONFIG["tool"]["setuptools"]["packages"])


def test_links_lead_to_the_folders_at_the_top():
    for name in ("devices", "training"):
        link = ROOT / "analogsim" / name
        if link.is_symlink():
            assert os.readlink(link) == f"../{name}"


def test_works_in_a_checkout_without_links(tmp_path):
    for name in ("analogsim", "devices", "training"):
        for source in (ROOT / name).rglob("*.py"):
            relative = source.relative_to(ROOT)
            if relative.parts[:2] in (("analogsim", "devices"), ("analogsim", "training")):
                continue
            target = tmp_path / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(source.read_text())
    code = "import analogsim, analogsim.devices, analogsim.training; print(analogsim.devices.__file__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "devices" / "__init__.py")


def test_import_needs_only_the_core_dependencies():
    code = """
import sys
for name in ("xarray", "matplotlib", "sklearn", "typer", "h5netcdf", "rich.progress", "pandas", "pybtex", "jinja2"):
    sys.modules[name] = None
import analogsim, analogsim.linen, analogsim.nnx, analogsim.training, analogsim.devices
print(analogsim.preset("pcm").name)
"""
    assert _run(code).strip() == "pcm"
