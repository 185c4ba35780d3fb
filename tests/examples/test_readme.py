"""README and docs do what they say: their programs run offline and print what stands below them.

The blocks of a page of `docs/` run one after the other in one process and folder; those of the README each in their
own. Blocks marked `py` instead of `python` are code of other libraries, shown and not run.

The rule of comparison: the same lines and words in the same order. Numbers with a decimal point are scores
of the bundled model and may differ by `SCORE_TOLERANCE`, so that better weights do not break the README.
`UPDATE_README=1` writes what the programs print now into the files.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").rglob("*.md"))
RUNNER = Path(__file__).parent / "run_blocks.py"
SCORE_TOLERANCE = 0.15
PROGRAM = re.compile(r"```python\n(?P<code>.*?)```\n\n```text\n(?P<printed>.*?)```", re.DOTALL)
CONSOLE = re.compile(r"```console\n(?P<code>(?:\$ [^\n]*\n)+)(?P<printed>.*?)```", re.DOTALL)
SHELL = re.compile(r"```bash\n(.*?)```", re.DOTALL)
NUMBER = re.compile(r"-?\d+\.\d+")


def _blocks(page: Path = README) -> list[re.Match[str]]:
    """Return the blocks that show output, in order."""
    text = page.read_text(encoding="utf-8")
    return sorted([*PROGRAM.finditer(text), *CONSOLE.finditer(text)], key=lambda block: block.start())


def _check(page: Path, block: re.Match[str], printed: str) -> None:
    if "UPDATE_README" in os.environ:
        text = page.read_text(encoding="utf-8")
        page.write_text(
            text.replace(block[0], block[0][: -len(block["printed"]) - 3] + printed + "```"), encoding="utf-8"
        )
        return
    assert NUMBER.sub("0.0", printed) == NUMBER.sub("0.0", block["printed"])
    now, shown = ([float(score) for score in NUMBER.findall(text)] for text in (printed, block["printed"]))
    assert now == pytest.approx(shown, abs=SCORE_TOLERANCE)


def _kind_and_code(block: re.Match[str]) -> tuple[str, str]:
    if block.re is CONSOLE:
        return "console", re.sub(r"^\$ ", "", block["code"], flags=re.MULTILINE)
    return "python", block["code"]


def _run(blocks: list[tuple[str, str]], folder: Path) -> list[str]:
    """Run blocks in one process and return what each printed."""
    scripts = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "PATH": scripts, "COLUMNS": "100", "PYTHONWARNINGS": "ignore"}
    offline |= {"SEMANTIC_RANKER_EXAMPLES": str(ROOT / "examples")}
    done = subprocess.run(
        [sys.executable, str(RUNNER)],
        cwd=folder,
        env=offline,
        input=json.dumps(blocks),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed: list[str] = json.loads(done.stdout)
    return printed


def _commands() -> list[str]:
    blocks = SHELL.findall(README.read_text(encoding="utf-8"))
    return [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]


def test_every_program_and_console_session_is_followed_by_its_output() -> None:
    text = README.read_text(encoding="utf-8")
    assert text.count("```python") + text.count("```console") == len(_blocks()) == 5


@pytest.mark.parametrize("number", range(5))
def test_a_block_prints_what_the_readme_shows(number: int, tmp_path: Path) -> None:
    block = _blocks()[number]
    _check(README, block, *_run([_kind_and_code(block)], tmp_path))


def test_every_block_of_a_page_is_followed_by_its_output() -> None:
    for page in DOCS:
        text = page.read_text(encoding="utf-8")
        assert text.count("```python") + text.count("```console") == len(_blocks(page)), page.name


@pytest.mark.parametrize("page", [page for page in DOCS if _blocks(page)], ids=lambda page: page.stem)
def test_a_page_prints_what_it_shows(page: Path, tmp_path: Path) -> None:
    blocks = _blocks(page)
    for block, printed in zip(blocks, _run([_kind_and_code(block) for block in blocks], tmp_path), strict=True):
        _check(page, block, printed)


def test_shell_commands_name_targets_extras_and_files_that_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    for command in _commands():
        words = command.split()
        if words[0] == "make":
            assert words[1] in targets
        for extras in re.findall(r"\[([a-z,-]+)\]", command):
            assert set(extras.split(",")) <= set(project["optional-dependencies"])
        for path in (word for word in words if word.endswith(".toml")):
            assert (ROOT / path).is_file(), command


def test_links_lead_to_files() -> None:
    for page in (README, *DOCS, *(ROOT / name for name in ("examples/README.md", "CONTRIBUTING.md"))):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_it_fits_on_two_hundred_and_twenty_lines_and_keeps_its_generated_part() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 220
    assert text.count("<!-- begin generated: quality -->") == text.count("<!-- end generated: quality -->") == 1


def test_generated_parts_are_what_the_results_say() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "tables.py"), "--check"]
    assert subprocess.run(command, check=False).returncode == 0


def test_every_command_stands_in_the_table() -> None:
    command = [sys.executable, "-m", "semantic_ranker.cli", "--help"]
    help_text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    commands = set(re.findall(r"^    ([a-z][a-z-]*)(?: |$)", help_text, re.MULTILINE))
    table = re.findall(r"^\| (`[a-z`, -]*`) \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert commands == {name for row in table for name in re.findall(r"[a-z-]+", row)}
