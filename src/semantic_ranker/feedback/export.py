"""From a feedback log to judged queries and to training pairs."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from semantic_ranker._files import StrPath, write_atomically
from semantic_ranker.errors import EvaluationError, InvalidInputError
from semantic_ranker.feedback.records import Interaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgments:
    """Judged queries of a log, for `evaluate` and `RerankTask`.

    Attributes:
        queries: Text by query id; the id depends on nothing but the text.
        qrels: 1 for relevant, 0 for irrelevant, by query id, then document id.
        run: The scores that the documents were shown with when the query was last asked, for judged queries.
        conflicts: Documents left out because as many reviews called them relevant as irrelevant.
    """

    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]
    run: dict[str, dict[str, float]] = field(repr=False)
    conflicts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPair:
    """A query with a text that answers it.

    Attributes:
        query: The question.
        positive: A text that a reviewer called relevant.
        negatives: Texts that a reviewer called irrelevant for this query; what nobody judged is never a negative.
    """

    query: str
    positive: str
    negatives: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the pair as one line of JSON, in the form that training reads."""
        record = {"query": self.query, "positive": self.positive, "negatives": list(self.negatives)}
        return json.dumps({**record, "source": "feedback"}, ensure_ascii=False)


def to_judgments(interactions: Iterable[Interaction]) -> Judgments:
    """Return the judged queries of a log.

    Queries that differ in case and white space only are one. Where reviews of a document disagree, the majority
    counts, and at a tie the document is left out.

    Args:
        interactions: In order of time, such as ``FeedbackLog(path).read()``.
    """
    queries: dict[str, str] = {}
    votes: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    run: dict[str, dict[str, float]] = {}
    for item in interactions:
        review = item.review
        if not (review.relevant or review.irrelevant) or not item.query.strip():
            continue
        qid = query_id(item.query)
        queries.setdefault(qid, " ".join(item.query.split()))
        run[qid] = {document.id: document.score for document in item.retrieved}
        for documents, vote in ((review.relevant, 1), (review.irrelevant, -1)):
            for document in documents:
                votes[qid][document] += vote
    qrels = {qid: {document: int(sum_ > 0) for document, sum_ in of.items() if sum_} for qid, of in votes.items()}
    qrels = {qid: grades for qid, grades in qrels.items() if grades}
    return Judgments(
        queries={qid: queries[qid] for qid in qrels},
        qrels=qrels,
        run={qid: run[qid] for qid in qrels},
        conflicts=sum(sum_ == 0 for of in votes.values() for sum_ in of.values()),
    )


def to_pairs(interactions: Iterable[Interaction], corpus: Mapping[str, str]) -> Iterator[TrainingPair]:
    """Give a pair for each relevant document of each judged query whose text is known.

    Args:
        interactions: In order of time, such as ``FeedbackLog(path).read()``.
        corpus: Text by document id; judged documents that are not in it are left out.

    Raises:
        InvalidInputError: Documents were judged relevant and none of them is in the corpus.
    """
    found = to_judgments(interactions)
    relevant = {document for grades in found.qrels.values() for document, grade in grades.items() if grade}
    if relevant and not any(corpus.get(document, "").strip() for document in relevant):
        raise InvalidInputError(
            f"Expected the texts of judged documents in the corpus, found none of {len(relevant)}, such as "
            f"{min(relevant)!r}: do log and corpus belong together?"
        )
    for qid, grades in found.qrels.items():
        known = {document: text for document in grades if (text := corpus.get(document, "").strip())}
        negatives = tuple(text for document, text in known.items() if not grades[document])
        for document, text in known.items():
            if grades[document]:
                yield TrainingPair(query=found.queries[qid], positive=text, negatives=negatives)


def write_judgments(judgments: Judgments, folder: StrPath, corpus: Mapping[str, str] | None = None) -> None:
    """Write judged queries as a BEIR folder: ``queries.jsonl``, ``qrels/test.tsv``, ``corpus.jsonl``.

    Args:
        judgments: What `to_judgments` gave.
        folder: Where to; files of these names are replaced.
        corpus: Text by document id; without it ``corpus.jsonl`` is not written, and the collection's own is needed.

    Raises:
        EvaluationError: There are no judgments, or an id holds a tab or line feed.
        InvalidInputError: A judged document is not in the corpus.
        StorageError: A file cannot be written.
    """
    if not judgments.qrels:
        raise EvaluationError("Expected judged queries, got none: no interaction of the log was reviewed.")
    rows = ["query-id\tcorpus-id\tscore\n"]
    for qid, grades in judgments.qrels.items():
        for document, grade in grades.items():
            if document.strip() != document or set(document) & set("\t\r\n"):
                raise EvaluationError(f"Expected ids that a column can hold, got {document!r}.")
            if corpus is not None and document not in corpus:
                raise InvalidInputError(f"Expected every judged document in the corpus, got no text for {document!r}.")
            rows.append(f"{qid}\t{document}\t{grade}\n")
    target = Path(folder)
    if corpus is not None:
        _write_jsonl(target / "corpus.jsonl", ({"_id": key, "title": "", "text": text} for key, text in corpus.items()))
    _write_jsonl(target / "queries.jsonl", ({"_id": qid, "text": text} for qid, text in judgments.queries.items()))
    write_atomically(target / "qrels" / "test.tsv", "".join(rows))


def write_pairs(pairs: Iterable[TrainingPair], path: StrPath) -> int:
    """Write pairs as JSON Lines that training reads, and return how many.

    Raises:
        StorageError: The file cannot be written.
    """
    lines = [pair.to_json() for pair in pairs]
    write_atomically(path, _utf8("".join(f"{line}\n" for line in lines)))
    return len(lines)


def query_id(query: str) -> str:
    """Return an id that depends on the words of a query alone, not on case and white space."""
    return f"q-{hashlib.sha256(' '.join(query.casefold().split()).encode('utf-8', 'replace')).hexdigest()[:16]}"


def _write_jsonl(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    write_atomically(path, _utf8("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)))


def _utf8(text: str) -> bytes:
    # What a user pasted may hold half a character pair, which no file can.
    return text.encode("utf-8", "replace")
