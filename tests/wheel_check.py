"""Run by CI with the wheel's own interpreter, outside the checkout: every module imports, and a layer computes."""

import importlib
import pathlib
import pkgutil

import jax
import jax.numpy as jnp

import analogsim
import analogsim.devices
import analogsim.report
import analogsim.training

home = pathlib.Path(analogsim.__file__).parent
assert "site-packages" in str(home), home
names = [m.name for m in pkgutil.walk_packages(analogsim.__path__, "analogsim.") if not m.name.endswith("__main__")]
for name in names:
    importlib.import_module(name)
for needed in ("analogsim.devices.crossbar.pcm", "analogsim.training.noise", "analogsim.energy", "analogsim.linen"):
    assert needed in names, needed
assert (home / "py.typed").is_file()
for stray in ("devices", "training"):
    assert importlib.util.find_spec(stray) is None, f"the wheel installs a top-level package {stray}"

from analogsim.training.recipes import recipes  # noqa: E402

assert analogsim.energy.devices()["H100"].tdp_w == 700, "the wheel has no tables of machines"
assert "@article{joshi2020," in analogsim.cite(analogsim.preset("pcm")).bibtex, "the wheel has no papers"
assert analogsim.energy.validation.markdown(), "the wheel has no published points"
assert "<h1>a &amp; b</h1>" in analogsim.report.page("a & b", "", []), "the wheel has no page template"
assert "lenet" in recipes(), "the wheel has no recipes"

layer = analogsim.linen.AnalogDense(3, hardware=analogsim.preset("pcm"))
x = jnp.ones((2, 4))
chip = analogsim.program(layer, layer.init(jax.random.key(0), x), jax.random.key(1), x)
assert layer.apply(chip.at("1 year").variables, x, rngs={"analog": jax.random.key(2)}).shape == (2, 3)
print(f"wheel of analogsim {analogsim.__version__}: {len(names)} modules import, a chip runs")
