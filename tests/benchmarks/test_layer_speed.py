"""What converted layers cost beside Flax's own: ``pytest -m benchmark -n 0 -s``.

Convolutions on several tiles are convolved channel block by channel block; the alternative, cutting patches out of the
image, is timed beside it on the same tiles.
"""

import dataclasses

import flax.linen as nn
import jax
import pytest

from analogsim import convert, preset, program
from analogsim.signal_path import multiply
from analogsim.signal_path import program as write
from analogsim.signal_path.operators import convolution
from analogsim.signal_path.operators.convolution import dimension_numbers
from tests.benchmarks.timing import report

pytestmark = pytest.mark.benchmark

KEY = jax.random.key(0)
NOISELESS = preset("pcm", **{"store.cell.read_noise": 0.0, "adc.noise": None})


def chip_and_plain(layer, x, hardware):
    """Compiled calls of a layer on a chip and by itself."""
    variables = layer.init(KEY, x)
    analog = convert(layer, hardware)
    chip = program(analog, variables, KEY, x).at("1 day").variables
    on_chip = jax.jit(lambda v, x: analog.apply(v, x, rngs={"analog": KEY}))
    plain = jax.jit(layer.apply)
    return lambda: on_chip(chip, x), lambda: plain(variables, x)


def test_a_convolution_over_tiles():
    """3 x 3 x 128 -> 128 on 32 x 32 images: three tiles of 384 rows, blocks of channels against patches."""
    x = jax.random.normal(KEY, (8, 32, 32, 128))
    kernel = jax.random.normal(KEY, (3, 3, 128, 128))
    operator = convolution(kernel.shape, (1, 1), "SAME", None, None, dimension_numbers(4), 1, NOISELESS)
    patches = dataclasses.replace(operator, block=None)
    plain = jax.jit(lambda x: operator.digital(x, kernel, None))

    def run(of):
        held = write(NOISELESS, of.matrix(kernel), KEY, tile_rows=of.tile_rows).read(0.0)
        call = jax.jit(lambda r, x: multiply(NOISELESS, r, x, of, key=KEY))
        memory = call.lower(held, x).compile().memory_analysis().temp_size_in_bytes
        print(f"\n  {memory / 2**20:.0f} MiB of temporaries", end="")
        return lambda: call(held, x)

    functions = {"plain": lambda: plain(x), "blocks of channels": run(operator), "patches": run(patches)}
    report("3 x 3 x 128 -> 128, eight 32 x 32 images, converters, no read noise", functions, "plain", repeats=10)


def test_groups_and_tables():
    """Depthwise and grouped convolution, a table of 30,000 rows, attention, beside Flax's layers."""
    image = jax.random.normal(KEY, (8, 28, 28, 96))
    ids = jax.random.randint(KEY, (64, 64), 0, 30000)
    tokens = jax.random.normal(KEY, (8, 128, 256))
    cases = {
        "depthwise 3 x 3, 96 channels": (nn.Conv(96, (3, 3), feature_group_count=96), image),
        "3 x 3 in 4 groups, 96 channels": (nn.Conv(96, (3, 3), feature_group_count=4), image),
        "transposed 4 x 4, stride 2": (nn.ConvTranspose(48, (4, 4), strides=(2, 2)), image),
        "4096 rows of a table 30000 x 384": (nn.Embed(30000, 384), ids),
        "attention, 256 wide, 8 x 128": (nn.MultiHeadDotProductAttention(num_heads=4), tokens),
    }
    for name, (layer, x) in cases.items():
        on_chip, plain = chip_and_plain(layer, x, preset("pcm"))
        report(name, {"plain": plain, "chip, read noise": on_chip}, "plain", repeats=8)
