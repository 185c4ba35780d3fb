"""One module a format: text, or bytes for PDF, to the pieces of a document."""

from semantic_ranker.documents.readers.registry import FORMATS, Parsed, Refusal, parse

__all__ = ["FORMATS", "Parsed", "Refusal", "parse"]
