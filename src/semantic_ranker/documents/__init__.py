"""From a folder of files to passages that can be cited: reading, chunking, redaction, and what changed since."""

from semantic_ranker.documents.chunking import ChunkConfig, chunk_document
from semantic_ranker.documents.document import REASONS, Block, Chunk, Document, Skipped
from semantic_ranker.documents.reading import DocumentSet, parse_document, read_document, read_folder
from semantic_ranker.documents.redaction import Finding, Redaction, Redactor, presidio_names, restore
from semantic_ranker.documents.sync import Changes, sync
from semantic_ranker.documents.tokens import estimate_tokens, token_counter

__all__ = [
    "REASONS",
    "Block",
    "Changes",
    "Chunk",
    "ChunkConfig",
    "Document",
    "DocumentSet",
    "Finding",
    "Redaction",
    "Redactor",
    "Skipped",
    "chunk_document",
    "estimate_tokens",
    "parse_document",
    "presidio_names",
    "read_document",
    "read_folder",
    "restore",
    "sync",
    "token_counter",
]
