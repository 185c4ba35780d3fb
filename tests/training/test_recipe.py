"""Recipes: read, overridden, refused with the nearest name."""

import pytest

from semantic_ranker import InvalidInputError
from semantic_ranker_training.config import Recipe

TEXT = """
name = "m"
base = "folder"
steps = 5
[[sources]]
file = "train/pairs.jsonl"
passages = 10
queries = 5
"""


@pytest.fixture
def recipe_file(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(TEXT)
    return path


def test_overrides_are_typed_and_win(recipe_file):
    recipe = Recipe.from_toml(
        recipe_file, ["steps=7", "learning_rate=1e-3", "teacher=some/folder", "batch_queries = 3"]
    )
    assert (recipe.steps, recipe.learning_rate, recipe.teacher, recipe.batch_queries) == (7, 1e-3, "some/folder", 3)
    assert recipe.sources[0].name == "pairs"
    assert recipe.to_dict()["sources"][0]["passages"] == 10


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("step=7", "did you mean 'steps'"),
        ("zzzz=1", "known: name, base"),
        ("steps", "key=value"),
        ("group_size=1", "group_size from 2 to 27"),
        ("steps=0", "steps and batch_queries"),
    ],
)
def test_bad_overrides_are_refused(recipe_file, override, message):
    with pytest.raises(InvalidInputError, match=message):
        Recipe.from_toml(recipe_file, [override])


@pytest.mark.parametrize("text", ["name = ", 'name = "m"\nbase = "b"', 'name = "m"\n[[sources]]\nfile = "f"'])
def test_unusable_files_are_refused(tmp_path, text):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(InvalidInputError):
        Recipe.from_toml(path)


def test_absent_file_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="Cannot read the recipe"):
        Recipe.from_toml(tmp_path / "none.toml")
