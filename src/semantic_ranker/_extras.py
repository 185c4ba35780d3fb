"""Optional packages: where one lies, and one way to say that it is missing."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def package_folder(name: str) -> Path | None:
    """Return the folder of an installed package, without importing it; None if there is none."""
    spec = importlib.util.find_spec(name)
    places = (spec and spec.submodule_search_locations) or ()
    return next(map(Path, places), None)


@contextmanager
def requires_extra(extra: str) -> Iterator[None]:
    """Turn a failed import of an optional package into one that names the line that installs it.

    Args:
        extra: Name of the extra in ``pyproject.toml``, such as ``langchain``.

    Raises:
        ModuleNotFoundError: An import inside the block failed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "an optional package").split(".")[0]
        if package == "semantic_ranker":
            raise
        message = f"'{package}' is not installed; run: pip install 'semantic-ranker[{extra}]'"
        raise ModuleNotFoundError(message, name=error.name, path=error.path) from error
