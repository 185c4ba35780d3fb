from __future__ import annotations

import numpy as np
import pytest

from semantic_ranker.errors import InvalidInputError
from semantic_ranker.reports import plots
from semantic_ranker.reports.svg import inline_svg

HISTORY = [
    {"loss": 0.9, "distillation": 0.5, "learning_rate": 1e-4, "grad_norm": 1.0, "epoch": 0.1, "step": 10},
    {"eval_loss": 0.8, "eval_nDCG@10": 0.3, "eval_runtime": 3.0, "epoch": 0.1, "step": 10},
    {"loss": 0.7, "distillation": 0.4, "learning_rate": 5e-5, "epoch": 0.2, "step": 20},
    {"loss": float("nan"), "step": 30},
    {"train_runtime": 10.0, "train_loss": 0.8, "step": 30},
]


def svg_of(figure):
    return inline_svg(figure, prefix="p", alt="alt")


def names_in(figure):
    return [
        text.get_text()
        for axes in figure.axes
        for text in (axes.get_legend() or axes).findobj()
        if hasattr(text, "get_text")
    ]


def test_differences_are_sorted_and_the_worst_and_best_are_drawn():
    values = np.random.default_rng(0).normal(0, 0.2, 100_000)
    figure = plots.per_query_differences(values.tolist(), metric="nDCG@10", a="old", b="new")
    line = figure.axes[0].lines[0]
    drawn = np.asarray(line.get_ydata())
    assert (np.diff(drawn) >= 0).all()
    assert (drawn[0], drawn[-1]) == (values.min(), values.max())
    assert len(drawn) <= 1000
    assert figure.axes[0].get_ylabel() == "nDCG@10: new minus old"
    assert len(svg_of(figure)) < 150_000


def test_histograms_show_shares_of_each_group():
    figure = plots.histogram({"few": [0.0, 1.0], "many": [0.5] * 100, "none": []}, xlabel="score", bins=10)
    filled = [patch.get_data().values.sum() for patch in figure.axes[0].patches]
    assert filled == pytest.approx([100.0] * 4)
    assert "many (n = 100)" in names_in(figure)


def test_few_values_get_fewer_bars_and_steps_reach_both_ends():
    few = plots.histogram({"a": np.arange(52.0)}, xlabel="ms").axes[0].patches[0]
    many = plots.histogram({"a": np.arange(5000.0)}, xlabel="ms").axes[0].patches[0]
    assert (len(few.get_data().values), len(many.get_data().values)) == (14, 40)
    line = plots.per_query_differences([0.1, -0.2, 0.0], metric="RR").axes[0].lines[0]
    assert np.asarray(line.get_xdata()).tolist() == [0.0, 50.0, 100.0]


def test_the_panels_of_a_training_run_share_their_steps():
    limits = {axes.get_xlim() for axes in plots.learning_curves(HISTORY).axes}
    assert len(limits) == 1


def test_one_value_and_a_logarithmic_axis_can_be_drawn():
    assert "svg" in svg_of(plots.histogram({"a": [3.0]}, xlabel="x"))
    figure = plots.histogram({"a": [1.0, 20.0, 3000.0]}, xlabel="ms", log_x=True)
    assert figure.axes[0].get_xscale() == "log"
    assert "1,000" in svg_of(figure)
    with pytest.raises(InvalidInputError, match="above zero"):
        plots.histogram({"a": [0.0, 1.0]}, xlabel="ms", log_x=True)


def test_reliability_lies_on_the_diagonal_for_calibrated_scores():
    rng = np.random.default_rng(0)
    scores = rng.random(50_000)
    labels = (rng.random(50_000) < scores).astype(float)
    measured = plots.reliability(scores, labels).axes[0].lines[1]
    assert np.asarray(measured.get_ydata()) == pytest.approx(np.asarray(measured.get_xdata()), abs=0.03)
    overconfident = plots.reliability(np.sqrt(scores), labels).axes[0].lines[1]
    assert (np.asarray(overconfident.get_ydata())[1:-1] < np.asarray(overconfident.get_xdata())[1:-1]).all()


def test_learning_curves_have_a_panel_for_each_kind_and_leave_out_what_is_no_number():
    figure = plots.learning_curves(HISTORY)
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "evaluation", "learning rate"]
    loss, evaluation, rate = figure.axes
    assert [line.get_label() for line in loss.lines] == ["loss", "eval_loss", "distillation"]
    assert np.asarray(loss.lines[0].get_ydata()).tolist() == [0.9, 0.7]
    assert [line.get_label() for line in evaluation.lines] == ["nDCG@10"]
    assert np.asarray(rate.lines[0].get_xdata()).tolist() == [10, 20]
    with pytest.raises(InvalidInputError, match="got none"):
        plots.learning_curves([{"step": 1, "note": "x"}])


def test_the_front_holds_what_no_other_beats():
    xs, ys = np.array([1.0, 2.0, 3.0, 3.0, 4.0]), np.array([0.3, 0.5, 0.4, 0.6, 0.6])
    assert plots.pareto_front(xs, ys).tolist() == [0, 1, 3]
    assert plots.pareto_front(xs, ys, lower_x_is_better=False).tolist() == [4]
    figure = plots.pareto({"a": (1, 0.3), "b": (2, 0.5), "c": (3, 0.4)}, xlabel="ms", ylabel="nDCG@10", log_x=True)
    assert np.asarray(figure.axes[0].lines[0].get_xdata()).tolist() == [1, 2]
    assert "c" in [text.get_text() for text in figure.axes[0].texts]


def test_bars_stand_in_the_order_given():
    figure = plots.bars_with_intervals({"top": (1, 0, 2), "below": (3, 2, 4)}, xlabel="x", reference=0)
    axes = figure.axes[0]
    places = dict(zip((text.get_text() for text in axes.get_yticklabels()), axes.get_yticks(), strict=True))
    assert places["top"] > places["below"]


def test_lines_are_named_whatever_the_name_is():
    figure = plots.lines({"_hidden?": ([1, 2], [1, 2]), "$x_1$ \\frac": ([1, 2], [2, 1])}, xlabel="$", ylabel="$a$b$")
    svg = svg_of(figure)
    assert "_hidden?" in svg
    assert "$x_1$ \\frac" in svg


@pytest.mark.parametrize("name", ["日本語 имя", "a\x00b\x1b\ud800", "", " ", "x" * 5000, "</svg><script>"])
def test_any_name_can_be_drawn(name):
    svg = svg_of(plots.lines({name: ([1, 2], [1, 2])}, xlabel=name, ylabel=name))
    assert "<script>" not in svg
    assert len(svg) < 40_000
    svg.encode()


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.per_query_differences([], metric="m"),
        lambda: plots.per_query_differences([float("nan")], metric="m"),
        lambda: plots.histogram({}, xlabel="x"),
        lambda: plots.histogram({"a": [float("inf")]}, xlabel="x"),
        lambda: plots.reliability([], []),
        lambda: plots.reliability([0.5], [1, 0]),
        lambda: plots.reliability([1.5], [1]),
        lambda: plots.learning_curves([]),
        lambda: plots.pareto({}, xlabel="x", ylabel="y"),
        lambda: plots.bars_with_intervals({}, xlabel="x"),
        lambda: plots.lines({}, xlabel="x", ylabel="y"),
        lambda: plots.lines({"a": ([1], [1, 2])}, xlabel="x", ylabel="y"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw):
    with pytest.raises(InvalidInputError, match="Expected"):
        draw()


def test_a_picture_keeps_its_data_and_loses_links_and_foreign_colours_stay():
    figure = plots.lines({"a": ([0, 1], [0, 1])}, xlabel="x", ylabel="y")
    axes = figure.axes[0]
    axes.imshow(np.zeros((2, 2)), extent=(0, 1, 0, 1))
    axes.text(0, 0, "link", url="javascript:alert(1)", color="#123456")
    svg = svg_of(figure)
    assert "data:image/png;base64," in svg
    assert "javascript" not in svg
    assert "#123456" in svg
