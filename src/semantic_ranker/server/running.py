"""Runs a server until it is told to stop: a socket, uvicorn, and an end that lets running requests finish."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable

from semantic_ranker._extras import requires_extra
from semantic_ranker.errors import InvalidInputError
from semantic_ranker.server.config import ServerConfig
from semantic_ranker.server.service import Service

_MOST_CONNECTIONS = 1000


def serve(service: Service, config: ServerConfig | None = None, *, ready: Callable[[str], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; what is running then is finished first.

    Args:
        service: What computes; its models are opened before the first request is taken.
        config: Address and limits.
        ready: Called with the URL once requests are taken.

    Raises:
        InvalidInputError: The address is taken, or is none of this machine's.
        ModelLoadError: A model is absent or refused.
        ModuleNotFoundError: The extra ``server`` is not installed.
    """
    with requires_extra("server"):
        import uvicorn

        from semantic_ranker.server.app import create_app

    config = config or ServerConfig()
    app = create_app(service, config)
    with _bound(config) as listener:
        service.warm()
        host, port = listener.getsockname()[:2]
        if ready is not None:
            ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                limit_concurrency=_MOST_CONNECTIONS,
                timeout_graceful_shutdown=max(1, round(config.shutdown_s)),
                lifespan="off",
            )
        )
        if threading.current_thread() is threading.main_thread():
            # The server raises the signal once more when it is done, for whoever waits on it: that ends nothing here.
            signal.signal(signal.SIGTERM, lambda *_: None)
        try:
            server.run(sockets=[listener])
        finally:
            app.state.close()


def _bound(config: ServerConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((config.host, config.port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise InvalidInputError(
            f"Cannot listen on {config.host}:{config.port} ({error.strerror}): choose another host or port."
        ) from error
    return listener
