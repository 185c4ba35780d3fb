"""Lets pages link to files beside `docs/`: plots come along into the site, other files are named without a link."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

PLOTS = "benchmarks/results"
_PLOT = re.compile(rf"\]\((?:\.\./)+{PLOTS}/([\w.-]+\.svg)\)")
_OUTSIDE = re.compile(r"(?<!!)\[([^\]]+)\]\((?:\.\./)+(?:(?:training|examples|benchmarks|src)/|README)[^)]*\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the plots of the benchmarks as files of the site."""
    for path in sorted((Path(config.config_file_path).parent / PLOTS).glob("*.svg")):
        files.append(File.generated(config, f"plots/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point at the plots where the site has them."""
    up = "../" * page.file.src_uri.count("/")
    return _OUTSIDE.sub(r"\1", _PLOT.sub(rf"]({up}plots/\1)", markdown))
