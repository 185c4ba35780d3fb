"""ONNX Runtime on the CPU: one session, one thread a run, any number of runs at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semantic_ranker.errors import ModelLoadError, ScoreCountError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class OnnxBackend:
    """Runs an ONNX graph with inputs ``input_ids``, ``attention_mask`` and, where it has them, ``token_type_ids``.

    Args:
        path: The ``.onnx`` file. External data is refused.
        precision: What the file holds, for reports.

    Raises:
        ModelLoadError: The file is absent, damaged, or not a one-label reranker.
    """

    name = "onnx"

    def __init__(self, path: str | Path, *, precision: str = "fp32") -> None:
        import onnxruntime

        self.precision = precision
        self._path = Path(path)
        options = onnxruntime.SessionOptions()
        # Parallelism comes from running pairs side by side: measured faster than threads inside one run.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            # From bytes, a graph has no folder from which it could read external data.
            self._session = onnxruntime.InferenceSession(
                self._path.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except OSError as error:
            raise ModelLoadError(f"Cannot read {self._path.name}: {error.strerror}.") from error
        except Exception as error:  # onnxruntime raises a dozen unrelated classes here
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ModelLoadError(
                f"ONNX Runtime cannot open {self._path.name} ({reason}); the file must be one complete graph "
                "without external data: export it again with `semantic-ranker export`."
            ) from error
        self._inputs = [node.name for node in self._session.get_inputs()]
        self._check_signature()

    def _check_signature(self) -> None:
        unknown = [name for name in self._inputs if name not in _INPUTS]
        if unknown or not {"input_ids", "attention_mask"} <= set(self._inputs):
            raise ModelLoadError(
                f"Expected inputs {', '.join(_INPUTS)} in {self._path.name}, got {', '.join(self._inputs) or 'none'}: "
                "this is not a text reranker's graph."
            )
        shape = self._session.get_outputs()[0].shape
        if len(shape) > 2 or (len(shape) == 2 and isinstance(shape[1], int) and shape[1] != 1):
            raise ModelLoadError(
                f"Expected logits of shape (batch, 1) from {self._path.name}, got {tuple(shape)}: this is a classifier "
                "or an encoder; export a reranker with num_labels=1."
            )

    def run(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64], token_type_ids: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return logits, float32 (batch,), from three int64 (batch, length) arrays.

        Raises:
            ScoreCountError: The graph gave another number of logits than rows.
        """
        feeds = dict(zip(_INPUTS, (input_ids, attention_mask, token_type_ids), strict=True))
        output = self._session.run(None, {name: feeds[name] for name in self._inputs})[0]
        logits: NDArray[np.float32] = np.asarray(output, dtype=np.float32).reshape(-1)
        if len(logits) != len(input_ids):
            raise ScoreCountError(
                f"Expected {len(input_ids)} logits from {self._path.name}, got {len(logits)} "
                f"(output shape {np.shape(output)}): export the model with num_labels=1."
            )
        return logits
