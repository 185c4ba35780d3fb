"""The README does what it says: its programs run offline and print what stands below them.

The rule of comparison: the same lines and words in the same order. Numbers with a decimal point are scores
of the bundled model and may differ by `SCORE_TOLERANCE`, so that better weights do not break the README.
`UPDATE_README=1` writes what the programs print now into the file.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
SCORE_TOLERANCE = 0.15
PROGRAM = re.compile(r"```python\n(?P<code>.*?)```\n\n```text\n(?P<printed>.*?)```", re.DOTALL)
CONSOLE = re.compile(r"```console\n(?P<code>(?:\$ [^\n]*\n)+)(?P<printed>.*?)```", re.DOTALL)
SHELL = re.compile(r"```bash\n(.*?)```", re.DOTALL)
NUMBER = re.compile(r"-?\d+\.\d+")


def _blocks() -> list[re.Match[str]]:
    """Return the blocks that show output: programs, then console sessions."""
    text = README.read_text(encoding="utf-8")
    return [*PROGRAM.finditer(text), *CONSOLE.finditer(text)]


def _run(block: re.Match[str], folder: Path) -> str:
    if block.re is CONSOLE:
        command = ["bash", "-e", "-c", re.sub(r"^\$ ", "", block["code"], flags=re.MULTILINE)]
    else:
        command = [sys.executable, "-c", block["code"]]
    scripts = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "PATH": scripts, "COLUMNS": "100"}
    done = subprocess.run(
        command, cwd=folder, env=offline, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _commands() -> list[str]:
    blocks = SHELL.findall(README.read_text(encoding="utf-8"))
    return [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]


def test_every_program_and_console_session_is_followed_by_its_output() -> None:
    text = README.read_text(encoding="utf-8")
    assert text.count("```python") + text.count("```console") == len(_blocks()) == 4


@pytest.mark.parametrize("number", range(4))
def test_a_block_prints_what_the_readme_shows(number: int, tmp_path: Path) -> None:
    block = _blocks()[number]
    printed = _run(block, tmp_path)
    if "UPDATE_README" in os.environ:
        text = README.read_text(encoding="utf-8")
        README.write_text(text[: block.start("printed")] + printed + text[block.end("printed") :], encoding="utf-8")
        return
    assert NUMBER.sub("0.0", printed) == NUMBER.sub("0.0", block["printed"])
    now, shown = ([float(score) for score in NUMBER.findall(text)] for text in (printed, block["printed"]))
    assert now == pytest.approx(shown, abs=SCORE_TOLERANCE)


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
    for name in ("README.md", "examples/README.md", "CONTRIBUTING.md"):
        page = ROOT / name
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{name}: {target}"


def test_it_fits_on_two_hundred_lines_and_keeps_its_generated_part() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 200
    assert text.count("<!-- begin generated: quality -->") == text.count("<!-- end generated: quality -->") == 1
