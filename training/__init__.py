"""``analogsim.training``: how networks learn on analog hardware.

The layers do the main part: called with ``rngs={"analog": key}``, an analog layer computes on a fresh chip every
call, converters included, and passes gradients straight through to its kernel. What stands here are the pieces that
join it in a user's own Optax loop:

    weight_noise       Gaussian noise on kernels, for any Flax model, inside the loss
    clip_weights       an Optax transformation that keeps kernels in range
    straight_through   one value forward, the gradient of another backward
    quantise           a converter's staircase with a straight-through gradient
"""

from analogsim.converters import quantise as quantise
from analogsim.straight_through import straight_through as straight_through
from analogsim.training.clipping import clip_weights as clip_weights
from analogsim.training.noise import weight_noise as weight_noise
from analogsim.training.selection import is_kernel as is_kernel
