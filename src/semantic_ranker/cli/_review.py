"""``semantic-ranker feedback review``: what users asked and were told, and what a person says of it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from semantic_ranker.cli._output import count, snippet, write

if TYPE_CHECKING:
    from semantic_ranker.feedback import FeedbackLog, Interaction, Reading, Review

_YES_NO = {"yes": True, "no": False}
_WIDTH = 60
_STOP = "q"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options to the parser of the action."""
    parser.add_argument("--all", action="store_true", help="list reviewed interactions too")
    parser.add_argument("--limit", type=count, default=20, metavar="N", help="list N at most (default: 20)")
    parser.add_argument(
        "--id", metavar="ID", help="show this interaction, or say something of it; its beginning will do"
    )
    parser.add_argument("--resolved", choices=_YES_NO, help="whether the answer settled the matter")
    parser.add_argument("--out-of-context", choices=_YES_NO, help="whether the answer says what the documents do not")
    parser.add_argument("--relevant", nargs="+", default=[], metavar="P", help="passages that help: numbers or ids")
    parser.add_argument("--irrelevant", nargs="+", default=[], metavar="P", help="passages that do not")
    parser.add_argument("--index", metavar="INDEX", help="shows the texts of the passages")
    parser.add_argument("--interactive", action="store_true", help="ask for each interaction without a review")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace, log: FeedbackLog, reading: Reading) -> int:
    """Do what the options ask for."""
    from semantic_ranker.errors import InvalidInputError

    labels = [options.resolved, options.out_of_context, *options.relevant, *options.irrelevant]
    if any(labels) and not options.id:
        raise InvalidInputError("Expected --id with what is said of an interaction, got none.")
    texts = texts_of(options.index) if options.index else {}
    if options.interactive:
        return _ask_for_each(log, reading, texts)
    if not options.id:
        return _list(options, reading)
    item = _found(reading, options.id)
    if not any(labels):
        _show(item, texts, as_json=options.json)
        return 0
    log.review(item.id, _said(item, options))
    write(f"Reviewed {item.id}")
    return 0


def texts_of(index: str) -> dict[str, str]:
    """Return the texts of an index's passages by id, as the reranker reads them."""
    from semantic_ranker.pipeline import RAGPipeline

    passages = RAGPipeline.load(index, read_only=True).index.passages
    return {name: passage.titled_text for name, passage in passages.items()}


def _list(options: argparse.Namespace, reading: Reading) -> int:
    wanted = (item for item in reading if options.all or item.review.is_empty)
    items = list(islice(wanted, options.limit))
    if options.json:
        print(json.dumps([json.loads(item.to_json()) for item in items], indent=2))
    elif not items:
        print("semantic-ranker: nothing waits for a review", file=sys.stderr)
    else:
        write(f"{'id':<10} {'time':<17} {'review':<10} question")
    for item in () if options.json else items:
        state = "" if item.review.is_empty else "resolved" if item.review.resolved else "reviewed"
        write(f"{item.id[:8]:<10} {item.time:%Y-%m-%d %H:%M}  {state:<10} {snippet(item.query, _WIDTH)}")
    return 0


def _found(reading: Reading, beginning: str) -> Interaction:
    from semantic_ranker.errors import InvalidInputError

    found = {item.id: item for item in reading if item.id.startswith(beginning)}
    if beginning in found:
        return found[beginning]
    if len(found) != 1:
        raise InvalidInputError(
            f"Expected the id of one interaction, got {beginning!r}, which {len(found)} begin with."
        )
    return next(iter(found.values()))


def _said(item: Interaction, options: argparse.Namespace) -> Review:
    """Return the review with what is new in it."""
    new = {
        "resolved": _YES_NO.get(options.resolved),
        "out_of_context": _YES_NO.get(options.out_of_context),
        "relevant": _ids(item, options.relevant),
        "irrelevant": _ids(item, options.irrelevant),
    }
    return _merged(item.review, **{name: value for name, value in new.items() if value not in (None, ())})


def _merged(review: Review, **new: object) -> Review:
    # A passage that is judged anew leaves its old place.
    for name, other in (("relevant", "irrelevant"), ("irrelevant", "relevant")):
        if name in new and other not in new:
            new[other] = tuple(of for of in getattr(review, other) if of not in new[name])  # type: ignore[operator]
    return replace(review, **new)  # type: ignore[arg-type]


def _ids(item: Interaction, words: Sequence[str]) -> tuple[str, ...]:
    from semantic_ranker.errors import InvalidInputError

    shown = [document.id for document in item.retrieved]
    result = []
    for word in words:
        if word in shown:
            result.append(word)
        elif word.isdecimal() and 1 <= int(word) <= len(shown):
            result.append(shown[int(word) - 1])
        else:
            raise InvalidInputError(f"Expected passages by number (1 to {len(shown)}) or id, got {word!r}.")
    return tuple(result)


def _show(item: Interaction, texts: Mapping[str, str], *, as_json: bool = False) -> None:
    if as_json:
        print(json.dumps(json.loads(item.to_json()), indent=2))
        return
    write(f"{item.id}  {item.time:%Y-%m-%d %H:%M}  {snippet(item.intent or '', 30)}")
    write(f"question: {snippet(item.query, 20 * _WIDTH)}")
    write(f"answer: {snippet(item.answer, 40 * _WIDTH) or '(none)'}")
    for number, document in enumerate(item.retrieved, start=1):
        text = texts.get(document.id, "")
        write(f"  {number}. {document.score:.4f}  {snippet(document.id, 24)}  {snippet(text, 4 * _WIDTH)}".rstrip())


def _ask_for_each(log: FeedbackLog, reading: Reading, texts: Mapping[str, str]) -> int:
    reviewed = 0
    for item in [item for item in reading if item.review.is_empty]:
        _show(item, texts)
        try:
            review = _asked(item)
        except EOFError:
            break
        if not review.is_empty:
            log.review(item.id, review)
            reviewed += 1
    write(f"Reviewed {reviewed} interactions")
    return 0


def _asked(item: Interaction) -> Review:
    from semantic_ranker.feedback import Review

    return Review(
        resolved=_yes_or_no("settled? [y/n, Enter: not said, q: stop] "),
        relevant=(good := _passages(item, "passages that help, by number: ")),
        irrelevant=tuple(of for of in _passages(item, "passages that do not: ") if of not in good),
        out_of_context=_yes_or_no("says what the documents do not? [y/n] "),
    )


def _answer(question: str) -> str:
    word = input(question).strip().lower()
    if word == _STOP:
        raise EOFError
    return word


def _yes_or_no(question: str) -> bool | None:
    while True:
        word = _answer(question)
        if word in ("", "y", "n", "yes", "no"):
            return word.startswith("y") if word else None


def _passages(item: Interaction, question: str) -> tuple[str, ...]:
    from semantic_ranker.errors import InvalidInputError

    while item.retrieved:
        try:
            return _ids(item, _answer(question).replace(",", " ").split())
        except InvalidInputError as error:
            write(str(error))
    return ()
