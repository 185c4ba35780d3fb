"""The documentation beside its programs: commands parse, names exist, docstrings and the notebook run."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import json
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType

import pytest

from semantic_ranker.cli import _parser

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
SHELL = re.compile(r"```bash\n(.*?)```", re.DOTALL)
SHOWN = re.compile(r"```py\n(.*?)```", re.DOTALL)
ROOTS = ("src", "integrations", "training")
DOCTESTS = sorted(
    ".".join(path.relative_to(ROOT / root).with_suffix("").parts)
    for root in ROOTS
    for path in (ROOT / root).rglob("*.py")
    if re.search(r"^ +>>> ", path.read_text(encoding="utf-8"), re.MULTILINE)
)


def _commands() -> list[tuple[str, str]]:
    """Return the page and the line of each of our commands in shell blocks."""
    lines = ((page, line) for page in PAGES for block in SHELL.findall(page.read_text()) for line in block.splitlines())
    return [(page.stem, line) for page, line in lines if line.startswith("semantic-ranker ")]


@pytest.mark.parametrize(("page", "line"), _commands())
def test_a_command_of_a_page_is_understood(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    options = _parser().parse_args(words)
    assert callable(options.run)
    for recipe in (word for word in words if word.startswith("training/recipes/")):
        assert (ROOT / recipe).is_file(), f"{page}: {recipe}"


def test_code_of_other_libraries_is_at_least_python() -> None:
    blocks = [(page, code) for page in PAGES for code in SHOWN.findall(page.read_text(encoding="utf-8"))]
    assert len(blocks) >= 4
    for page, code in blocks:
        compile(code, page.name, "exec")


@pytest.mark.parametrize("name", DOCTESTS)
def test_examples_in_docstrings_are_true(name: str) -> None:
    module = importlib.import_module(name)
    tests = [test for test in doctest.DocTestFinder().find(module, name) if test.examples]
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    assert tests
    for test in tests:
        assert runner.run(test).failed == 0, test.name


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_notebook_is_the_tutorial_and_runs(tmp_path: Path) -> None:
    maker = _module(DOCS / "_notebook.py")
    text = maker.NOTEBOOK.read_text(encoding="utf-8")
    assert text == maker.written(), "run: python docs/_notebook.py"
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    blocks = [("python", "".join(cell["source"])) for cell in cells]
    command = [sys.executable, str(Path(__file__).parent / "run_blocks.py")]
    done = subprocess.run(
        command, cwd=tmp_path, input=json.dumps(blocks), capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    shown = ["".join(cell["outputs"][0]["text"]) for cell in cells]
    assert [re.sub(r"\d+\.\d+", "0.0", text) for text in json.loads(done.stdout)] == [
        re.sub(r"\d+\.\d+", "0.0", text) for text in shown
    ]


def _luminance(colour: str) -> float:
    """Return the relative luminance of ``#rrggbb`` (WCAG 2.2)."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_picture_reads_on_a_light_and_on_a_dark_page() -> None:
    text = (DOCS / "images" / "three-hops.svg").read_text(encoding="utf-8")
    assert ElementTree.fromstring(text).get("role") == "img"
    boxes = set(re.findall(r'fill="(#(?!ffffff|808080)\w{6})"', text))
    assert len(boxes) == 4
    for box in boxes:
        assert _contrast(box, "#ffffff") > 4.5  # text in it is white
    for page in ("#ffffff", "#1e2129"):  # of the light and the dark scheme
        assert _contrast("#808080", page) > 3  # arrows


def test_every_page_of_the_site_is_there_and_every_page_is_reached() -> None:
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = re.findall(r"^\s+- ([\w/-]+\.md)$", config, re.MULTILINE)
    assert len(named) == len(set(named))
    assert set(named) <= {page.relative_to(DOCS).as_posix() for page in PAGES}
    for line in (DOCS / "api").glob("*.md"):
        for name in re.findall(r"^::: ([\w.]+)$", line.read_text(encoding="utf-8"), re.MULTILINE):
            module, _, attribute = name.rpartition(".")
            try:
                importlib.import_module(name)
            except ModuleNotFoundError:
                assert hasattr(importlib.import_module(module), attribute), name


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-W", "ignore", "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_loads_nothing_from_a_network(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=[\"']?(https?://[^\"' >]+)", text)
        assert loaded == [], page.name


def test_the_search_is_offline_and_examples_are_shown_as_programs(site: Path) -> None:
    index = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    assert index.startswith("var __index = ")
    assert "destilaci" in index  # of the Spanish pages
    assert (site / "assets" / "iframe-worker.js").is_file()
    assert "how do I reset my password" in (site / "api" / "ranking.html").read_text(encoding="utf-8")
    assert (site / "plots" / "quality.svg").is_file()
