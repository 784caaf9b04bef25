"""Experiments from a file: a data set, a network, hardware, training, evaluation; and the files that come along.

recipe      Recipe: what a file says
run         carrying it out
sweep_file  sweeps over a recipe
datasets, networks, large_networks   what a recipe may name
lifetime    accuracy over ten years, in words and as a table
"""

from analogsim.training.recipes.recipe import Recipe as Recipe
from analogsim.training.recipes.recipe import load_recipe as load_recipe
from analogsim.training.recipes.recipe import recipes as recipes
