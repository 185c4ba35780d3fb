"""``semantic-ranker serve``: the models, and an index if one is named, over HTTP on this machine."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from semantic_ranker.cli._output import count, write

if TYPE_CHECKING:
    from semantic_ranker.server import Service

_KEY = "SEMANTIC_RANKER_API_KEY"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    serve = commands.add_parser(
        "serve",
        help="serve the models and an index over HTTP",
        description="Speaks /v1/rerank (Jina, Cohere), /v2/rerank (Cohere), /rerank (TEI), /v1/embeddings (OpenAI), "
        f"/query, /health and /metrics. Where {_KEY} is set, clients must send it.",
    )
    serve.add_argument("index", metavar="INDEX", nargs="?", help="folder that `index` made, for /query")
    serve.add_argument("--reranker", metavar="M", help="model that reranks (default: the index's, or the bundled one)")
    serve.add_argument("--embedder", metavar="M", help="model that embeds (default: the index's, or the bundled one)")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    serve.add_argument("--port", type=int, default=8080, metavar="N", help="0 takes a free one (default: %(default)s)")
    serve.add_argument("--workers", type=count, default=2, metavar="N", help="requests at once (default: 2)")
    serve.add_argument(
        "--queue", type=int, default=32, metavar="N", help="requests that may wait; others get 429 (default: 32)"
    )
    serve.add_argument("--max-body", type=count, default=8_000_000, metavar="BYTES", help="(default: %(default)s)")
    serve.add_argument("--max-texts", type=count, default=1000, metavar="N", help="of a request (default: 1000)")
    serve.add_argument("--timeout", type=float, default=60.0, metavar="S", help="for an answer (default: 60)")
    serve.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> int:
    from semantic_ranker.server import ServerConfig, serve

    config = ServerConfig(
        host=options.host,
        port=options.port,
        workers=options.workers,
        queue=options.queue,
        max_body_bytes=options.max_body,
        max_texts=options.max_texts,
        timeout_s=options.timeout,
        api_key=os.environ.get(_KEY) or None,
    )
    serve(_service(options), config, ready=_ready)
    return 0


def _ready(url: str) -> None:
    write(f"Serving on {url}; stop with Ctrl-C")
    sys.stdout.flush()


def _service(options: argparse.Namespace) -> Service:
    from semantic_ranker.cross_encoder import CrossEncoder
    from semantic_ranker.embedder import Embedder
    from semantic_ranker.server import FollowedPipeline, Service

    followed = FollowedPipeline(options.index) if options.index else None
    pipeline = followed() if followed else None
    own = None if pipeline is None or options.reranker else pipeline.retriever.reranker
    reranker = own or CrossEncoder(options.reranker)
    embedder = Embedder(options.embedder) if pipeline is None or options.embedder else pipeline.index.embedder
    return Service(reranker, embedder, followed)
