"""Behaviour of an analog layer in each mode, shared by both Flax APIs.

layer            one call of an analog layer: read or program its tiles, multiply, track its ranges
modes            digital, programming, observing: behaviour of a layer when it is called
options          options that Flax passes to matmul hooks
inventory        a model's layers and the products outside them, by abstract evaluation
weight_products  products with weights in a traced program
compression      which layers of a model are stored as cores
collections      a model's arrays as a checkpoint names them
mesh_layer       layers whose parameters are the phases of an interferometer mesh
"""

from analogsim.layers.layer import LayerUse as LayerUse
from analogsim.layers.modes import digital as digital
