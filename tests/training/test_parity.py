import numpy as np
import pytest
from scipy.stats import kendalltau

from semantic_ranker.conversion.parity import ParityReport, ParityThresholds, kendall_tau, measure_parity
from semantic_ranker.conversion.sample_pairs import built_in_pairs, canary_pairs
from semantic_ranker.errors import ExportParityError, InvalidInputError
from semantic_ranker.tokenization import PairTokenizer


class Arithmetic:
    """A backend that is a formula of the arrays it gets, with one fault at a time."""

    name, precision = "arithmetic", "fp32"

    def __init__(self, *, noise=0.0, ignores_types=False, sees_padding=False, gives=None):
        self.noise, self.ignores_types, self.sees_padding, self.gives = noise, ignores_types, sees_padding, gives

    def run(self, input_ids, attention_mask, token_type_ids):
        types = np.zeros_like(token_type_ids) if self.ignores_types else token_type_ids
        mask = np.ones_like(attention_mask) if self.sees_padding else attention_mask
        total = (np.sin(input_ids * 0.7 + types) * mask).sum(1) / np.sqrt(mask.sum(1)) + self.noise * np.cos(
            input_ids.sum(1)
        )
        return np.full(len(total), self.gives, np.float32) if self.gives is not None else total.astype(np.float32)


@pytest.fixture(scope="module")
def tokenizer(bert_tokenizer):
    content = bert_tokenizer.to_str().encode()
    return PairTokenizer(content, layout="pair", max_length=128, max_query_tokens=32)


def measured(tokenizer, fp32, int8=None):
    return measure_parity(built_in_pairs(), tokenizer, Arithmetic(), fp32, int8)


def test_equal_backends_pass(tokenizer):
    report = measured(tokenizer, Arithmetic(), Arithmetic(noise=0.01))
    assert report.check() is report
    assert (report.pairs, report.queries) == (40, 8)
    assert report.fp32_max_difference == 0
    assert 0.9 < report.int8_tau <= 1
    assert 0 < report.int8_max_difference <= 0.01 + 1e-6
    assert report.token_type_effect > 0.1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"noise": 0.01}, "fp32 ONNX against torch, largest difference"),
        ({"ignores_types": True}, "fp32 ONNX against torch, largest difference"),
        ({"sees_padding": True}, "padded batches against single pairs"),
        ({"gives": float("nan")}, "got nan"),
    ],
)
def test_faulty_fp32_graphs_are_caught(tokenizer, fault, message):
    report = measured(tokenizer, Arithmetic(**fault))
    with pytest.raises(ExportParityError, match=message):
        report.check()


@pytest.mark.parametrize("fault", [{"noise": 2.0}, {"gives": 0.0}, {"gives": float("nan")}])
def test_faulty_int8_graphs_are_caught(tokenizer, fault):
    report = measured(tokenizer, Arithmetic(), Arithmetic(**fault))
    with pytest.raises(ExportParityError, match=r"Kendall tau a query: expected at least 0\.85"):
        report.check()
    with pytest.raises(ExportParityError, match="int8 error / deviation"):
        report.check()


def test_source_that_reads_no_token_types_is_not_asked_for_them(tokenizer):
    source = Arithmetic(ignores_types=True)
    source.uses_token_types = False
    report = measure_parity(built_in_pairs(), tokenizer, source, Arithmetic(ignores_types=True))
    assert report.check().token_type_effect is None
    assert report.int8_tau is None


def test_thresholds_can_be_tightened(tokenizer):
    report = measured(tokenizer, Arithmetic(), Arithmetic(noise=0.01))
    assert report.failures(ParityThresholds()) == []
    assert len(report.failures(ParityThresholds(relative_rmse=1e-6))) == 1


def test_figures_are_json_values(tokenizer):
    figures = measured(tokenizer, Arithmetic()).to_dict()
    assert ParityReport(**figures).to_dict() == figures
    assert all(value is None or isinstance(value, (int, float)) for value in figures.values())


def test_pairs_without_a_choice_are_refused(tokenizer):
    with pytest.raises(InvalidInputError, match="got 2 pairs of 2 queries"):
        measure_parity([("a", "x"), ("b", "y")], tokenizer, Arithmetic(), Arithmetic())
    with pytest.raises(InvalidInputError, match="got 0 pairs"):
        measure_parity([], tokenizer, Arithmetic(), Arithmetic())


def test_kendall_tau_is_scipys():
    random = np.random.default_rng(0)
    for _ in range(20):
        left, right = random.integers(0, 6, (2, 12)).astype(np.float32)
        assert kendall_tau(left, right) == pytest.approx(kendalltau(left, right).statistic)
    constant = np.zeros(4, np.float32)
    assert kendall_tau(constant, constant) == 1
    assert kendall_tau(constant, np.arange(4, dtype=np.float32)) == 0


def test_built_in_pairs_have_all_lengths_and_near_misses():
    pairs = built_in_pairs()
    assert len(pairs) == len(set(pairs)) == 40
    lengths = [len(text.split()) for _, text in pairs]
    assert min(lengths) < 10
    assert max(lengths) > 150
    assert {query for query, _ in canary_pairs()} < {query for query, _ in pairs}
