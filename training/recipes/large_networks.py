"""Image networks of the literature as plain Flax modules, for estimates of energy and area; none is trained here.

alexnet     five convolutions, three of them in two groups, and three dense layers; 227 x 227 images, 1000 classes
            (Krizhevsky, Sutskever and Hinton, NIPS 2012): 665,784,864 multiply-accumulates in the convolutions
resnet50    3, 4, 6 and 3 bottleneck blocks, with the stride in the 3 x 3 convolution; 224 x 224 images, 1000 classes
            (He, Zhang, Ren and Sun, CVPR 2016, doi 10.1109/CVPR.2016.90): 4.09 billion multiply-accumulates
"""

import functools

import flax.linen as nn
import jax


class AlexNet(nn.Module):
    """AlexNet, for images ``[n, 227, 227, 3]``."""

    classes: int = 1000

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        pool = functools.partial(nn.max_pool, window_shape=(3, 3), strides=(2, 2))
        x = pool(nn.relu(nn.Conv(96, (11, 11), strides=4, padding="VALID")(x)))
        x = pool(nn.relu(nn.Conv(256, (5, 5), padding=2, feature_group_count=2)(x)))
        x = nn.relu(nn.Conv(384, (3, 3), padding=1)(x))
        x = nn.relu(nn.Conv(384, (3, 3), padding=1, feature_group_count=2)(x))
        x = pool(nn.relu(nn.Conv(256, (3, 3), padding=1, feature_group_count=2)(x)))
        x = x.reshape(x.shape[0], -1)
        for features in (4096, 4096):
            x = nn.relu(nn.Dense(features)(x))
        return nn.Dense(self.classes)(x)


class Bottleneck(nn.Module):
    """Convolutions of 1 x 1, 3 x 3 and 1 x 1, each with batch normalisation, and a residual connection."""

    features: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        norm = functools.partial(nn.BatchNorm, use_running_average=True)
        conv = functools.partial(nn.Conv, use_bias=False)
        y = nn.relu(norm()(conv(self.features, (1, 1))(x)))
        y = nn.relu(norm()(conv(self.features, (3, 3), self.stride)(y)))
        y = norm()(conv(4 * self.features, (1, 1))(y))
        if x.shape != y.shape:
            x = norm()(conv(4 * self.features, (1, 1), self.stride)(x))
        return nn.relu(x + y)


class ResNet50(nn.Module):
    """ResNet-50 in inference mode, for images ``[n, 224, 224, 3]``."""

    classes: int = 1000

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Conv(64, (7, 7), 2, padding=3, use_bias=False)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=True)(x))
        x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        for stage, blocks in enumerate((3, 4, 6, 3)):
            for block in range(blocks):
                x = Bottleneck(64 * 2**stage, 2 if stage and not block else 1)(x)
        return nn.Dense(self.classes)(x.mean((1, 2)))
