"""What the lines of the checklist run: sample texts, rankings by turns, a broken copy, and both adapters."""

from __future__ import annotations

import importlib
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from semantic_ranker.collections import Collection
    from semantic_ranker.registry import ModelEntry

QUERY = "how do I reset my password"
RIGHT, WRONG = "To change a forgotten password, open Settings and choose Security.", "The cat sleeps all day long."
_MARK = "rerank_degraded"


@dataclass(frozen=True, slots=True)
class Order:
    """What an adapter gave back.

    Attributes:
        texts: In its order.
        marks: Why each came back unscored, None where it was scored.
    """

    texts: list[str]
    marks: list[str | None]


def sample(judged: Collection | None, count: int) -> tuple[str, list[str]]:
    """Return a query and texts: of the judged collection, else built in, of about 100 words each."""
    if judged is not None:
        texts = list(judged.corpus.values())[:count]
        return next(iter(judged.queries.values())), texts
    return QUERY, [f"{number}. {RIGHT if number % 2 else WRONG} " * 9 for number in range(count)]


def ranker(entry: ModelEntry, precision: Any, query: str, texts: Sequence[str]) -> Callable[[], object]:
    """Return a function that ranks the texts with the weights of one precision."""
    from semantic_ranker.cross_encoder import CrossEncoder

    encoder = CrossEncoder(entry.path, precision=precision)
    return lambda: encoder.rank(query, texts)


def interleaved(runs: Sequence[Callable[[], object]], rounds: int) -> list[list[float]]:
    """Return milliseconds of each round of each run; by turns, so that a busy moment meets all of them."""
    times: list[list[float]] = [[] for _ in runs]
    for place in range(rounds + 1):
        for run, of in zip(runs, times, strict=True):
            start_s = time.perf_counter()
            run()
            if place:
                of.append((time.perf_counter() - start_s) * 1000)
    return times


def broken_copy(entry: ModelEntry, scratch: Path) -> Path:
    """Copy a model folder and damage its weights."""
    broken = scratch / "broken"
    shutil.copytree(entry.path, broken)
    for weights in (*broken.rglob("*.onnx"), *broken.rglob("*.safetensors")):
        weights.write_bytes(b"damaged")
    return broken


@contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """Keep warnings that are wanted off the terminal of somebody who has set up no logging."""
    handler = logging.NullHandler()
    for name in loggers:
        logging.getLogger(name).addHandler(handler)
    try:
        yield
    finally:
        for name in loggers:
            logging.getLogger(name).removeHandler(handler)


def through_langchain(model: str) -> Order:
    """Rerank a wrong text before a right one through LangChain's adapter."""
    documents = importlib.import_module("langchain_core.documents")
    adapter = importlib.import_module("semantic_ranker_langchain")
    given = [documents.Document(page_content=text) for text in (WRONG, RIGHT)]
    rerank = adapter.SemanticRerank(model=model, top_n=None, on_error="passthrough")
    found = rerank.compress_documents(given, QUERY)
    return Order([item.page_content for item in found], [item.metadata.get(_MARK) for item in found])


def through_llama_index(model: str) -> Order:
    """Rerank a wrong text before a right one through LlamaIndex's adapter."""
    schema = importlib.import_module("llama_index.core.schema")
    adapter = importlib.import_module("semantic_ranker_llama_index")
    given = [schema.NodeWithScore(node=schema.TextNode(text=text), score=1.0) for text in (WRONG, RIGHT)]
    rerank = adapter.SemanticRerank(model=model, top_n=2, on_error="passthrough")
    found = rerank.postprocess_nodes(given, query_str=QUERY)
    return Order([item.node.text for item in found], [item.node.metadata.get(_MARK) for item in found])
