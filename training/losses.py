"""Losses: cross entropy, and distillation from a digital teacher.

Knowledge distillation trains a student, here the network on analog hardware, on the softened outputs of a teacher, here
the digital model. With logits s (student) and t (teacher), temperature T and weight a,

    L = (1 - a) cross_entropy(s, labels) + a T^2 KL(softmax(t/T) || softmax(s/T))

G. Hinton, O. Vinyals, J. Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531 (2015).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from analogsim.base.checks import check_fraction, check_number
from analogsim.base.errors import InputError
from analogsim.base.types import Numeric
from analogsim.chips.metrics import check_classes

#: ``loss(outputs, labels) -> number``.
Loss = Callable[[jax.Array, jax.Array], jax.Array]


def cross_entropy(outputs: jax.Array, labels: jax.Array) -> jax.Array:
    """Return the mean cross entropy.

    Args:
      outputs: logits ``[..., classes]``.
      labels: class numbers ``[...]``, integers.

    Raises:
      InputError: if the shapes do not match.

    Example:
      >>> round(float(cross_entropy(jnp.zeros((3, 4)), jnp.array([0, 1, 2]))), 4)      # ln 4
      1.3863
    """
    if labels.shape != outputs.shape[:-1]:
        raise InputError(
            f"labels: shape {labels.shape}: cross entropy needs one class number for each of the outputs of shape "
            f"{outputs.shape}, that is shape {outputs.shape[:-1]}; pass another loss for other labels"
        )
    return optax.softmax_cross_entropy_with_integer_labels(outputs.astype(jnp.float32), labels).mean()


def check_classes_of(loss: Loss, outputs: Any, labels: Any) -> None:
    """Check class numbers against the outputs' shape, if the loss is ``cross_entropy``."""
    if loss is cross_entropy and labels.shape == outputs.shape[:-1]:
        check_classes(labels, outputs.shape[-1])


def distillation(
    outputs: jax.Array, labels: jax.Array, teacher: jax.Array, *, weight: Any = 0.5, temperature: Numeric = 2.0,
    loss: Loss = cross_entropy,
) -> jax.Array:  # fmt: skip
    """Return the distillation loss; see the module's docstring for the equation.

    Args:
      outputs, teacher: logits ``[..., classes]`` of student and teacher; no gradient passes to the teacher's.
      labels: labels for ``loss``.
      weight: a, in [0, 1].
      temperature: T, greater than 0.
      loss: loss of the task, ``loss(outputs, labels) -> number``.

    Raises:
      InputError: for a weight or temperature out of range, or as ``loss``.

    Example:
      >>> same = jnp.array([[1.0, 2.0]])
      >>> float(distillation(same, jnp.array([1]), same, weight=1.0))
      0.0
    """
    check_fraction(weight, "weight")
    check_number(temperature, "temperature", gt=0)
    teacher_log_probs = jax.nn.log_softmax(jax.lax.stop_gradient(teacher).astype(jnp.float32) / temperature)
    log_probs = jax.nn.log_softmax(outputs.astype(jnp.float32) / temperature)
    divergence = optax.losses.kl_divergence_with_log_targets(log_probs, teacher_log_probs).mean()
    return (1 - weight) * loss(outputs, labels) + weight * temperature**2 * divergence
