"""The training readme: every name of the guides is where its table says, every file and command is there."""

import importlib
import re
from pathlib import Path

import pytest

from semantic_ranker.cli import main

TRAINING = Path(__file__).parents[2] / "training"
README = (TRAINING / "README.md").read_text(encoding="utf-8")
GUIDES = README.split("## The guides' names")[1].split("\n## ")[0]
ROWS = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", GUIDES, re.MULTILINE))
NAMES = {guide: here.strip("`") for guide, here in ROWS.items() if "." in here}
COMMANDS = [
    words
    for here in ROWS.values()
    if "semantic-ranker" in here
    for words in re.findall(r"`(?:semantic-ranker )?([\w -]+)`", here)
]


@pytest.mark.parametrize("guide", NAMES)
def test_a_name_of_the_guides_is_where_the_table_says(guide):
    module, _, name = NAMES[guide].rpartition(".")
    found = getattr(importlib.import_module(module), name)
    first, *methods = re.findall(r"\w+(?=[(.`])", guide)
    assert first == name
    assert all(hasattr(found, method) for method in methods)


def test_the_table_has_all_classes_that_the_guides_import():
    assert {here.rpartition(".")[2] for here in NAMES.values()} >= {
        "MSMARCODataLoader",
        "DataPreprocessor",
        "CrossEncoderTrainer",
        "HardNegativeMiner",
        "ModelOptimizer",
        "RankerEvaluator",
    }


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_of_the_table_is_there(words, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*words.split(), "--help"])
    assert stopped.value.code == 0
    assert words in capsys.readouterr().out


def test_files_and_recipes_of_the_readme_are_there():
    files = re.findall(r"^\| `(semantic_ranker_training/[\w./]+)` \|", README, re.MULTILINE)
    assert len(files) > 5
    assert [name for name in files if not (TRAINING / name).exists()] == []
    recipes = re.findall(r"^semantic-ranker train training/(\S+)", README, re.MULTILINE)
    assert len(recipes) == 3
    assert [name for name in recipes if not (TRAINING / name).is_file()] == []
