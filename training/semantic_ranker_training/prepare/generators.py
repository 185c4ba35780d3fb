"""Optional query generators: any function, or a sequence-to-sequence model in a folder."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from semantic_ranker.errors import InvalidInputError
from semantic_ranker_training.prepare.strategies import Pair, clean_pair

Generate = Callable[[Sequence[str]], Sequence[Sequence[str]]]
"""Passages to the queries of each."""

_AT_ONCE = 16


def open_generator(spec: str) -> Generate:
    """Return a generator.

    Args:
        spec: ``module:function`` of a function that takes a passage and returns a query or a list of queries; or
            the folder of a sequence-to-sequence model, such as a doc2query T5.

    Raises:
        InvalidInputError: There is no such function or folder.
    """
    if Path(spec).is_dir():
        return _Seq2Seq(Path(spec))
    module, separator, name = spec.partition(":")
    if not separator:
        raise InvalidInputError(f"Expected the folder of a model, or module:function, got {spec!r}.")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InvalidInputError(f"Cannot find the generator {spec!r}: {error}.") from error
    if not callable(function):
        raise InvalidInputError(f"Expected {spec!r} to be a function, got {type(function).__name__}.")
    return lambda passages: [_queries(function(passage), spec) for passage in passages]


def generated_pairs(generate: Generate, passages: Sequence[tuple[str, str]]) -> Iterator[Pair]:
    """Give the pairs of generated queries with their passages, each query taken out of its passage.

    Args:
        generate: The generator.
        passages: ``(document id, passage)``.

    Raises:
        InvalidInputError: The generator gives another number of lists than there are passages.
    """
    starts = range(0, len(passages), _AT_ONCE)
    for start in tqdm(starts, desc="generate queries", unit="batch", disable=None, delay=2):
        batch = passages[start : start + _AT_ONCE]
        found = generate([passage for _, passage in batch])
        if len(found) != len(batch):
            raise InvalidInputError(f"Expected queries for {len(batch)} passages of the generator, got {len(found)}.")
        for (document, passage), queries in zip(batch, found, strict=True):
            for query in dict.fromkeys(queries):
                if pair := clean_pair(query, passage, "generated", document):
                    yield pair


def _queries(given: Any, spec: str) -> list[str]:
    queries = [given] if isinstance(given, str) else list(given or [])
    if not all(isinstance(query, str) for query in queries):
        raise InvalidInputError(f"Expected {spec!r} to return a string or strings, got {type(queries[0]).__name__}.")
    return queries


class _Seq2Seq:
    """Beam search: the same passage always gives the same query."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self._model = AutoModelForSeq2SeqLM.from_pretrained(folder, local_files_only=True).eval()
        except (OSError, ValueError) as error:
            raise InvalidInputError(
                f"Cannot open a sequence-to-sequence model in {str(folder)!r}: {' '.join(str(error).split())[:200]}."
            ) from error

    def __call__(self, passages: Sequence[str]) -> list[list[str]]:
        import torch

        inputs = self._tokenizer(list(passages), padding=True, truncation=True, max_length=384, return_tensors="pt")
        with torch.inference_mode():
            tokens = self._model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                max_new_tokens=32,
                num_beams=2,
                do_sample=False,
            )
        return [[text] for text in self._tokenizer.batch_decode(tokens, skip_special_tokens=True)]
