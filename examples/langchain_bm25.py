"""BM25 over the handbook as a LangChain retriever: the first stage of the LangChain examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import PrivateAttr
from staff_handbook import STEMMERS, Section

from semantic_ranker import BM25Index


class HandbookRetriever(BaseRetriever):
    """Returns the `k` best sections of one language by BM25, with the score in `metadata["score"]`."""

    sections: Sequence[Section]
    language: str = "en"
    k: int = 20
    _index: BM25Index = PrivateAttr()

    def model_post_init(self, _context: Any, /) -> None:
        """Index the sections of the language once."""
        self.sections = [section for section in self.sections if section.language == self.language]
        self._index = BM25Index([section.text for section in self.sections], language=STEMMERS[self.language])

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        return [_document(self.sections[index], score) for index, score in self._index.search(query, self.k)]


def _document(section: Section, score: float) -> Document:
    return Document(id=section.id, page_content=section.text, metadata={"title": section.title, "score": score})
