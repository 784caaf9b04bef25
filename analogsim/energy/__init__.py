"""What an inference costs in joules, beside a GPU, an Eyeriss and a brain.

    c = analogsim.energy.compare(model, variables, x_sample)
    print(c)                   # both tables, and what they leave out
    c.table()                  # one row a system and batch: a range of joules, never one flattering point
    c.components_table()       # where the joules of the hardware go, with the source of every price
    c.to_dataset()             # the same numbers as an xarray.Dataset

Every system runs the same work: the matrix products of the model's analog layers, counted on ``x_sample``. The model of
each one stands in its own file (``analog``, ``digital``, ``eyeriss``, ``brain``) with its equations and citations.
"""

from analogsim.energy.bill import Bill as Bill
from analogsim.energy.bill import Line as Line
from analogsim.energy.comparison import SYSTEMS as SYSTEMS
from analogsim.energy.comparison import Comparison as Comparison
from analogsim.energy.comparison import compare as compare
