"""`BaseCrossEncoder` for code that wants scores of pairs, such as LangChain's own `CrossEncoderReranker`."""

from __future__ import annotations

from langchain_core.cross_encoders import BaseCrossEncoder

from semantic_ranker_langchain._settings import ModelSettings


class SemanticCrossEncoder(ModelSettings, BaseCrossEncoder):
    """Scores (query, text) pairs; takes the place of `HuggingFaceCrossEncoder`.

    Example:
        >>> from semantic_ranker_langchain import SemanticCrossEncoder
        >>> scores = SemanticCrossEncoder().score([("who feeds the cat?", "Ana feeds the cat.")])
        >>> type(scores[0])
        <class 'float'>
    """

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        """Score pairs of query and text.

        Args:
            text_pairs: (query, text) pairs; the queries may differ.

        Returns:
            One plain float a pair, in the order given; higher is more relevant. On the scale that the model
            declares: its logits, or their sigmoid.

        Raises:
            InvalidInputError: A text is not a string; `.index` is its place in the list.
            ModelLoadError: The model cannot be opened.
            NonFiniteScoreError: The model gave NaN or infinity.
            ScoreCountError: The model gave more or fewer scores than pairs.
        """
        return [float(score) for score in self._encoder().predict(text_pairs)]
