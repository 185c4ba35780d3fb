import pytest

from semantic_ranker.catalogue import DEFAULT, USE_CASES, ModelSpec, find, specs
from semantic_ranker.embedder import Embedder
from semantic_ranker.embedding.choice import choose_model
from semantic_ranker.embedding.sources import is_here
from semantic_ranker.errors import InvalidInputError

NAMES = [spec.name for spec in specs()]


def everything(spec):
    return True


@pytest.mark.parametrize("spec", specs(), ids=NAMES)
def test_every_model_is_described_completely(spec):
    assert spec.dim > 0
    assert spec.languages
    assert all(code == "*" or (len(code) == 2 and code.islower()) for code in spec.languages)
    assert spec.licence
    assert spec.megabytes
    assert set(spec.megabytes) <= {"fp32", "fp16", "int8"}
    assert spec.use_cases
    assert set(spec.use_cases) <= set(USE_CASES)
    assert all(dim < spec.dim for dim in spec.matryoshka)
    assert spec.obtained
    assert spec.needs_download == (spec.source == "hub")
    assert find(spec.name.upper()) is spec


def test_the_models_of_the_issue_are_there():
    assert find("all-MiniLM-L6-v2").dim == 384
    assert find("sentence-transformers/all-mpnet-base-v2").dim == 768
    assert find("use-multilingual").dim == 512
    assert find("use-multilingual").speaks("es")
    assert find("intfloat/multilingual-e5-large").dim == 1024
    assert find("intfloat/multilingual-e5-large").speaks("sw")
    assert find("nothing-like-it") is None


def test_what_the_catalogue_says_of_the_bundled_model_is_so():
    spec, embedder = find(DEFAULT), Embedder()
    assert (spec.dim, spec.max_length) == (embedder.space.dim, embedder.space.max_length)
    assert spec.name == embedder.space.model
    assert is_here(spec)
    named = Embedder(DEFAULT)
    assert named.space == embedder.space


def test_a_wrong_key_in_the_data_is_refused_with_the_nearest():
    values = {"title": "t", "source": "hub", "dim": 3, "languages": ["en"], "licence": "MIT", "max_length": 5}
    assert ModelSpec.from_dict("a/b", values).hub == "a/b"
    with pytest.raises(InvalidInputError, match=r"'license'.*licence"):
        ModelSpec.from_dict("a/b", {**values, "license": "MIT"})
    with pytest.raises(InvalidInputError, match="title"):
        ModelSpec.from_dict("a/b", {"dim": 3})


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ({"dim": 384}, "BAAI/bge-small-en-v1.5"),
        ({"dim": 512}, "mixedbread-ai/mxbai-embed-large-v1"),
        ({"dim": 512, "languages": ["es"]}, "use-multilingual"),
        ({"dim": 768}, "Snowflake/snowflake-arctic-embed-m-v1.5"),
        ({"dim": 1024, "languages": ["es", "en"]}, "intfloat/multilingual-e5-large"),
        ({"memory": 60}, "BAAI/bge-small-en-v1.5"),
        ({"memory": 60, "latency": 25}, "all-MiniLM-L6-v2"),
        ({"memory": 20}, DEFAULT),
        ({"latency": 1}, DEFAULT),
        ({"use_case": "bulk"}, DEFAULT),
        ({"use_case": "bulk", "languages": ["es"]}, "intfloat/multilingual-e5-small"),
        (
            {"use_case": "clustering", "languages": ["sv"]},
            "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
        ),
        ({"use_case": "similarity", "dim": 768, "languages": ["zh"]}, "intfloat/multilingual-e5-base"),
    ],
)  # fmt: skip
def test_the_choice_for_a_wish(wish, expected):
    choice = choose_model(**wish, is_here=everything)
    assert choice.spec.name == expected
    assert choice.dim == wish.get("dim", choice.spec.dim)
    assert choice.reasons
    assert {name for name, _ in choice.rejected} | {expected} == set(NAMES)
    assert all(reason for _, reason in choice.rejected)


def test_a_smaller_dimension_comes_with_what_the_embedder_takes():
    choice = choose_model(dim=512, is_here=everything)
    assert choice.truncate_dim == 512
    assert choose_model(dim=384, is_here=everything).truncate_dim is None


def test_the_memory_decides_the_precision():
    assert choose_model(dim=1024, memory=5000, is_here=everything).precision == "fp32"
    assert choose_model(dim=1024, memory=1100, is_here=everything).precision == "fp16"
    assert choose_model(dim=1024, is_here=everything).precision == "auto"


def test_models_that_are_not_here_are_only_chosen_when_downloading_is_allowed():
    def bundled(spec):
        return spec.source == "bundled"

    assert choose_model(is_here=bundled).spec.name == DEFAULT
    assert choose_model(download=True, is_here=bundled).spec.needs_download
    with pytest.raises(InvalidInputError, match="download=True"):
        choose_model(languages=["es"], is_here=bundled)
    refused = dict(choose_model(is_here=everything).rejected)
    assert "auto_map" in refused["nomic-ai/nomic-embed-text-v1.5"]


@pytest.mark.parametrize(
    "wish",
    [
        {"use_case": "magic"},
        {"languages": "en"},
        {"languages": [3]},
        {"dim": 0},
        {"dim": True},
        {"memory": -1},
        {"latency": "fast"},
    ],
)
def test_a_wish_that_cannot_be_read_is_refused(wish):
    with pytest.raises(InvalidInputError, match=next(iter(wish))):
        choose_model(**wish, is_here=everything)


def test_a_wish_that_nothing_fulfils_says_what_stands_in_the_way_of_each():
    with pytest.raises(InvalidInputError, match="none fits") as caught:
        choose_model(dim=333, is_here=everything)
    assert all(name in str(caught.value) for name in NAMES)


def test_what_is_on_this_machine_can_be_chosen_without_arguments():
    assert is_here(choose_model().spec)
