from semantic_ranker.conversion.parity import ParityReport
from semantic_ranker_training.card import model_card
from semantic_ranker_training.manifest import DataSource, Metric, ModelMetadata

PARITY = ParityReport(
    pairs=40, queries=8, deviation=2.0, fp32_max_difference=1.3e-5, batch_max_difference=1e-6,
    int8_tau=0.97, int8_relative_rmse=0.05, int8_max_difference=0.2,
)  # fmt: skip
METADATA = ModelMetadata(
    name="reranker-en",
    version="0.1.0",
    base_model="sentence-transformers/all-MiniLM-L6-v2",
    license="apache-2.0",
    languages=("en",),
    recipe="Distilled without labels.",
    data=(DataSource(name="medquad", license="CC BY 4.0", use="300 queries | no labels"),),
    seen=("The base was trained on MS MARCO.",),
    limits=("English only.",),
    metrics=(
        Metric(collection="scifact", name="nDCG@10", value=0.72, low=0.69, high=0.75, baselines={"BM25": 0.679}),
        Metric(collection="cacm", name="nDCG@10", value=0.55, baselines={"RRF": 0.548}),
    ),
)


def test_card_tells_all_that_is_known():
    card = model_card(METADATA, PARITY, ("fp32", "int8"))
    assert "# reranker-en 0.1.0" in card
    assert "| medquad | CC BY 4.0 | 300 queries \\| no labels |" in card
    assert "| collection | metric | this model | BM25 | RRF |" in card
    assert "| scifact | nDCG@10 | 0.720 [0.690, 0.750] | 0.679 | - |" in card
    assert "| cacm | nDCG@10 | 0.550 | - | 0.548 |" in card
    for text in (
        "Distilled without labels.",
        "- The base was trained on MS MARCO.",
        "- English only.",
        "1.3e-05",
        "0.970",
    ):
        assert text in card


def test_front_matter_is_one_mapping_whatever_the_names():
    card = model_card(ModelMetadata(name="m", license='a"b\nc: d', languages=("en",)), PARITY, ("int8",))
    front = card.split("---\n")[1].splitlines()
    assert front == [
        "library_name: semantic-ranker", "pipeline_tag: text-ranking", 'license: "a\\"b\\nc: d"', 'language: ["en"]',
    ]  # fmt: skip


def test_what_is_not_known_is_said():
    card = model_card(ModelMetadata(name="m"), PARITY, ("fp32",))
    assert card.count("Not stated.") == 5
    assert "None measured." in card
    assert "Weights: unknown." in card


def test_card_speaks_only_of_weights_that_are_there():
    assert "int8 against" not in model_card(METADATA, PARITY, ("fp32",))
    assert "fp32 ONNX" not in model_card(METADATA, PARITY, ("int8",))


def test_folder_has_the_card(interaction_export):
    folder, report = interaction_export
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "# tiny 1.0.0" in card
    assert f"{report.parity.int8_tau:.3f}" in card
