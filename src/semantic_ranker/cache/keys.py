"""Names of kept vectors: space, role and a hash of the text; never the text itself.

``sr:e:{schema}:{space12}:{role}:{blake2b-128 of the UTF-8 text}``. No part can hold a colon, so no two sets of parts
make the same name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Literal

from semantic_ranker.errors import InvalidInputError
from semantic_ranker.spaces import EmbeddingSpace

NAMESPACE = "sr:e:"
"""What every name begins with; nothing else in a Redis is ever read, written or deleted."""
SCHEMA = 1
"""Version of names and values."""
Role = Literal["q", "d"]
"""``q`` for queries, ``d`` for documents."""
_DIGEST_BYTES = 16


def keys_of(space: EmbeddingSpace, role: Role, texts: Iterable[str]) -> list[str]:
    """Return the names of texts.

    Args:
        space: Where the vectors lie.
        role: What the texts are.
        texts: Exactly what the tokenizer reads, with prompts.

    Raises:
        InvalidInputError: The role is unknown, or a text is not a string; ``.index`` says which.
    """
    if role not in ("q", "d"):
        raise InvalidInputError(f"Expected role 'q' (query) or 'd' (document), got {role!r}.")
    prefix = f"{NAMESPACE}{SCHEMA}:{space.short}:{role}:"
    return [prefix + _digest(text, index) for index, text in enumerate(texts)]


def _digest(text: str, index: int) -> str:
    if not isinstance(text, str):
        raise InvalidInputError(f"Expected a str at index {index}, got {type(text).__name__}.", index)
    # Half a surrogate pair has no UTF-8; the name of such a text must still differ from all others.
    data = text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).hexdigest()
