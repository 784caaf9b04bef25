"""The benchmarks' workloads in aihwkit-lightning and in aihwkit's torch tile: a program of its own, for their Python.

    python torch_peer.py aihwkit-lightning|aihwkit WORKLOAD REPEATS ARRAYS.npz

``WORKLOAD`` is ``w1`` (product of 1024 x 1024, converters and their noise), ``mlp``, ``cnn``, ``transformer`` (training
steps) or ``ages`` (one PCM chip of the MLP read at ten ages). ``ARRAYS.npz`` holds the input ``x``, the Flax parameters
by their paths and the input ranges as ``range:PATH``, so that both sides compute the same. The last line printed is
JSON: milliseconds of every call, statistics of the outputs, versions. Calls are timed on one core and on all, and the
faster kind counts: torch's threads may slow small operations down.
"""

import importlib.metadata
import json
import statistics
import sys
import time
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

AGES_S = (1.0, 10.0, 60.0, 600.0, 3600.0, 6 * 3600.0, 86400.0, 30 * 86400.0, 365 * 86400.0, 3650 * 86400.0)


def lightning():
    """Layers, optimiser and access to weights and ranges of aihwkit-lightning."""
    from aihwkit_lightning.nn import AnalogConv2d, AnalogLinear
    from aihwkit_lightning.optim import AnalogOptimizer
    from aihwkit_lightning.simulator.configs import TorchInferenceRPUConfig
    from aihwkit_lightning.simulator.parameters import WeightClipType, WeightNoiseInjectionType

    made = TorchInferenceRPUConfig()
    made.mapping.max_input_size = 512
    made.forward.inp_res = made.forward.out_res = 2**8 - 2
    made.forward.out_bound, made.forward.out_noise = 12.0, 0.04
    made.modifier.std_dev, made.modifier.noise_type = 0.05, WeightNoiseInjectionType.ADD_NORMAL
    made.pre_post.input_range.enable, made.pre_post.input_range.init_from_data = True, 0
    made.clip.type, made.clip.sigma = WeightClipType.LAYER_GAUSSIAN, 2.5

    def write(layer, weight, bias):
        layer.weight.data.copy_(weight.reshape(layer.weight.shape))
        if bias is not None:
            layer.bias.data.copy_(bias)

    def optimizer(model):
        layers = lambda: (m for m in model.modules() if hasattr(m, "clip_weights"))  # noqa: E731
        return AnalogOptimizer(torch.optim.SGD, layers, model.parameters(), lr=0.01)

    def set_range(layer, value):
        layer.input_range.data.fill_(value)

    return SimpleNamespace(
        linear=AnalogLinear, conv=AnalogConv2d, config=made, write=write, set_range=set_range, optimizer=optimizer
    )


def aihwkit(training):
    """The same of aihwkit with its torch tile; without training each vector has its own input range."""
    from aihwkit.inference import PCMLikeNoiseModel
    from aihwkit.nn import AnalogConv2d, AnalogLinear
    from aihwkit.optim import AnalogSGD
    from aihwkit.simulator.configs import TorchInferenceRPUConfig
    from aihwkit.simulator.parameters import (
        IOParameters,
        MappingParameter,
        WeightClipParameter,
        WeightModifierParameter,
    )
    from aihwkit.simulator.parameters.enums import (
        BoundManagementType,
        NoiseManagementType,
        WeightClipType,
        WeightModifierType,
    )

    made = TorchInferenceRPUConfig()
    made.mapping = MappingParameter(
        max_input_size=512, max_output_size=512, digital_bias=True, weight_scaling_omega=1.0, learn_out_scaling=False
    )
    each = NoiseManagementType.NONE if training else NoiseManagementType.ABS_MAX
    made.forward = IOParameters(
        inp_res=254.0, out_res=254.0, out_bound=12.0, out_noise=0.04, noise_management=each,
        bound_management=BoundManagementType.NONE,
    )  # fmt: skip
    if training:
        made.modifier = WeightModifierParameter(
            type=WeightModifierType.ADD_NORMAL, std_dev=0.05, rel_to_actual_wmax=True
        )
        made.pre_post.input_range.enable, made.pre_post.input_range.init_from_data = True, 0
        made.clip = WeightClipParameter(type=WeightClipType.LAYER_GAUSSIAN, sigma=2.5)
    made.noise_model, made.drift_compensation = PCMLikeNoiseModel(g_max=25.0), None

    def write(layer, weight, bias):
        layer.set_weights(weight.reshape(weight.shape[0], -1), bias)

    def set_range(layer, value):
        for tile in layer.analog_tiles():
            tile.set_input_range(float(value))

    def optimizer(model):
        made = AnalogSGD(model.parameters(), lr=0.01)
        made.regroup_param_groups(model)
        return made

    return SimpleNamespace(
        linear=AnalogLinear, conv=AnalogConv2d, config=made, write=write, set_range=set_range, optimizer=optimizer
    )


class Network(nn.Module):
    """A network whose analog layers are known by their Flax paths."""

    def __init__(self, of):
        super().__init__()
        self.of, self.named = of, {}

    def linear(self, path, n_in, n_out, bias=True):
        self.named[path] = layer = self.of.linear(n_in, n_out, bias=bias, rpu_config=self.of.config)
        return layer

    def conv(self, path, n_in, n_out, size, stride=1):
        self.named[path] = layer = self.of.conv(
            n_in, n_out, size, stride=stride, padding=size // 2, rpu_config=self.of.config
        )
        return layer


class Product(Network):
    """1024 x 1024 without bias."""

    def __init__(self, of, arrays):
        super().__init__(of)
        self.only = self.linear("", *arrays["kernel"].shape, bias=False)

    def forward(self, x):
        return self.only(x)


class MLP(Network):
    """784-512-256-10."""

    def __init__(self, of, arrays):
        super().__init__(of)
        shapes = [arrays[f"Dense_{i}/kernel"].shape for i in range(3)]
        self.layers = nn.ModuleList([self.linear(f"Dense_{i}", *shape) for i, shape in enumerate(shapes)])

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


class ResNet8(Network):
    """Three residual blocks of two 3 x 3 convolutions."""

    def __init__(self, of, arrays):
        super().__init__(of)
        number = iter(range(9))

        def conv(*sizes):
            return self.conv(f"Conv_{next(number)}", *sizes)

        self.first, self.first_norm = conv(3, 16, 3), nn.GroupNorm(8, 16)
        self.blocks = nn.ModuleList()
        for n_in, n_out, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2)):
            parts = {"skip": conv(n_in, n_out, 1, stride)} if stride > 1 else {}
            parts |= {"a": conv(n_in, n_out, 3, stride), "na": nn.GroupNorm(8, n_out)}
            parts |= {"b": conv(n_out, n_out, 3), "nb": nn.GroupNorm(8, n_out)}
            self.blocks.append(nn.ModuleDict(parts))
        self.head = self.linear("Dense_0", 64, 10)

    def forward(self, x):
        x = F.relu(self.first_norm(self.first(x.permute(0, 3, 1, 2))))
        for block in self.blocks:
            h = F.relu(block["na"](block["a"](x)))
            x = F.relu(block["nb"](block["b"](h)) + (block["skip"](x) if "skip" in block else x))
        return self.head(x.mean((2, 3)))


class Block(Network):
    """A transformer block of 512 features and 8 heads."""

    def __init__(self, of, arrays):
        super().__init__(of)
        attention = "MultiHeadDotProductAttention_0"
        self.norms = nn.ModuleList([nn.LayerNorm(512), nn.LayerNorm(512)])
        self.q, self.k, self.v, self.o = (
            self.linear(f"{attention}/{name}", 512, 512) for name in ("query", "key", "value", "out")
        )
        down, up = sorted(("Dense_0", "Dense_1"), key=lambda name: arrays[f"{name}/kernel"].shape[1])
        self.up, self.down = self.linear(up, 512, 2048), self.linear(down, 2048, 512)

    def forward(self, x):
        b, t, _ = x.shape
        h = self.norms[0](x)
        q, k, v = (layer(h).view(b, t, 8, 64).transpose(1, 2) for layer in (self.q, self.k, self.v))
        x = x + self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, 512))
        return x + self.down(F.relu(self.up(self.norms[1](x))))


NETWORKS = {"w1": Product, "mlp": MLP, "ages": MLP, "cnn": ResNet8, "transformer": Block}


def load(model, arrays):
    """Write the Flax parameters and input ranges into the layers."""
    for path, layer in model.named.items():
        prefix = f"{path}/" if path else ""
        kernel, bias = torch.tensor(arrays[f"{prefix}kernel"]), arrays.get(f"{prefix}bias")
        if kernel.ndim == 4:  # height, width, in, out
            weight = kernel.permute(3, 2, 0, 1)
        elif path.endswith("/out"):  # heads, features of a head, out
            weight = kernel.reshape(-1, kernel.shape[-1]).T
        else:
            weight = kernel.reshape(kernel.shape[0], -1).T
        model.of.write(layer, weight.contiguous(), None if bias is None else torch.tensor(bias.reshape(-1)))
        if f"range:{path}" in arrays:
            model.of.set_range(layer, float(arrays[f"range:{path}"]))


def outputs(model, x, arrays, draws, chip=None):
    """Mean and spread of the outputs, spread between draws, and the mean over layers of the inputs beyond ranges."""
    clipped, hooks = [], []
    for path, layer in model.named.items():
        if f"range:{path}" in arrays:
            limit = float(arrays[f"range:{path}"])
            hooks.append(
                layer.register_forward_pre_hook(
                    lambda _, inputs, limit=limit: clipped.append(float((inputs[0].abs() > limit).float().mean()))
                )
            )
    with torch.no_grad():
        y = torch.stack([model(x) if chip is None else chip() for _ in range(draws)])
    for hook in hooks:
        hook.remove()
    return {
        "mean": float(y.mean()),
        "spread": float(y.std()),
        "clipped": float(np.mean(clipped)) if clipped else None,
        "noise": float(y.var(0).mean() ** 0.5),
    }


def calls(name, model, x):
    """A function to be timed."""
    if name == "w1":
        return lambda: model(x)
    if name == "ages":

        def life():
            for layer in model.named.values():
                layer.program_analog_weights()
            for age_s in AGES_S:
                for layer in model.named.values():
                    layer.drift_analog_weights(age_s)
                y = model(x)
            return y

        return life
    labels, optimizer = torch.zeros(len(x), dtype=torch.long), model.of.optimizer(model)

    def step():
        optimizer.zero_grad()
        y = model(x)
        ((y**2).mean() if name == "transformer" else F.cross_entropy(y, labels)).backward()
        optimizer.step()

    return step


def timed(call, repeats):
    """Milliseconds of every call after one to warm up."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return times


def main(package, name, repeats, file):
    """Compare and time."""
    torch.manual_seed(0)
    training = name not in ("w1", "ages")
    with np.load(file) as loaded:
        arrays = dict(loaded)
    of = lightning() if package == "aihwkit-lightning" else aihwkit(training)
    model, x = NETWORKS[name](of, arrays), torch.tensor(arrays["x"])
    load(model, arrays)
    model.train(training)
    times, cores = {}, torch.get_num_threads()
    with torch.set_grad_enabled(training):
        call = calls(name, model, x)
        found = outputs(model, x, arrays, 8, call) if name == "ages" else outputs(model, x, arrays, 4)
        for threads in sorted({1, cores}):
            torch.set_num_threads(threads)
            times[threads] = timed(call, repeats)
    versions = {each: importlib.metadata.version(each) for each in (package, "torch")}
    best = min(times, key=lambda threads: statistics.median(times[threads]))
    print(
        json.dumps({"ms": times[best], "ms_by_threads": times, "threads": best, "outputs": found, "versions": versions})
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
