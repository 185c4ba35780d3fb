"""What the pages say of quality, time and relevance scores is what the result files say."""

from __future__ import annotations

import itertools
import json
import math
import re
import shutil
import sys
from collections.abc import Callable
from functools import reduce
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from semantic_ranker_training.calibration import fit_platt

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
RESULTS = BENCHMARKS / "results"
PAGE = ROOT / "docs" / "models.md"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    return import_module


@pytest.fixture
def results(tmp_path: Path, module: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the result files, which the tables read."""
    copy = tmp_path / "results"
    shutil.copytree(RESULTS, copy)
    monkeypatch.setattr(module("table_parts"), "RESULTS", copy)
    monkeypatch.setattr(module("pareto"), "MODELS", dict(module("pareto").MODELS))
    return copy


def _read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return content


def _written(block: str) -> dict[tuple[str, ...], list[str]]:
    """Return the cells of the page's generated table by its first cell, or first two where the second names a kind."""
    text = PAGE.read_text(encoding="utf-8")
    part = text.split(f"<!-- begin generated: {block} -->")[1].split(f"<!-- end generated: {block} -->")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*", part, re.MULTILINE)]
    keys = 2 if block == "pareto" else 1
    return {tuple(cells[:keys]): cells[keys:] for cells in lines[2:]}


def _numbers(cell: str) -> list[float]:
    return [float(found.replace(",", "")) for found in re.findall(r"\d[\d,]*\.?\d*", cell)]


def test_the_page_has_the_time_and_quality_of_the_result_files() -> None:
    macro, contenders, page = _read("quality")["macro"], _read("latency")["contenders"], _written("pareto")
    systems = {"bundled": "reranker", "bundled + BM25": "reranker + BM25, fitted"}
    for (name, system), kind in itertools.product(systems.items(), ("new", "known")):
        time, quality, _ = page[name, kind]
        (milliseconds,) = _numbers(time)
        assert milliseconds == pytest.approx(
            1000 * contenders[f"bundled int8, {kind} passages"]["cpu_s_per_100"], abs=1
        )
        assert _numbers(quality) == pytest.approx([macro[system][end] for end in ("mean", "low", "high")], abs=0.0006)
    cascade = _numbers(page["cascade", "new"][1])[0]
    assert cascade == pytest.approx(macro["reranker"]["mean"] + _read("cascade")["macro"]["change"], abs=0.0006)
    assert page["MiniLM", "known"][0].startswith("about ")
    assert page["BM25 alone", ""][:1] == ["0 ms"]


def test_the_page_has_the_reliability_of_the_result_file() -> None:
    ways, page = _read("reliability")["ways"], _written("reliability")
    shipped, refitted = ways["as shipped"], ways["refitted on the other three"]
    evenly = ways["as shipped, were as many relevant as not"]
    rates = ("recall", "others_above", "precision")
    for name, part in shipped["collections"].items():
        cells = page[(name,)]
        best = part["best_f1"]["threshold"]
        expected = [
            [100 * part["relevant"]],
            *([part["at_0.5"][rate][end] for end in ("mean", "low", "high")] for rate in rates),
            [best["mean"], best["low"], best["high"]],
            *([way["collections"][name]["expected_error"]] for way in (evenly, shipped, refitted)),
        ]
        for cell, values, step in zip(cells, expected, (0.1, *[0.01] * 3, *[1e-3] * 4), strict=True):
            assert _numbers(cell) == pytest.approx(values, abs=0.51 * step), (name, cell)
    assert _numbers(page[("**mean**",)][6]) == pytest.approx([shipped["mean"]["expected_error"]], abs=0.00051)


@pytest.mark.parametrize(
    ("file", "keys"),
    [
        ("latency", ("contenders", "bundled int8, known passages", "cpu_s_per_100")),
        ("latency", ("contenders", "ours fp32", "cpu_s_per_100")),
        ("quality", ("macro", "RRF", "high")),
        ("cascade", ("macro", "change")),
        ("embedder_peers", ("threads", "1", "contenders", "ours MiniLM fp32", "one_text_p50_ms")),
        ("reliability", ("ways", "as shipped", "collections", "cosqa", "at_0.5", "precision", "mean")),
        ("reliability", ("ways", "as shipped", "collections", "cacm", "best_f1", "threshold", "low")),
        ("reliability", ("ways", "refitted on the other three", "collections", "scifact", "expected_error")),
        ("reliability", ("ways", "as shipped, were as many relevant as not", "mean", "expected_error")),
        ("reliability", ("ways", "fitted on other queries of the collection", "mean", "expected_error")),
    ],
)
def test_a_page_is_out_of_date_once_a_figure_changes(
    results: Path, module: Callable[[str], ModuleType], file: str, keys: tuple[str, ...]
) -> None:
    tables, text = module("tables"), PAGE.read_text(encoding="utf-8")
    assert tables.page(PAGE, tables.BLOCKS["docs/models.md"]) == text
    content = _read(file)
    entry = reduce(lambda part, key: part[key], keys[:-1], content)
    entry[keys[-1]] = 1.1 * entry[keys[-1]] + 0.01
    (results / f"{file}.json").write_text(json.dumps(content))
    assert tables.page(PAGE, tables.BLOCKS["docs/models.md"]) != text


def test_the_result_files_speak_of_one_model() -> None:
    assert _read("reliability")["model"] == _read("quality")["model"] == _read("cascade")["model"]


def _with_another(pareto: ModuleType, results: Path, *, timed: bool) -> None:
    pareto.MODELS["other"] = "other"
    (results / "quality_other.json").write_text(json.dumps(_read("quality")))
    found = {"bundled int8, new passages": 2.0, "other int8, new passages": 0.1, "other int8, known passages": 0.002}
    contenders = {name: {"cpu_s_per_100": seconds} for name, seconds in found.items()}
    if timed:
        (results / "latency_other.json").write_text(json.dumps({"contenders": contenders}))


def test_a_further_model_appears_with_its_quality_and_a_time_by_the_ratio_within_its_run(
    results: Path, module: Callable[[str], ModuleType]
) -> None:
    pareto = module("pareto")
    for timed in (False, True):
        _with_another(pareto, results, timed=timed)
        names = [(point.name, point.known) for point in pareto.points()]
        assert (("other", False) in names) == (("other + BM25", True) in names) == timed
    bundled = 1000 * _read("latency")["contenders"]["bundled int8, new passages"]["cpu_s_per_100"]
    times = {(point.name, point.known): point.milliseconds for point in pareto.points()}
    assert times["other", False] == pytest.approx(bundled / 20)
    assert times["other", True] == pytest.approx(bundled / 1000)
    assert times["bundled", False] == bundled


def test_the_frontier_holds_what_no_other_of_its_kind_beats(module: Callable[[str], ModuleType]) -> None:
    pareto = module("pareto")
    found = pareto.points()
    for known in (True, False):
        best = pareto.front(found, known=known)
        some = [point for point in found if point.known in (known, None)]
        for point in some:
            beaten = any(p.milliseconds <= point.milliseconds and p.mean > point.mean for p in some)
            assert (point in best) != beaten


@pytest.mark.parametrize(("another", "more"), [(False, 0), (True, 0), (False, 4)])
def test_no_name_in_the_plot_hides_another_or_leaves_it(
    results: Path, module: Callable[[str], ModuleType], another: bool, more: int
) -> None:
    pareto = module("pareto")
    if another:
        _with_another(pareto, results, timed=True)
    crowd = [pareto.Point(f"one of a crowd {n}", 300 + 9 * n, 0.5 + n / 900, 0.49, 0.51, None) for n in range(more)]
    found = [*pareto.points(), *crowd]
    figure, names = pareto.draw(found)
    assert [text.get_text() for text in names] == [point.name for point in found]
    boxes = [text.get_window_extent() for text in names]
    assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    width, height = figure.get_size_inches() * figure.dpi
    assert all(box.x0 > 0 and box.y0 > 0 and box.x1 < width and box.y1 < height for box in boxes)


def _part(reliability: ModuleType, scale: float, bias: float, *, queries: int = 400, seed: int = 0) -> Any:
    """Return texts whose relevance truly has the given scale and bias."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, 50 * queries)
    labels = (rng.random(len(logits)) < 1 / (1 + np.exp(-scale * logits - bias))).astype(float)
    return reliability.Judged("x", logits, labels, np.repeat(np.arange(queries), 50), queries, seed)


def test_a_fit_finds_scale_and_bias_and_with_equal_classes_what_training_finds(
    module: Callable[[str], ModuleType],
) -> None:
    reliability = module("reliability")
    part = _part(reliability, 0.8, -3.0)
    assert reliability.fit([part], balanced=False) == pytest.approx((0.8, -3.0), abs=0.1)
    platt = fit_platt(part.logits.astype(np.float32), part.labels > 0)
    assert reliability.fit([part], balanced=True) == pytest.approx(platt, abs=0.02)
    # A large collection weighs no more than a small one.
    small = _part(reliability, 0.8, 1.0, queries=40, seed=1)
    both = reliability.fit([part, small], balanced=False)
    assert -3.0 < both[1] < 1.0
    assert abs(both[1] + 1.0) < 0.6


def test_calibrated_scores_have_no_error_and_equal_classes_put_them_too_high(
    module: Callable[[str], ModuleType],
) -> None:
    reliability = module("reliability")
    parts = [_part(reliability, 0.8, -3.0, seed=seed) for seed in range(3)]
    ways = reliability.report(parts, lambda logits: reliability.sigmoid(0.8 * logits - 3.0))
    assert ways["as shipped"]["mean"]["expected_error"] < 0.02
    assert ways["refitted on the other three"]["collections"]["x"]["expected_error"] < 0.02
    same = ways["refitted on the other three, relevant and other texts weighing the same"]["mean"]
    assert same["mean_score"] > same["relevant"] + 0.1
    assert same["brier_change"]["low"] > 0
    for found in ways["as shipped"]["mean"]["bins"]:
        assert found["relevant"]["low"] - 0.03 < found["score"] < found["relevant"]["high"] + 0.03


def test_rates_and_thresholds_worked_out_by_hand(module: Callable[[str], ModuleType]) -> None:
    reliability = module("reliability")
    scores, labels = np.array([0.9, 0.8, 0.6, 0.4, 0.2, 0.1]), np.array([1.0, 0, 0, 1, 0, 0])
    part = reliability.Judged("x", scores, labels, np.array([0, 0, 0, 1, 1, 1]), 2, 0)
    found = reliability.measure(part, scores).to_dict()
    assert found["at_0.5"]["precision"]["mean"] == pytest.approx(1 / 3, abs=1e-6)
    assert found["at_0.5"]["recall"]["mean"] == found["at_0.5"]["others_above"]["mean"] == 0.5
    # Of 2 relevant and 4 others, each relevant text weighs as much as two others.
    evenly = [of["relevant"] and of["relevant"]["mean"] for of in reliability.counted_evenly(part, scores)["bins"]]
    assert evenly == [None, 0, 0, None, 1, None, 0, None, 0, 1]
    both = reliability.Judged("x", scores[[0, 0, 1]], np.array([1.0, 0, 0]), np.array([0, 0, 1]), 2, 0)
    (_, _, _, _, _, _, _, _, _, last) = reliability.counted_evenly(both, both.logits)["bins"]
    assert last["relevant"]["mean"] == pytest.approx(2 / 3, abs=1e-6)
    assert [of["texts"] for of in found["bins"]] == [0, 1, 1, 0, 1, 0, 1, 0, 1, 1]
    assert found["bins"][0]["relevant"] is None
    best = reliability.best_threshold(part, scores)
    assert (best["threshold"]["mean"], best["f1"]) == (0.9, pytest.approx(2 / 3, abs=1e-6))


def test_none_of_few_texts_leaves_more_open_than_none_of_many(module: Callable[[str], ModuleType]) -> None:
    reliability = module("reliability")
    few, many = (reliability.Share(0.0, np.zeros(100), texts).to_dict() for texts in (4, 4000))
    assert few["low"] == many["low"] == 0
    assert few["high"] == pytest.approx(0.49, abs=0.01)
    assert many["high"] < 0.001
    assert reliability.Share(math.nan, np.zeros(100)).to_dict() is None


def test_the_spanish_table_shows_each_system_with_its_change(module: Callable[[str], ModuleType]) -> None:
    spanish, shown = _read("languages")["spanish"], _written("languages")
    titles = module("language_tables")._TITLES
    assert set(spanish["systems"]) == set(titles), "a system that was measured is left out"
    for name, system in spanish["systems"].items():
        cells = shown[(titles[name],)]
        assert _numbers(cells[0]) == [round(system[key], 3) for key in ("mean", "low", "high")]
        change = spanish["against BM25"].get(name)
        assert bool(cells[1]) is (change is not None)
        if change:
            assert cells[1].startswith(f"{change['difference']:+.3f}")


def test_english_queries_that_are_held_back_are_told(results: Path, module: Callable[[str], ModuleType]) -> None:
    found = json.loads((results / "languages.json").read_text())
    assert "none is held back" in module("language_tables").languages()
    found["english"]["cosqa"] |= {"held back": 3, "with - without": {"difference": -0.0123}}
    (results / "languages.json").write_text(json.dumps(found))
    text = module("language_tables").languages()
    assert "none is held back" not in text
    assert "cosqa 3 of 500, nDCG@10 -0.0123" in text


def test_the_campaign_chooses_without_the_collection_that_is_looked_at(module: Callable[[str], ModuleType]) -> None:
    campaign = module("campaign")
    others = campaign.COLLECTIONS[1:]
    base = {name: {"q": 0.5} for name in campaign.COLLECTIONS}
    # Best by far on the first collection, and worse on the other three: chosen wherever the first is looked at.
    lucky = {campaign.COLLECTIONS[0]: {"q": 1.0}, **{name: {"q": 0.4} for name in others}}
    found = campaign.rotation({campaign.BASELINE: base, "lucky": lucky})
    assert found[campaign.COLLECTIONS[0]]["chosen"] == campaign.BASELINE
    assert [found[name]["chosen"] for name in others] == ["lucky"] * 3
    assert [found[name]["there"] for name in others] == [0.4] * 3


def test_an_aim_that_is_reached_needs_no_reason(results: Path, module: Callable[[str], ModuleType]) -> None:
    def row() -> list[str]:
        lines = module("speed_tables").aims().splitlines()
        found = next(line for line in lines if line.startswith("| int8, times sentence-transformers torch"))
        return [cell.strip() for cell in found.strip("|").split("|")]

    found = json.loads((results / "latency.json").read_text())
    speedup = found["contenders"]["ours int8"]["speedup"]
    for value, reached in ((3.6, True), (3.4, False)):
        speedup["median"] = value
        (results / "latency.json").write_text(json.dumps(found))
        assert row()[1:3] == ["3.5", str(value)]
        assert (row()[3] == "") is reached


def test_packing_saves_what_short_runs_cost_more_a_token(results: Path, module: Callable[[str], ModuleType]) -> None:
    found = json.loads((results / "graph_profile.json").read_text())
    parts = {
        "16": {"ms": 4.0, "shares": {"MultiHeadAttention": 0.5}},
        "64": {"ms": 8.0, "shares": {"MultiHeadAttention": 0.2}},
    }
    found["precisions"] = {"int8": parts}
    (results / "graph_profile.json").write_text(json.dumps(found))
    assert "run of 64 tokens, attention aside: int8 20% at 16 tokens." in module("speed_tables").profile()


def test_guard_collections_of_a_tuned_model_are_told_one_by_one(
    results: Path, module: Callable[[str], ModuleType]
) -> None:
    found = json.loads((results / "tune.json").read_text())
    run = found["runs"]["docs-18f-handbook"]["default"]
    guard = next(iter(run["guards"].values()))
    run["guards"] = {"one": {**guard, "difference": -0.0123, "low": -0.02, "high": 0.01, "queries": 7}, "two": guard}
    run["base"] = "some-base"
    run["fit"] |= {"stopped": "budget", "steps": 7, "planned": 90, "seconds": 120.0}
    (results / "tune.json").write_text(json.dumps(found))
    text = module("tune_tables").tuned()
    assert "in 2 minutes (7 of 90 steps, what the budget left), " in text
    assert f"tuned from some-base, learnt from {run['fit']['groups']:,} pairs" in text
    assert "one -0.012 [-0.020, +0.010] (7 queries), two" in text


def test_students_are_told_against_all_six_layers(module: Callable[[str], ModuleType], results: Path) -> None:
    found = json.loads((results / "layers.json").read_text(encoding="utf-8"))
    lines = {line.split(" | ")[0].strip("| "): line for line in module("campaign_tables").layers().splitlines()}
    assert set(found["rows"]) <= set(lines)
    whole = found["rows"]["all six (reranker-en)"]
    for name, row in found["rows"].items():
        cells = [cell.strip() for cell in lines[name].strip("|").split("|")]
        assert cells[1].startswith(f"{row['macro']['mean']:.3f} [")
        assert float(cells[-3]) == pytest.approx(row["ms for 100 passages"] / whole["ms for 100 passages"], abs=0.006)
        if (change := row.get("against the baseline")) is not None:
            assert cells[2].startswith(f"{100 * change['difference']:+.1f} [")
            lost = row["macro"]["mean"] - whole["macro"]["mean"]
            assert change["difference"] == pytest.approx(lost, abs=1e-6)


def test_ingredients_are_told_against_the_bundled_reranker_and_the_default(
    module: Callable[[str], ModuleType], results: Path
) -> None:
    found = json.loads((results / "tune_ablations.json").read_text(encoding="utf-8"))
    text = module("tune_tables").ablations()
    bundled = found["rows"]["bundled reranker"]["nDCG@10"]["mean"]
    for name, row in found["rows"].items():
        line = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
        assert f"{row['nDCG@10']['mean']:.3f} [" in line
        for against in row["against"].values():
            assert f"{100 * against['difference']:+.1f} [" in line
        if name not in ("RRF", "bundled reranker"):
            assert f"| {row['fit']['mix']:.0%} |" in line
            gain = row["against"]["bundled reranker"]["difference"]
            assert gain == pytest.approx(row["nDCG@10"]["mean"] - bundled, abs=1e-6)
    assert f"{found['queries']} held-out" in text


def test_what_documents_add_is_told_by_weight_and_folder(module: Callable[[str], ModuleType], results: Path) -> None:
    found = json.loads((results / "source_weight.json").read_text(encoding="utf-8"))
    text = module("source_tables").sources()
    for name, row in found["rows"].items():
        line = next(of for of in text.splitlines() if of.startswith(f"| {name} |"))
        cells = [cell.strip() for cell in line.split("|")]
        assert cells[2:5] == [row["model"], str(row["queries"]), f"{row['systems']['0']['nDCG@10']:.3f}"]
        for place, weight in enumerate(("0.2", "0.4", "0.5", "fitted"), start=5):
            gain = row["gain"][weight]["nDCG@10"]
            assert cells[place].startswith(f"{100 * gain['difference']:+.1f} [")
            change = row["systems"][weight]["nDCG@10"] - row["systems"]["0"]["nDCG@10"]
            assert gain["difference"] == pytest.approx(change, abs=1e-6)
        assert row["systems"]["fitted"] == row["systems"][f"{row['fitted']:g}"]
        assert cells[9] == f"{row['fitted']:g}"
    (results / "source_weight.json").unlink()
    assert "was not run" in module("source_tables").sources()
