"""The floor plan: every file in a room, rooms import only what stands below them, no circles, faces that only hand on.

The order of the rooms is that of the contract in ``pyproject.toml``, which ``lint-imports`` checks as well; here it is
read from the sources by itself, imports inside functions and for type checkers included.
"""

import ast
import graphlib
import importlib
import inspect
import pathlib
import re
import tomllib
from typing import Any

import pytest

ROOT = pathlib.Path(__file__).parent.parent
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())
LAYERS = CONFIG["tool"]["importlinter"]["contracts"][0]["layers"]  # from the top down
FLOOR = {room: -i for i, layer in enumerate(LAYERS) for room in layer.split(" | ")}


def _modules() -> dict[str, pathlib.Path]:
    """Every module of the package and its source."""
    modules = {}
    for top, package in (
        ("analogsim", "analogsim"),
        ("devices", "analogsim.devices"),
        ("training", "analogsim.training"),
    ):
        for source in (ROOT / top).rglob("*.py"):
            inside = source.relative_to(ROOT / top).with_suffix("").parts
            if top == "analogsim" and inside[0] in ("devices", "training"):
                continue  # seen through a link
            modules[".".join((package, *inside)).removesuffix(".__init__")] = source
    return modules


MODULES = _modules()
TREES = {name: ast.parse(source.read_text(encoding="utf-8")) for name, source in MODULES.items()}


def _imports(name: str) -> set[str]:
    """The modules of the package that a module imports, wherever in the file."""
    imported = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are absolute"
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                imported.add(module if module in MODULES else node.module)
    return imported & set(MODULES)


IMPORTS = {name: _imports(name) for name in MODULES}


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_there_are_no_circles():
    try:
        graphlib.TopologicalSorter(IMPORTS).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_no_import_runs_upward_or_to_a_neighbour():
    wrong = [
        f"{module} -> {other}"
        for module, others in IMPORTS.items()
        for other in others
        if _room(module) in FLOOR and _room(other) in FLOOR and _room(module) != _room(other)
        if FLOOR[_room(other)] >= FLOOR[_room(module)]
    ]
    assert not wrong


def test_every_room_has_its_floor_and_nothing_lies_flat():
    rooms = {_room(module) for module, source in MODULES.items() if source.name == "__init__.py"} - {""}
    assert rooms | {"storage"} == set(FLOOR)
    assert {p.name for p in (ROOT / "analogsim").glob("*.py")} == {"__init__.py", "__main__.py", "storage.py"}


@pytest.mark.parametrize("name", [name for name, source in MODULES.items() if source.name == "__init__.py"])
def test_a_face_says_what_is_behind_it_and_defines_nothing(name):
    """Except the package's own, which loads most rooms on first use."""
    tree = TREES[name]
    assert ast.get_docstring(tree)
    if name != "analogsim":
        assert all(isinstance(node, ast.ImportFrom | ast.Import | ast.Expr) for node in tree.body)


def _offered(room: str) -> list[tuple[str, Any]]:
    """Classes and functions of the package that the face of a room offers."""
    face = importlib.import_module(room)
    named = [(name, getattr(face, name)) for name in dir(face) if not name.startswith("_")]
    return [
        (name, item)
        for name, item in named
        if callable(item) and getattr(item, "__module__", "").startswith("analogsim") and hasattr(item, "__qualname__")
    ]


@pytest.mark.parametrize("room", [name for name, source in MODULES.items() if source.name == "__init__.py"])
def test_what_a_room_offers_is_documented(room):
    """A sentence for every name, and every parameter of a function under its name in ``Args``."""
    missing = []
    for name, item in _offered(room):
        text = inspect.getdoc(item) or ""
        if not text.partition("\n\n")[0].rstrip().endswith((".", ":")):
            missing.append(f"{name}: no sentence")
        if isinstance(item, type):
            continue
        described = text.partition("Args:")[2]
        for parameter in inspect.signature(item).parameters:
            if not re.search(rf"(?<!\w){parameter}(?!\w)", described):
                missing.append(f"{name}: {parameter}")
    assert not missing


def _where_things_are() -> list[tuple[str, str]]:
    """The files and names of the table of questions in CONTRIBUTING.md."""
    rows = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()
    return [
        tuple(re.findall(r"`([^`]+)`", row)[-2:])
        for row in rows
        if row.startswith("| ") and row.count("|") == 4 and "?" in row
    ]


@pytest.mark.parametrize(("path", "name"), _where_things_are())
def test_questions_lead_to_the_file_that_answers(path, name):
    assert re.search(rf"\b{re.escape(name)}\b", (ROOT / path).read_text(encoding="utf-8"))


def _names_from_the_package(source: pathlib.Path) -> set[tuple[str, str]]:
    """Every (module, name) that a file imports from the package or reads from a module of it."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    names, modules = set(), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "analogsim":
            names |= {(node.module, alias.name) for alias in node.names}
            modules |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            module = modules[node.value.id]
            if module in MODULES:
                names.add((module, node.attr))
    return names


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_examples_use_names_that_the_package_has(path):
    """Seconds instead of the minutes that running every example takes; they are run in CI as well."""
    assert not [
        f"{module}.{name}"
        for module, name in sorted(_names_from_the_package(path))
        if f"{module}.{name}" not in MODULES and not hasattr(importlib.import_module(module), name)
    ]
