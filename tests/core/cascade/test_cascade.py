"""A cascade scores fewer texts, keeps the top within its stated loss, and says so where it cannot."""

import json
import shutil

import numpy as np
import pytest

from semantic_ranker import CrossEncoder, InvalidInputError, ModelLoadError
from semantic_ranker.cascade.first_pass import FEATURES, shared_first_pass
from semantic_ranker.cascade.fitting import Sample, fit_cascade
from semantic_ranker.cascade.selection import KEY, select
from semantic_ranker.cli import main
from semantic_ranker.model_folder import BUNDLED

QUERY = "how do I reset my password"
GOOD = ["To reset a password, open Settings.", "A forgotten password can be reset at the desk."]
OTHERS = [
    f"The {animal} sleeps in the {place}." for animal in ("cat", "dog", "owl") for place in ("barn", "sun", "box")
]
SETTINGS = {"weights": [14.0, 3.0, 1.5, 5.5, 0.0, -0.3], "margin": 2.5}


@pytest.fixture
def folder(tmp_path):
    return write(shutil.copytree(BUNDLED, tmp_path / "model"), SETTINGS)


def write(folder, settings):
    path = folder / "semantic_ranker.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {KEY: settings}))
    return folder


def run(estimates, logits, top, margin):
    asked = []

    def score(rows):
        asked.extend(rows)
        return [float(logits[row]) for row in rows]

    found = select(np.asarray(estimates, float), top, margin, score, float)
    assert sorted(found) == sorted(asked)
    np.testing.assert_array_equal(list(found.values()), logits[list(found)])
    return found


def test_good_estimates_leave_most_texts_out():
    logits = np.random.default_rng(0).normal(0, 3, 100)
    found = run(logits + 7, logits, 10, margin=0.5)
    assert set(np.argsort(-logits)[:10]) <= set(found)
    assert len(found) < 25


def test_the_top_is_right_when_no_estimate_is_off_by_more_than_half_the_margin():
    random = np.random.default_rng(1)
    for _ in range(30):
        logits = random.normal(0, 3, 60)
        found = run(logits + random.uniform(-1, 1, 60), logits, 5, margin=2.0)
        assert set(np.argsort(-logits)[:5]) <= set(found)


def test_useless_estimates_and_a_wide_margin_score_all():
    logits = np.random.default_rng(2).normal(0, 3, 50)
    assert len(run(np.zeros(50), logits, 5, margin=99)) == 50


def test_nan_is_not_hidden():
    logits = np.zeros(40)
    logits[3] = np.nan
    assert len(run(-np.arange(40.0), logits, 5, margin=0.1)) == 40


def test_fewer_texts_than_wanted_are_all_scored():
    assert len(run(np.zeros(3), np.zeros(3), 10, margin=0)) == 3


def samples(noise, count=60):
    random = np.random.default_rng(3)
    weights = np.asarray([3.0, 1.0, 0.5, 2.0, 0.0, -0.2])
    found = []
    for _ in range(count):
        features = random.normal(0, 1, (100, len(FEATURES)))
        found.append(Sample(features, features @ weights + random.normal(0, noise, 100) + random.normal(0, 5)))
    return found


def test_a_fit_finds_the_weights_and_keeps_its_promise():
    fit = fit_cascade(samples(0.3), lost=0.02)
    np.testing.assert_allclose(fit.settings.weights, [3.0, 1.0, 0.5, 2.0, 0.0, -0.2], atol=0.1)
    assert fit.lost <= fit.lost_high <= 0.02
    assert fit.scored < 0.3
    fresh = samples(0.3, 90)[60:]
    missed = []
    for sample in fresh:
        found = select(
            fit.settings.estimates(sample.features),
            10,
            fit.settings.margin,
            lambda rows, s=sample: s.logits[rows].tolist(),
            float,
        )
        missed.append(np.mean([row not in found for row in np.argsort(-sample.logits)[:10]]))
    assert np.mean(missed) <= 0.02


def test_worse_estimates_cost_more():
    assert fit_cascade(samples(3.0), lost=0.02).scored > 2 * fit_cascade(samples(0.3), lost=0.02).scored


def test_too_few_queries_are_refused():
    with pytest.raises(InvalidInputError, match="20 or more queries"):
        fit_cascade(samples(1.0, 5))


def test_the_first_pass_tells_a_match_from_the_rest():
    found = shared_first_pass().features(QUERY, [*GOOD, *OTHERS, ""])
    assert found.shape == (len(GOOD) + len(OTHERS) + 1, len(FEATURES))
    assert np.isfinite(found).all()
    assert (found[: len(GOOD), 0].min() > found[len(GOOD) :, 0]).all()
    assert shared_first_pass().features(QUERY, []).shape == (0, len(FEATURES))


def test_rank_scores_only_what_can_enter_the_top(folder):
    texts = OTHERS * 4 + GOOD + [f"{text} Again." for text in OTHERS]
    texts = [f"{number}. {text}" for number, text in enumerate(texts)]
    full, cascade = CrossEncoder(folder), CrossEncoder(folder, mode="cascade", cache_bytes=5_000_000)
    expected, found = full.rank(QUERY, texts, top_k=2), cascade.rank(QUERY, texts, top_k=2)
    assert found == expected
    # Passages whose states are kept are those that were encoded.
    assert len(cascade._open().cache) < 0.5 * len(texts)
    assert len(cascade.rank(QUERY, texts)) == len(texts)
    assert cascade.rank(QUERY, texts[:2], top_k=5) == full.rank(QUERY, texts[:2], top_k=5)


def test_texts_that_are_not_strings_are_left_out(folder):
    texts = [None, *OTHERS, 7, *GOOD, None]
    found = CrossEncoder(folder, mode="cascade", on_error="skip").rank(QUERY, texts, top_k=2)
    assert [texts[item.index] for item in found] == [item.text for item in found]
    assert {item.text for item in found} == set(GOOD)


def test_a_model_without_a_cascade_says_how_to_get_one(tmp_path):
    plain = shutil.copytree(BUNDLED, tmp_path / "plain")
    manifest = json.loads((plain / "semantic_ranker.json").read_text())
    manifest.pop(KEY, None)
    (plain / "semantic_ranker.json").write_text(json.dumps(manifest))
    with pytest.raises(InvalidInputError, match="semantic-ranker cascade"):
        CrossEncoder(plain, mode="cascade").rank(QUERY, OTHERS, top_k=2)
    with pytest.raises(InvalidInputError, match="mode"):
        CrossEncoder(mode="fast")


@pytest.mark.parametrize(
    "settings",
    [
        {"weights": [1, 2], "margin": 1},
        {"weights": SETTINGS["weights"]},
        {**SETTINGS, "margin": -1},
        [],
        {"weights": 3},
    ],
)
def test_a_damaged_cascade_is_refused(folder, settings):
    with pytest.raises(ModelLoadError, match="cascade"):
        CrossEncoder(write(folder, settings)).score(QUERY, GOOD)


def test_the_command_fits_and_stores(folder, tmp_path, capsys):
    (tmp_path / "queries.txt").write_text(
        "\n".join(f"where does the {word} sleep {n}" for n in range(10) for word in ("cat", "dog"))
    )
    (tmp_path / "docs.txt").write_text("\n".join(f"{text} Number {n}." for text in OTHERS for n in range(3)))
    arguments = [
        "cascade",
        str(folder),
        "--queries",
        str(tmp_path / "queries.txt"),
        "--docs",
        str(tmp_path / "docs.txt"),
    ]
    assert main([*arguments, "--candidates", "15", "--top", "3", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    stored = json.loads((folder / "semantic_ranker.json").read_text())[KEY]
    assert printed == stored
    assert stored["queries"] == 20
    assert (
        CrossEncoder(folder, mode="cascade")
        .rank("where does the cat sleep", OTHERS, top_k=1)[0]
        .text.startswith("The cat")
    )
    assert main([*arguments, "--candidates", "500"]) == 2
    assert "20 or more queries" in capsys.readouterr().err
    (folder / "semantic_ranker.json").unlink()
    assert main(arguments) == 2
    assert "semantic-ranker export" in capsys.readouterr().err
