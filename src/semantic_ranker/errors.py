"""Every error that the project raises on purpose.

::

    Exception
    └── SemanticRankerError
        ├── InvalidInputError (also ValueError)   a bad argument or text; `.index` says which
        │   ├── FeedbackLogError                  a record of a feedback log; `.path` and `.line` say which
        │   └── DataFormatError                   a line of a data set; `.path` and `.line` say which
        ├── StorageError (also OSError)           a file that cannot be read, written or locked
        ├── ModelLoadError                        a model that is absent, damaged or refused
        ├── ScoringError
        │   ├── NonFiniteScoreError               NaN or infinity from the model; `.indices` says where
        │   └── ScoreCountError                   more or fewer scores than texts
        ├── EvaluationError (also ValueError)     a metric, run or judgment that cannot be used
        ├── EmbeddingError                        no way is left to embed texts; the causes are in the message
        │   └── EmbedderContractError             vectors of a wrong number, dimension or value; `.indices` says where
        ├── ExportParityError                     an exported model that does not score like its source
        ├── CollapseError                         a training run whose embeddings become all the same
        ├── SpaceMismatchError                    vectors of two embedding spaces about to be mixed
        ├── LLMError                              a language model that gave no answer
        ├── VectorStoreError                      a store of vectors refused, or cannot be reached
        └── CacheError                            a cache that was configured wrongly

A missing optional package stays a `ModuleNotFoundError`; its message names the extra to install.
"""

from __future__ import annotations

from collections.abc import Sequence


class SemanticRankerError(Exception):
    """Base of every error that this package raises on purpose."""


class InvalidInputError(SemanticRankerError, ValueError):
    """A bad argument or text.

    Attributes:
        index: Position of the bad item in the caller's list, or None where there is no list.
    """

    def __init__(self, message: str, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index

    def __reduce__(self) -> tuple[type[InvalidInputError], tuple[str, int | None]]:
        return type(self), (str(self), self.index)


class FeedbackLogError(InvalidInputError):
    """A record of a feedback log that cannot be read.

    Attributes:
        path: The file.
        line: Number of the line, from 1.
    """

    def __init__(self, message: str, path: str = "", line: int = 0) -> None:
        super().__init__(message)
        self.path = path
        self.line = line

    def __reduce__(self) -> tuple[type[FeedbackLogError], tuple[str, str, int]]:  # type: ignore[override]
        return type(self), (str(self), self.path, self.line)


class DataFormatError(InvalidInputError):
    """A line of a data set that cannot be used, or a data set without any.

    Attributes:
        path: The file or folder.
        line: Number of the line, from 1; 0 where no line is to blame.
    """

    def __init__(self, message: str, path: str = "", line: int = 0) -> None:
        super().__init__(message)
        self.path = path
        self.line = line

    def __reduce__(self) -> tuple[type[DataFormatError], tuple[str, str, int]]:  # type: ignore[override]
        return type(self), (str(self), self.path, self.line)


class StorageError(SemanticRankerError, OSError):
    """A file that cannot be read, written or locked."""


class ModelLoadError(SemanticRankerError):
    """A model that is absent, damaged, or refused for safety."""


class ScoringError(SemanticRankerError):
    """A model gave scores that cannot be ranked."""


class NonFiniteScoreError(ScoringError):
    """The model gave NaN or infinity.

    Attributes:
        indices: Positions of the texts concerned.
    """

    def __init__(self, message: str, indices: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.indices = tuple(indices)

    def __reduce__(self) -> tuple[type[NonFiniteScoreError], tuple[str, tuple[int, ...]]]:
        return type(self), (str(self), self.indices)


class ScoreCountError(ScoringError):
    """The model gave another number of scores than there are texts."""


class EvaluationError(SemanticRankerError, ValueError):
    """A metric, run or set of judgments that cannot be used."""


class ExportParityError(SemanticRankerError):
    """An exported model does not score like its source."""


class EmbeddingError(SemanticRankerError):
    """No way is left to embed texts."""


class EmbedderContractError(EmbeddingError):
    """An embedder gave vectors that cannot be used: too many or few, of a wrong dimension, NaN or infinite.

    Attributes:
        indices: Positions of the texts concerned; empty where all are.
    """

    def __init__(self, message: str, indices: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.indices = tuple(indices)

    def __reduce__(self) -> tuple[type[EmbedderContractError], tuple[str, tuple[int, ...]]]:
        return type(self), (str(self), self.indices)


class CollapseError(SemanticRankerError):
    """A training run whose embeddings become all the same; the message says what to change."""


class SpaceMismatchError(SemanticRankerError):
    """Vectors of two embedding spaces were about to be mixed.

    Attributes:
        fields: Names of the fields of `EmbeddingSpace` that differ; ``canary`` where the probe texts disagree.
    """

    def __init__(self, message: str, fields: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.fields = tuple(fields)

    def __reduce__(self) -> tuple[type[SpaceMismatchError], tuple[str, tuple[str, ...]]]:
        return type(self), (str(self), self.fields)


class VectorStoreError(SemanticRankerError):
    """A store of vectors refused a request, or cannot be reached."""


class LLMError(SemanticRankerError):
    """A language model gave no answer: it refused, was not reached, was late, or said something else."""


class CacheError(SemanticRankerError):
    """A cache was configured wrongly."""
