"""Foundations used by all packages: errors, units, validated descriptions, random streams, papers, tables, files.

starting         handling of Ctrl-C while the package loads
errors           InputError: a one-sentence message and the field at fault
description      frozen, validated descriptions that are JAX pytrees: Description, field, static
field_rules      validation rules of fields: numbers in a range, choices, strings, nested descriptions
checks           validation of function arguments: integers, numbers in a range
equality, dtypes  comparison by value; dtypes of physics and products
units            parsing and printing of "25 uS" and "1 day"; SI units inside
random           named noise streams, keys of chips and of their reads
literature       Paper, Source: sources of numbers; cited, papers_from; papers.bib with the papers of this package
straight_through  straight-through estimators for rounding and clipping
processes        arrays that several processes hold together (jax.distributed)
call_inputs      inputs of a model's call: arrays, tuples, pytrees, Inputs, Shared
blocks           with blocks that change how the code inside them is traced
extrapolation    detection and marking of results beyond measured data
files, netcdf, toml_lines, toml_text, tables, version   reading and writing
"""

from analogsim.base import starting as starting  # isort: skip  # first: handles Ctrl-C while the rest loads
from analogsim.base.call_inputs import Inputs as Inputs
from analogsim.base.call_inputs import Shared as Shared
from analogsim.base.description import Description as Description
from analogsim.base.description import describe as describe
from analogsim.base.description import field as field
from analogsim.base.description import sources as sources
from analogsim.base.description import static as static
from analogsim.base.errors import InputError as InputError
from analogsim.base.literature import Paper as Paper
from analogsim.base.literature import Source as Source
from analogsim.base.literature import cited as cited
from analogsim.base.literature import papers_from as papers_from
from analogsim.base.random import normal as normal
from analogsim.base.random import stream as stream
from analogsim.base.units import seconds as seconds
from analogsim.base.units import show as show
from analogsim.base.units import show_time as show_time
from analogsim.base.version import __version__ as __version__
