"""Keeps the libraries' bars and expected warnings off standard error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_library() -> Iterator[None]:
    """Keep the libraries from listing what is expected (a new head) and from drawing bars where nobody looks."""
    from transformers.utils import logging as bars

    libraries = [logging.getLogger(name) for name in ("transformers", "sentence_transformers")]
    before, drawn = [library.level for library in libraries], bars.is_progress_bar_enabled()
    for library in libraries:
        library.setLevel(logging.ERROR)
    if not sys.stderr.isatty():
        bars.disable_progress_bar()
    try:
        yield
    finally:
        for library, level in zip(libraries, before, strict=True):
            library.setLevel(level)
        if drawn:
            bars.enable_progress_bar()
