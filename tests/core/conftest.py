"""What tests of several parts of the core watch."""

from __future__ import annotations

import pytest

from semantic_ranker.segments.engine import SegmentBackend


@pytest.fixture
def encoded(monkeypatch):
    """Tokens of each run of a segment graph from now on: of each query and passage that is encoded."""
    lengths, real = [], SegmentBackend.encode

    def encode(backend, ids):
        lengths.append(len(ids))
        return real(backend, ids)

    monkeypatch.setattr(SegmentBackend, "encode", encode)
    return lengths
