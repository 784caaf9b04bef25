"""Small models that several tests share, so that they also share compilations."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from analogsim.linen import AnalogConv, AnalogDense


class MLP(nn.Module):
    """8-6-3."""

    hardware: object = None

    @nn.compact
    def __call__(self, x):
        x = nn.relu(AnalogDense(6, hardware=self.hardware)(x))
        return AnalogDense(3, hardware=self.hardware)(x)


class PlainMLP(nn.Module):
    """The same network as a Flax user writes it."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(6)(x))
        return nn.Dense(3)(x)


class CNN(nn.Module):
    """Convolutions with stride, dilation and padding; batch normalisation; attention; a head."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.relu(nn.Conv(4, (3, 3), strides=2)(x))
        x = nn.BatchNorm(use_running_average=not train)(x)
        x = nn.Conv(6, (2, 2), padding="VALID", kernel_dilation=2)(x)
        x = nn.Dense(8)(x.reshape(x.shape[0], 1, -1))
        x = nn.MultiHeadDotProductAttention(num_heads=2)(x, x)
        return nn.Dense(3)(x[:, 0])


class SmallCNN(nn.Module):
    """One analog convolution and one analog dense layer."""

    hardware: object = None

    @nn.compact
    def __call__(self, x):
        x = nn.relu(AnalogConv(4, (3, 3), hardware=self.hardware)(x))
        return AnalogDense(3, hardware=self.hardware)(x.reshape(x.shape[0], -1))


def drawn(model, *x, **options):
    """A Linen model's variables, drawn without compiling its initialiser; what are no parameters are positive."""
    random = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda key: model.init(key, *x, **options), jax.random.key(0))

    def draw(shape):
        return jnp.asarray(random.normal(size=shape.shape).astype(shape.dtype) / max(shape.shape[0], 1) ** 0.5)

    return {
        name: jax.tree.map(draw if name == "params" else lambda a: abs(draw(a)), tree) for name, tree in shapes.items()
    }
