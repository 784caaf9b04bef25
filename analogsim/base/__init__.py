"""What every room stands on: errors, units, validated descriptions, random streams, papers, tables, files.

starting         Ctrl-C while the package loads
errors           InputError: one sentence, and the field that it is about
description      frozen, validated descriptions that are JAX pytrees: Description, field, static
field_rules      what a field of a description may hold: numbers in a range, choices, strings, other descriptions
checks           arguments of functions: integers, numbers in a range
equality, dtypes  comparison by value; which dtype computes what
units            "25 uS" and "1 day" at the border, SI inside
random           named noise streams, keys of chips and of their reads
literature       Paper, Source: what stands behind a number; cited, papers_from; papers.bib, the project's papers
straight_through  rounding and clipping whose gradients pass
call_inputs      what a model is called with: arrays, tuples, pytrees, Inputs, Shared
blocks           with blocks that change what is traced inside them
extrapolation    what lies beyond measured data, and how that is marked
files, netcdf, toml_lines, toml_text, tables, version   reading and writing
"""

from analogsim.base import starting as starting  # isort: skip  # first: it takes care of Ctrl-C while the rest loads
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
