"""`semantic-ranker cache`, against a real Redis."""

import json

import pytest

from semantic_ranker.cli import main

TEXTS = [f"text {number}" for number in range(5)]


@pytest.fixture
def filled(server, open_cache, make_model):
    """A Redis with vectors of two spaces, and a key of another program."""
    cache = open_cache(server.url)
    models = [make_model(), make_model(role="d"), make_model(name="b")]
    for model in models:
        model.check(cache, TEXTS)
    with server.client() as client:
        client.set("other", "1")
    return server, [models[0].space.short, models[2].space.short]


def test_stats_counts_spaces_roles_and_bytes(filled, capsys):
    server, (first, second) = filled
    assert main(["cache", "stats", "--url", server.url, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["entries"], found["spaces"]) == (15, {first: 10, second: 5})
    assert found["roles"] == {"d": 5, "q": 10}
    assert found["bytes"] == round(15 * found["bytes_an_entry"]) > 15 * 32
    assert len(found["advice"]) == 2


def test_stats_as_a_table_reads_the_variable(filled, capsys, monkeypatch):
    server, (first, _) = filled
    monkeypatch.setenv("SEMANTIC_RANKER_REDIS_URL", server.url)
    assert main(["cache", "stats"]) == 0
    shown = capsys.readouterr().out
    assert f"{first}: 10" in shown
    assert "set maxmemory" in shown


def test_stats_of_an_empty_server(server, capsys):
    assert main(["cache", "stats", "--url", server.url]) == 0
    assert "entries          0" in capsys.readouterr().out


def test_clear_takes_one_space_then_all_and_nothing_else(filled, capsys):
    server, (first, _) = filled
    assert main(["cache", "clear", "--url", server.url, "--space", first, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["deleted"] == 10
    assert main(["cache", "clear", "--url", server.url]) == 0
    assert "deleted 5 vectors" in capsys.readouterr().out
    with server.client() as client:
        assert list(client.scan_iter()) == [b"other"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--url", "redis://:geheim@127.0.0.1:1/0"], "does not answer"),
        (["--url", "http://:geheim@localhost"], "Expected a URL of Redis"),
        (["--url", "redis://10.1.2.3:6379/0"], "Expected a password"),
        ([], "SEMANTIC_RANKER_REDIS_URL"),
    ],
)
@pytest.mark.parametrize("action", ["stats", "clear"])
def test_what_cannot_be_reached_is_said_without_the_password(action, arguments, message, capsys, monkeypatch):
    monkeypatch.delenv("SEMANTIC_RANKER_REDIS_URL", raising=False)
    monkeypatch.delenv("SEMANTIC_RANKER_CACHE_URL", raising=False)
    assert main(["cache", action, *arguments]) != 0
    said = capsys.readouterr().err
    assert message in said
    assert "geheim" not in said


def test_a_space_that_is_none_is_refused(server, capsys):
    assert main(["cache", "clear", "--url", server.url, "--space", "*"]) != 0
    assert "12 hex characters" in capsys.readouterr().err
