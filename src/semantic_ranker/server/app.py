"""The HTTP side: routes, bodies in, JSON out, errors as each client reads them. Computes nothing."""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from semantic_ranker._extras import requires_extra
from semantic_ranker.errors import InvalidInputError, SemanticRankerError
from semantic_ranker.server.admission import Admission, OverloadedError
from semantic_ranker.server.config import ServerConfig
from semantic_ranker.server.metrics import CONTENT_TYPE, Metrics
from semantic_ranker.server.replies import (
    JSON,
    TEI,
    Refusal,
    check_type,
    encoded,
    error_response,
    header_text,
    json_response,
    unknown_path,
)
from semantic_ranker.server.service import Reply, Service
from semantic_ranker.server.wire import EmbeddingRequest, QueryRequest, RerankRequest, object_of

with requires_extra("server"):
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import Response
    from starlette.routing import Route

logger = logging.getLogger(__name__)

_Call = Callable[[Mapping[str, Any]], Callable[[], Reply]]
_LOCAL = ("localhost", "127.0.0.1", "[::1]")
_PORT = re.compile(r":[0-9]*$")
_GONE = 499  # as nginx logs a client that went away


def create_app(service: Service, config: ServerConfig) -> Starlette:
    """Return the ASGI application.

    Args:
        service: What computes.
        config: Its limits.

    Raises:
        ModuleNotFoundError: The extra ``server`` is not installed.
    """
    return _Api(service, config).app


class _Api:
    def __init__(self, service: Service, config: ServerConfig) -> None:
        self._service, self._config = service, config
        self._places = Admission(config.workers, config.queue)
        self._metrics = Metrics(lambda: self._places.taken, self._places.limit)
        most = config.max_texts

        def jina(body: Mapping[str, Any]) -> Callable[[], Reply]:
            request = RerankRequest.of_jina(body, most)
            return lambda: service.rerank_jina(request)

        def cohere(body: Mapping[str, Any]) -> Callable[[], Reply]:
            request = RerankRequest.of_jina(body, most, return_documents=False)
            return lambda: service.rerank_jina(request)

        def tei(body: Mapping[str, Any]) -> Callable[[], Reply]:
            if "documents" in body:  # as vLLM's and Infinity's servers take it here
                return jina(body)
            request = RerankRequest.of_tei(body, most)
            return lambda: service.rerank_tei(request)

        def embeddings(body: Mapping[str, Any]) -> Callable[[], Reply]:
            request = EmbeddingRequest.of_openai(body, most)
            return lambda: service.embeddings(request)

        def query(body: Mapping[str, Any]) -> Callable[[], Reply]:
            request = QueryRequest.of_body(body, most)
            return lambda: service.query(request)

        calls: dict[str, _Call] = {
            "/v1/rerank": jina,
            "/v2/rerank": cohere,
            TEI: tei,
            "/v1/embeddings": embeddings,
            "/query": query,
        }
        routes = [Route(path, self._computing(path, call), methods=["POST"]) for path, call in calls.items()]
        routes += [
            Route("/health", self._health),
            Route("/metrics", self._show_metrics),
            Route("/v1/models", self._models),
        ]
        self.app = Starlette(routes=routes, exception_handlers={HTTPException: unknown_path})
        self.app.state.close = self._places.close

    def _computing(self, path: str, call: _Call) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            start = time.monotonic()
            response = await self._answered(request, path, call)
            self._metrics.answered(path, response.status_code, time.monotonic() - start)
            return response

        return answer

    async def _answered(self, request: Request, path: str, call: _Call) -> Response:
        try:
            self._check(request)
            check_type(request)
            with self._places.place() as hold:
                body = object_of(await self._body(request))
                reply, content = await self._computed(request, call(body), hold)
        except Refusal as refusal:
            return error_response(path, refusal.status, str(refusal), refusal.headers)
        except OverloadedError as error:
            return error_response(path, 429, f"{error}; try again later", {"retry-after": str(error.retry_after_s)})
        except asyncio.CancelledError:
            return error_response(path, 503, "the server stops", {"retry-after": "5"})
        except ClientDisconnect:
            return error_response(path, _GONE, "the client went away")
        except InvalidInputError as error:
            return error_response(path, 422, str(error))
        except LookupError as error:
            return error_response(path, 404, str(error.args[0] if error.args else error))
        except SemanticRankerError as error:
            logger.error("%s failed: %s", path, error)
            return error_response(path, 500, str(error))
        except Exception:  # whatever fails, a client gets JSON, and the cause stays here
            logger.exception("%s failed", path)
            return error_response(path, 500, "the server failed; its log says why")
        self._metrics.computed(path, reply.texts, reply.degraded is not None)
        headers = {"x-semantic-ranker-degraded": header_text(reply.degraded)} if reply.degraded else None
        return Response(content, headers=headers, media_type=JSON)

    async def _computed(
        self, request: Request, work: Callable[[], Reply], hold: Callable[[Future[Any]], None]
    ) -> tuple[Reply, bytes]:
        """Wait for the work, not longer than the client does, and not longer than the limit."""
        future = self._places.submit(self._timed, work)
        hold(future)
        result = asyncio.wrap_future(future)
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            both: set[asyncio.Future[Any]] = {result, gone}
            await asyncio.wait(both, timeout=self._config.timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if result.done():
                reply, content, seconds = result.result()
                self._places.took(seconds)
                return reply, content
            if gone.done():
                raise ClientDisconnect
            raise Refusal(504, f"no answer within {self._config.timeout_s:g} s")
        finally:
            gone.cancel()
            result.cancel()  # what still waits is not begun

    @staticmethod
    def _timed(work: Callable[[], Reply]) -> tuple[Reply, bytes, float]:
        start = time.monotonic()
        reply = work()
        return reply, encoded(reply.content), time.monotonic() - start

    async def _body(self, request: Request) -> bytes:
        most = self._config.max_body_bytes
        too_large = Refusal(413, f"Expected a body of {most} bytes at most, got a larger one.")
        declared = request.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > most:
            raise too_large
        parts, size = [], 0
        try:
            async with asyncio.timeout(self._config.body_timeout_s):
                async for part in request.stream():
                    size += len(part)
                    if size > most:
                        raise too_large
                    parts.append(part)
        except TimeoutError:
            raise Refusal(408, f"the body did not come in within {self._config.body_timeout_s:g} s") from None
        return b"".join(parts)

    def _check(self, request: Request) -> None:
        """Refuse strangers, and web pages that point a name of theirs at this machine."""
        host = _PORT.sub("", request.headers.get("host", ""))
        if self._config.is_loopback and host not in (*_LOCAL, self._config.host):
            raise Refusal(421, "Expected a request to localhost, got one to another name.")
        key = self._config.api_key
        given = request.headers.get("authorization", "").encode("latin-1", "replace")
        if key is not None and not hmac.compare_digest(given, f"Bearer {key}".encode()):
            raise Refusal(
                401,
                "Expected the API key as 'Authorization: Bearer KEY', got none or another.",
                {"www-authenticate": "Bearer"},
            )

    async def _health(self, request: Request) -> Response:
        info = await asyncio.to_thread(self._service.info)  # which may open a changed index
        content = {"status": "ok", **info, "in_flight": self._places.taken, "limit": self._places.limit}
        return json_response(content)

    async def _show_metrics(self, request: Request) -> Response:
        return self._guarded(request, lambda: Response(self._metrics.text(), headers={"content-type": CONTENT_TYPE}))

    async def _models(self, request: Request) -> Response:
        return self._guarded(request, lambda: json_response(self._service.models()))

    def _guarded(self, request: Request, answer: Callable[[], Response]) -> Response:
        try:
            self._check(request)
        except Refusal as refusal:
            return error_response(request.url.path, refusal.status, str(refusal), refusal.headers)
        return answer()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
