"""What is sent back: JSON, and errors as each client reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from semantic_ranker._extras import requires_extra

with requires_extra("server"):
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import Response

JSON = "application/json"
TEI = "/rerank"
_KINDS = {
    400: "invalid_request",
    401: "unauthorized",
    404: "not_found",
    405: "method_not_allowed",
    408: "timeout",
    413: "too_large",
    415: "unsupported_media_type",
    421: "misdirected_request",
    422: "invalid_request",
    429: "overloaded",
    503: "stopping",
    504: "timeout",
}


class Refusal(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers


def check_type(request: Request) -> None:
    """Refuse bodies of other kinds than JSON, which a web page may send to this machine without asking.

    Raises:
        Refusal: It is one.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(415, f"Expected content-type application/json, got {kind[:40] or 'none'}.")


async def unknown_path(request: Request, error: Exception) -> Response:
    """Return the error of a path or method that there is not."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) else None
    path = request.url.path[:80]
    message = f"There is no {path!r} here." if status == 404 else f"{path!r} takes no {request.method[:10]}."
    return error_response(path, status, message, headers)


def error_response(path: str, status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error as OpenAI's (``error.message``), Cohere's (``message``), Jina's (``detail``) clients read it."""
    kind = _KINDS.get(status, "internal")
    if path == TEI:
        content: dict[str, Any] = {"error": message, "error_type": kind, "detail": message, "message": message}
    else:
        error = {"message": message, "type": kind, "code": kind, "param": None}
        content = {"error": error, "detail": message, "message": message}
    return json_response(content, status, headers)


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return JSON values as a response."""
    return Response(encoded(content), status_code=status, headers=headers, media_type=JSON)


def encoded(content: Any) -> bytes:
    """Return JSON in ASCII: what clients send may hold half a character pair, which no UTF-8 can."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")


def header_text(text: str) -> str:
    """Return a text as the value of a header."""
    return " ".join(text.split()).encode("ascii", "replace").decode()[:500]
