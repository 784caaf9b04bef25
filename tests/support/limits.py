"""Limits of the sizes and numbers of compiled programs."""

import pathlib
import tomllib

#: ``{"operations": {program: largest number}, "compilations": {task: largest number}}``.
LIMITS = tomllib.loads((pathlib.Path(__file__).parents[1] / "program_limits.toml").read_text())
