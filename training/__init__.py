"""``analogsim.training``: hardware-aware training of neural networks.

Called with ``rngs={"analog": key}``, an analog layer computes with the weights defined by the field ``training`` of its
hardware, converters included, and passes gradients straight through to its kernel.

Weights during training, ``preset("pcm", training=...)``
    FreshChip             a freshly programmed, aged chip per call: exact, the default
    DeviceNoise           the same errors by mean and variance: one random number per weight
    ProgrammingNoise      programming error only
    AdditiveNoise, MultiplicativeNoise, ReadNoise, Discretise, DropConnect, StuckCells, Chain
Converter ranges during training, ``preset("pcm", input_range=..., output_range=...)``
    LearnedRange, TrackedRange, DynamicRange
Complete training
    fine_tune             hardware-aware fine-tuning of a pretrained network, with distillation from the digital model
Analysis and tuning
    sensitivity           gradient of the loss with respect to every number of the hardware, over sampled chips
    tune                  converter ranges and conductance scales by gradient descent on a calibration set
Parts of a custom Optax loop
    make_step             one step of fine_tune as a pure function
    cross_entropy, distillation
    scaled_noise          a schedule of the noise level, in one compilation
    modified_weights      a weight modifier on the kernels of any Flax model, inside the loss
    weight_noise          the same with Gaussian noise
    clip_weights          an Optax transformation that clips kernels; learned_clip learns the limits
    reestimate_batch_norm running statistics of a programmed chip
    with_output_scales    learned digital output scales; remap_weights keeps the columns at one size,
                          fold_output_scales multiplies the scales into the kernels
    straight_through      one value forward, the gradient of another backward
    quantise              a quantiser with a straight-through gradient
"""

from analogsim.base.straight_through import straight_through as straight_through
from analogsim.converters import quantise as quantise
from analogsim.converters.range_rules import DynamicRange as DynamicRange
from analogsim.converters.range_rules import LearnedRange as LearnedRange
from analogsim.converters.range_rules import TrackedRange as TrackedRange
from analogsim.hardware.fresh_chip import FreshChip as FreshChip
from analogsim.hardware.weight_modifiers import AdditiveNoise as AdditiveNoise
from analogsim.hardware.weight_modifiers import Chain as Chain
from analogsim.hardware.weight_modifiers import DeviceNoise as DeviceNoise
from analogsim.hardware.weight_modifiers import Discretise as Discretise
from analogsim.hardware.weight_modifiers import DropConnect as DropConnect
from analogsim.hardware.weight_modifiers import MultiplicativeNoise as MultiplicativeNoise
from analogsim.hardware.weight_modifiers import ProgrammingNoise as ProgrammingNoise
from analogsim.hardware.weight_modifiers import ReadNoise as ReadNoise
from analogsim.hardware.weight_modifiers import StuckCells as StuckCells
from analogsim.training.batch_norm import reestimate_batch_norm as reestimate_batch_norm
from analogsim.training.clipping import clip_weights as clip_weights
from analogsim.training.clipping import learned_clip as learned_clip
from analogsim.training.effects import Sensitivity as Sensitivity
from analogsim.training.fine_tune import FineTuned as FineTuned
from analogsim.training.fine_tune import fine_tune as fine_tune
from analogsim.training.losses import cross_entropy as cross_entropy
from analogsim.training.losses import distillation as distillation
from analogsim.training.noise import modified_weights as modified_weights
from analogsim.training.noise import weight_noise as weight_noise
from analogsim.training.output_scales import fold_output_scales as fold_output_scales
from analogsim.training.output_scales import remap_weights as remap_weights
from analogsim.training.output_scales import with_output_scales as with_output_scales
from analogsim.training.schedule import scaled_noise as scaled_noise
from analogsim.training.selection import is_kernel as is_kernel
from analogsim.training.sensitivity import sensitivity as sensitivity
from analogsim.training.step import make_step as make_step
from analogsim.training.tuning import Tuned as Tuned
from analogsim.training.tuning import tune as tune
