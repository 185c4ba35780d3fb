"""``semantic-ranker embed``: texts in, vectors out, with the space that they lie in written beside them."""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semantic_ranker.cli._output import count, write

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from semantic_ranker.embedder import Embedder

_FORMATS = (".npy", ".jsonl")
_PART = 1024
_SETTINGS = ("model", "precision", "backend", "truncate_dim", "allow_lossy_truncation", "cpu_share")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    embed = commands.add_parser("embed", help="turn texts into vectors")
    embed.add_argument("texts", metavar="TEXTS", help='one text a line, or .jsonl with "text"; - is standard input')
    embed.add_argument(
        "--out", required=True, metavar="FILE", help=".npy (float32) or .jsonl; FILE.space.json is beside"
    )
    embed.add_argument(
        "--model", metavar="M", help="catalogue name, model folder or hub id (default: the bundled model)"
    )
    embed.add_argument("--role", choices=("document", "query"), default="document", help="which prompt goes in front")
    embed.add_argument("--precision", choices=("auto", "fp32", "fp16", "int8"), help="default: auto")
    embed.add_argument("--backend", choices=("auto", "onnx", "torch"), help="default: auto")
    embed.add_argument("--truncate-dim", type=count, metavar="N", help="keep N components (Matryoshka models)")
    embed.add_argument(
        "--allow-lossy-truncation", action="store_true", help="allow --truncate-dim for other models too"
    )
    embed.add_argument("--cpu-share", type=float, metavar="X", help="compute only this part of the time, 0 to 1")
    embed.add_argument("--config", metavar="FILE", help="settings, JSON or TOML; what is given here counts more")
    embed.add_argument("--json", action="store_true", help="print JSON")
    embed.set_defaults(run=_embed)


def _embed(options: argparse.Namespace) -> int:
    from semantic_ranker._documents import read_documents
    from semantic_ranker._files import write_atomically
    from semantic_ranker.embedding.manifest import SpaceManifest
    from semantic_ranker.errors import InvalidInputError

    out = Path(options.out)
    if out.suffix not in _FORMATS:
        raise InvalidInputError(f"Expected --out to end in {' or '.join(_FORMATS)}, got {out.name!r}.")
    texts = read_documents(options.texts)
    embedder = _embedder(options)
    manifest = SpaceManifest.of(embedder)
    start = time.perf_counter()
    vectors = _vectors(embedder, texts, "q" if options.role == "query" else "d")
    seconds = time.perf_counter() - start
    write_atomically(out, _npy(vectors) if out.suffix == ".npy" else _lines(vectors))
    write_atomically(_beside(out), json.dumps(manifest.to_dict(), indent=1) + "\n")
    _report(options, embedder, vectors, seconds)
    return 0


def _embedder(options: argparse.Namespace) -> Embedder:
    from semantic_ranker.config import build_embedder, load_settings

    # What was not given is None, or False: then the settings decide.
    values = {name: getattr(options, name) for name in _SETTINGS}
    given = {f"embedder.{name}": value for name, value in values.items() if value is not None and value is not False}
    return build_embedder(load_settings(options.config, arguments=given))


def _vectors(embedder: Embedder, texts: list[str], role: Any) -> NDArray[np.float32]:
    import numpy as np

    from semantic_ranker.evaluation._progress import progress

    starts = list(range(0, len(texts), _PART))
    parts = [
        embedder.embed(texts[start : start + _PART], role=role).vectors
        for start in progress(starts, "embedding", "x1024 texts")
    ]
    return np.concatenate(parts) if parts else np.empty((0, embedder.dim), np.float32)


def _report(options: argparse.Namespace, embedder: Embedder, vectors: NDArray[np.float32], seconds: float) -> None:
    space, decision = embedder.space, embedder.decision
    facts = {
        "texts": len(vectors),
        "dimensions": space.dim,
        "model": space.model,
        "space": space.short,
        "precision": space.precision,
        "backend": space.backend,
        "chosen because": "; ".join(decision.reasons),
        "truncated texts": embedder.truncated,
        "seconds": round(seconds, 3),
        "vectors": str(options.out),
        "space file": str(_beside(Path(options.out))),
    }
    if embedder.degraded:
        print(f"semantic-ranker: degraded: {embedder.degraded}", file=sys.stderr)
    if options.json:
        print(json.dumps({name.replace(" ", "_"): value for name, value in facts.items()}, indent=2))
        return
    for name, value in facts.items():
        write(f"{name:<16} {value}")


def _beside(out: Path) -> Path:
    return out.with_name(f"{out.name}.space.json")


def _npy(vectors: NDArray[np.float32]) -> bytes:
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, vectors, allow_pickle=False)
    return buffer.getvalue()


def _lines(vectors: NDArray[np.float32]) -> str:
    # repr of a float32 as Python's float has 17 digits, of which 9 are enough to give the same float32 back.
    return "".join(
        json.dumps({"index": index, "embedding": [float(f"{value:.9g}") for value in row]}) + "\n"
        for index, row in enumerate(vectors.tolist())
    )
