"""Experiments defined by a TOML file: a data set, a network, hardware, training and evaluation.

recipe      Recipe, load_recipe and the recipes of the package
run         run a recipe
sweep_file  sweeps defined by a file
datasets, networks, large_networks   what a recipe can name
lifetime    accuracy over ten years, as a summary and a table
"""

from analogsim.training.recipes.recipe import Recipe as Recipe
from analogsim.training.recipes.recipe import load_recipe as load_recipe
from analogsim.training.recipes.recipe import recipes as recipes
