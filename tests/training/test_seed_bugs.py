"""Every bug of the seeds' training side, and the tests which show that this one does not have it."""

import ast
from pathlib import Path

import pytest

from semantic_ranker_training.hard_negatives import HardNegativeMiner

TESTS = Path(__file__).parents[1]
BENCHMARKS = TESTS.parent / "benchmarks"
OTHERS = ("bge", "minilm", "flashrank", "elastic", "cohere", "jina", "mxbai", "colbert", "langchain", "llama")
TABLE = {
    "nDCG's ideal taken from the retrieved labels": (
        "training/cross_encoder/test_evaluator.py::test_relevant_texts_outside_the_candidates_lower_the_measures"
    ),
    "MAP and recall divided by what was retrieved": (
        "core/evaluation/test_metrics.py::test_relevant_documents_that_were_not_found_lower_the_score"
    ),
    "two gains for one measure": "training/cross_encoder/test_evaluator.py::test_gains_are_linear_in_the_grade",
    "ties placed by the order of the input": (
        "training/cross_encoder/test_evaluator.py::"
        "test_a_constant_scorer_gets_the_same_whatever_the_order_of_the_candidates"
    ),
    "candidates that always hold the answer": (
        "training/cross_encoder/test_evaluator.py::"
        "test_held_out_candidates_are_what_bm25_finds_and_not_what_is_relevant"
    ),
    "token types never exported": "training/test_export.py::test_hugging_face_classifier_scores_as_in_transformers",
    "fp16 and int8 asked for, fp32 given": (
        "training/test_export_gate.py::test_optimizer_gives_the_precision_that_was_asked_for"
    ),
    "int8 for one kind of CPU, one scale a tensor": (
        "training/test_export.py::test_int8_graph_quantises_the_large_weights_only"
    ),
    "a quantised model that cannot be opened again": (
        "training/test_export_gate.py::test_plain_onnxruntime_runs_it_without_our_code"
    ),
    "every pair padded to 512 tokens": (
        "training/cross_encoder/test_trainer.py::test_batches_are_padded_to_their_own_longest_pair"
    ),
    "gradients not clipped": "training/cross_encoder/test_trainer.py::test_gradients_are_clipped",
    "fp16 taken where there is none": "training/cross_encoder/test_trainer.py::test_fp16_on_a_cpu_is_refused",
    "no resume": (
        "training/cross_encoder/test_processes.py::test_a_run_that_is_killed_half_way_ends_with_the_same_weights"
    ),
    "the best model by its loss": (
        "training/cross_encoder/test_trainer.py::test_the_best_checkpoint_by_ndcg_is_the_one_that_is_kept"
    ),
    "the last partial accumulation dropped": (
        "training/cross_encoder/test_trainer.py::test_the_last_partial_accumulation_is_a_step_too"
    ),
    "a loss that is chosen and never called": (
        "training/cross_encoder/test_losses.py::test_every_loss_has_a_gradient_of_its_own"
    ),
    "an adapter without its head": (
        "training/cross_encoder/test_lora.py::test_adapter_on_its_base_and_merged_model_score_alike"
    ),
    "mine() not as the guide calls it": "training/test_hard_negatives.py::test_mine_as_the_guide_calls_it",
    "negatives not filtered": ("training/test_hard_negatives.py::test_candidates_as_close_as_the_positive_are_dropped"),
    "all queries sorted against all documents at once": (
        "training/test_hard_negatives.py::test_blocks_do_not_change_the_result"
    ),
    "the same triple mined twice": "training/test_hard_negatives.py::test_mine_from_dataset_gives_no_triple_twice",
    "rounds of mining with no training between them": (
        "training/test_seed_bugs.py::test_no_rounds_of_mining_are_offered_that_would_not_train"
    ),
    "figures of other systems typed into a script": (
        "training/test_seed_bugs.py::test_no_benchmark_has_another_systems_figure_typed_in"
    ),
    "calibrated on three built-in sentences": (
        "training/test_calibrated.py::test_a_release_calibrates_on_all_sources_of_its_run"
    ),
    "one call of the model a query": "core/test_retrieval.py::test_many_queries_are_one_call_of_each_stage",
}


@pytest.mark.parametrize("bug", TABLE)
def test_a_bug_of_the_seeds_has_its_test(bug):
    file, _, name = TABLE[bug].partition("::")
    assert f"\ndef {name}(" in (TESTS / file).read_text(encoding="utf-8")


def typed_in(source):
    """Yield the names of other systems that stand beside a number in a dict or an assignment."""
    for node in ast.walk(ast.parse(source)):
        pairs = []
        if isinstance(node, ast.Dict):
            pairs = list(zip(node.keys, node.values, strict=True))
        elif isinstance(node, ast.Assign):
            pairs = [(target, node.value) for target in node.targets]
        for name, value in pairs:
            words = ast.unparse(name).lower() if name is not None else ""
            numbers = [part for part in ast.walk(value) if isinstance(part, ast.Constant) and type(part.value) is float]
            if numbers and isinstance(value, (ast.Constant, ast.Dict, ast.Tuple, ast.List)):
                yield from (other for other in OTHERS if other in words)


def test_no_benchmark_has_another_systems_figure_typed_in():
    assert list(typed_in('baselines = {"bge-reranker-base": {"ndcg@10": 0.650}, "ms-marco-MiniLM": 0.743}')) == [
        "bge",
        "minilm",
    ]
    scripts = sorted(BENCHMARKS.glob("**/*.py"))
    assert scripts
    assert {script.name: found for script in scripts if (found := list(typed_in(script.read_text("utf-8"))))} == {}


def test_no_rounds_of_mining_are_offered_that_would_not_train():
    # The seed mined again and again with the same model. Here a round is a run of `mine` with the model of the last.
    assert not [name for name in dir(HardNegativeMiner) if "iter" in name.lower()]
