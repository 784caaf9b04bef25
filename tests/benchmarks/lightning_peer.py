"""A hardware-aware training step of aihwkit-lightning, timed by itself: run by ``test_training_speed``.

    python lightning_peer.py mlp|cnn|transformer REPEATS        prints the milliseconds of every step as JSON

A Python with ``torch`` and ``aihwkit-lightning`` of its own is named by ``ANALOGSIM_PEER_PYTHON``. The networks are
those of ``test_training_speed``: 5 % additive weight noise, 8-bit inputs with a learned range, 8-bit outputs with range
12 and noise 0.04, 512-row tiles, clipping at 2.5 standard deviations, SGD.
"""

import json
import sys
import time

import torch
import torch.nn.functional as F
from aihwkit_lightning.nn import AnalogConv2d, AnalogLinear
from aihwkit_lightning.optim import AnalogOptimizer
from aihwkit_lightning.simulator.configs import TorchInferenceRPUConfig
from aihwkit_lightning.simulator.parameters import WeightClipType, WeightNoiseInjectionType
from torch import nn


def config():
    """The device and training settings."""
    made = TorchInferenceRPUConfig()
    made.mapping.max_input_size = 512
    made.forward.inp_res = made.forward.out_res = 2**8 - 2
    made.forward.out_bound, made.forward.out_noise = 12.0, 0.04
    made.modifier.std_dev, made.modifier.noise_type = 0.05, WeightNoiseInjectionType.ADD_NORMAL
    made.pre_post.input_range.enable = True
    made.pre_post.input_range.init_from_data = 0
    made.clip.type, made.clip.sigma = WeightClipType.LAYER_GAUSSIAN, 2.5
    return made


def linear(n_in, n_out):
    """An analog layer."""
    return AnalogLinear(n_in, n_out, rpu_config=config())


def conv(n_in, n_out, size, stride=1):
    """An analog convolution."""
    return AnalogConv2d(n_in, n_out, size, stride=stride, padding=size // 2, rpu_config=config())


class ResNet8(nn.Module):
    """Three residual blocks of two 3 x 3 convolutions."""

    def __init__(self):
        super().__init__()
        self.first, self.first_norm = conv(3, 16, 3), nn.GroupNorm(8, 16)
        self.blocks = nn.ModuleList()
        for n_in, n_out, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2)):
            parts = dict(
                a=conv(n_in, n_out, 3, stride), na=nn.GroupNorm(8, n_out), b=conv(n_out, n_out, 3),
                nb=nn.GroupNorm(8, n_out),
            )  # fmt: skip
            if stride > 1:
                parts["skip"] = conv(n_in, n_out, 1, stride)
            self.blocks.append(nn.ModuleDict(parts))
        self.head = linear(64, 10)

    def forward(self, x):
        x = F.relu(self.first_norm(self.first(x)))
        for block in self.blocks:
            h = F.relu(block["na"](block["a"](x)))
            x = F.relu(block["nb"](block["b"](h)) + (block["skip"](x) if "skip" in block else x))
        return self.head(x.mean((2, 3)))


class Block(nn.Module):
    """A transformer block of 512 features and 8 heads."""

    def __init__(self):
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(512), nn.LayerNorm(512)])
        self.q, self.k, self.v, self.o = (linear(512, 512) for _ in range(4))
        self.up, self.down = linear(512, 2048), linear(2048, 512)

    def forward(self, x):
        b, t, _ = x.shape
        h = self.norms[0](x)
        q, k, v = (layer(h).view(b, t, 8, 64).transpose(1, 2) for layer in (self.q, self.k, self.v))
        x = x + self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, 512))
        return x + self.down(F.relu(self.up(self.norms[1](x))))


def workload(name):
    """A model, its input and its loss."""
    if name == "mlp":
        model = nn.Sequential(linear(784, 512), nn.ReLU(), linear(512, 256), nn.ReLU(), linear(256, 10))
        labels = torch.zeros(128, dtype=torch.long)
        return model, torch.randn(128, 784), lambda y: F.cross_entropy(y, labels)
    if name == "cnn":
        labels = torch.zeros(64, dtype=torch.long)
        return ResNet8(), torch.randn(64, 3, 32, 32), lambda y: F.cross_entropy(y, labels)
    return Block(), torch.randn(8, 128, 512), lambda y: (y**2).mean()


def main(name, repeats):
    """Time the steps."""
    torch.manual_seed(0)
    model, x, loss = workload(name)
    layers = lambda: (m for m in model.modules() if hasattr(m, "clip_weights"))  # noqa: E731
    optimizer = AnalogOptimizer(torch.optim.SGD, layers, model.parameters(), lr=0.01)
    times = []
    for _ in range(repeats + 3):
        start = time.perf_counter()
        optimizer.zero_grad()
        loss(model(x)).backward()
        optimizer.step()
        times.append(1e3 * (time.perf_counter() - start))
    print(json.dumps(times[3:]))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
