"""Bi-encoders on ONNX Runtime: one unpadded text a run, texts side by side on the scoring threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from semantic_ranker._engine import _batches, scoring_pool
from semantic_ranker._machine import default_threads
from semantic_ranker.backends.onnx import _INPUTS, _reason, open_session
from semantic_ranker.embedding.pooling import normalized, pool
from semantic_ranker.errors import EmbedderContractError, EmbeddingError, ModelLoadError
from semantic_ranker.tokenization import EncodedPair, pad

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from semantic_ranker.embedding.folder import EmbedderSettings
    from semantic_ranker.embedding.texts import TextTokenizer
    from semantic_ranker.model_folder import VerifiedFile

_SENTENCE = "sentence_embedding"
_TOKENS = ("token_embeddings", "last_hidden_state")


class OnnxEmbedder:
    """Runs a graph that gives ``sentence_embedding`` (batch, dim), or token states that are pooled here.

    Args:
        file: The ``.onnx`` file. External data is refused.
        tokenizer: From texts to inputs.
        settings: What the model's files say of pooling and normalisation.
        precision: What the file holds.
        threads: Texts embedded side by side; None is one a core, at most 8.
        token_budget: None runs one unpadded text at a time (fastest on a CPU, and a vector never depends on its batch
            mates); a number makes padded batches of up to that many tokens.

    Raises:
        ModelLoadError: The file is damaged, or no text encoder's.
    """

    name = "onnx"

    def __init__(
        self,
        file: VerifiedFile,
        tokenizer: TextTokenizer,
        settings: EmbedderSettings,
        *,
        precision: str = "fp32",
        threads: int | None = None,
        token_budget: int | None = None,
    ) -> None:
        self.precision = precision
        self._file_name = file.path.name
        self._tokenizer = tokenizer
        self._settings = settings
        self._threads = threads or default_threads()
        self._token_budget = token_budget
        self._session = open_session(file.path, file.content)
        self._inputs = self._checked_inputs()
        self._output = self._chosen_output()
        self.dim = self._probe()

    @property
    def truncated(self) -> int:
        """Texts so far of which something was left out."""
        return self._tokenizer.truncated

    def run(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the vectors of texts, float32 (n_texts, dim).

        Raises:
            EmbedderContractError: The graph gave another shape than one row a text.
            EmbeddingError: ONNX Runtime failed.
            MemoryError: It ran out of memory.
        """
        found = [self._run_inputs(inputs) for inputs in self._tokenizer.chunks(texts)]
        return np.concatenate(found) if found else np.empty((0, self.dim), np.float32)

    def _run_inputs(self, inputs: Sequence[EncodedPair]) -> NDArray[np.float32]:
        # Longest first, so that the threads finish together.
        batches = _batches([len(item.input_ids) for item in inputs], self._token_budget)

        def run(rows: Sequence[int]) -> NDArray[np.float32]:
            return self._forward([inputs[row] for row in rows])

        several = min(self._threads, len(batches)) > 1
        mapped = scoring_pool(self._threads).map(run, batches) if several else map(run, batches)
        vectors = np.empty((len(inputs), self.dim), np.float32)
        for rows, output in zip(batches, mapped, strict=True):
            if output.shape != (len(rows), self.dim):
                raise EmbedderContractError(
                    f"Expected vectors of shape ({len(rows)}, {self.dim}) from {self._file_name}, got {output.shape}: "
                    "the export is damaged; export the model again."
                )
            vectors[rows] = output
        return vectors

    def _forward(self, inputs: Sequence[EncodedPair]) -> NDArray[np.float32]:
        arrays = pad(inputs)
        feeds = dict(zip(_INPUTS, arrays, strict=True))
        try:
            output = self._session.run([self._output], {name: feeds[name] for name in self._inputs})[0]
        except Exception as error:  # onnxruntime raises a dozen unrelated classes here
            if any(sign in str(error).lower() for sign in ("failed to allocate", "bad_alloc", "out of memory")):
                raise MemoryError(_reason(error)) from error
            raise EmbeddingError(f"{self._file_name} fails on {arrays[0].shape} tokens ({_reason(error)}).") from error
        states = np.asarray(output, dtype=np.float32)
        vectors = states if self._output == _SENTENCE else pool(states, arrays[1], self._settings.pooling)
        return normalized(vectors) if self._settings.normalize else vectors

    def _checked_inputs(self) -> list[str]:
        found = {node.name: node.type for node in self._session.get_inputs()}
        if not {"input_ids", "attention_mask"} <= set(found) <= set(_INPUTS) or set(found.values()) != {
            "tensor(int64)"
        }:
            got = ", ".join(f"{name}: {kind}" for name, kind in found.items()) or "none"
            raise ModelLoadError(
                f"Expected the inputs {', '.join(_INPUTS)} (the last may be absent), each tensor(int64), "
                f"in {self._file_name}, got {got}: this is not a text encoder's graph."
            )
        return list(found)

    def _chosen_output(self) -> str:
        ranks: dict[str, int] = {node.name: len(node.shape or ()) for node in self._session.get_outputs()}
        if ranks.get(_SENTENCE) == 2:
            return _SENTENCE
        name = next((name for name in _TOKENS if ranks.get(name) == 3), None)
        if name is None:
            raise ModelLoadError(
                f"Expected the output {_SENTENCE} (batch, dim), or {' or '.join(_TOKENS)} (batch, length, hidden), in "
                f"{self._file_name}, got {', '.join(ranks) or 'none'}: a reranker gives no vectors; export the "
                "bi-encoder again with `semantic-ranker export`."
            )
        if self._settings.dense:
            raise ModelLoadError(
                f"Expected the output {_SENTENCE} in {self._file_name}, since the model has linear layers after its "
                "pooling, got token states only: export the model again with `semantic-ranker export`."
            )
        return name

    def _probe(self) -> int:
        try:
            shape = self._forward(next(iter(self._tokenizer.chunks(["a"])))).shape
        except EmbeddingError as error:
            raise ModelLoadError(f"{self._file_name} fails on a small input: {error}") from error
        if len(shape) != 2 or shape[0] != 1:
            raise ModelLoadError(f"Expected one vector of {self._file_name} for one text, got shape {shape}.")
        return int(shape[1])
