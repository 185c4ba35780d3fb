import json

import numpy as np
import pytest

from semantic_ranker.config import (
    CacheSettings,
    Settings,
    build_cache,
    build_embedder,
    build_reranker,
    load_settings,
    without_password,
)
from semantic_ranker.errors import InvalidInputError


def _file(tmp_path, text, name="settings.toml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_nothing_given_is_the_defaults():
    settings = load_settings(environment={})
    assert settings == Settings()
    assert settings.cache is None
    assert build_cache(settings) is None


def test_an_argument_beats_a_variable_which_beats_the_file(tmp_path):
    path = _file(tmp_path, '[embedder]\nmodel = "file"\nprecision = "int8"\nthreads = 1\n')
    environment = {"SEMANTIC_RANKER_EMBEDDER_MODEL": "variable", "SEMANTIC_RANKER_EMBEDDER_THREADS": "2"}
    settings = load_settings(path, environment=environment, arguments={"embedder.model": "argument"})
    assert (settings.embedder.model, settings.embedder.threads, settings.embedder.precision) == ("argument", 2, "int8")


def test_json_and_toml_say_the_same(tmp_path):
    toml = _file(tmp_path, '[embedder]\nfloor = 1\n[reranker]\nmodel = "folder"\nmax_length = 128\n')
    content = {"embedder": {"floor": 1}, "reranker": {"model": "folder", "max_length": 128}}
    assert load_settings(toml, environment={}) == load_settings(
        _file(tmp_path, json.dumps(content), "settings.json"), environment={}
    )


def test_a_variable_can_name_the_file(tmp_path):
    path = _file(tmp_path, '[embedder]\nmodel = "named"\n')
    assert load_settings(environment={"SEMANTIC_RANKER_CONFIG": str(path)}).embedder.model == "named"


def test_words_of_variables_become_values():
    environment = {
        "SEMANTIC_RANKER_EMBEDDER_FALLBACK": "no",
        "SEMANTIC_RANKER_EMBEDDER_FLOOR": "0.5",
        "SEMANTIC_RANKER_EMBEDDER_TRUNCATE_DIM": "none",
        "SEMANTIC_RANKER_EMBEDDER_ALLOW_LOSSY_TRUNCATION": "TRUE",
        "SEMANTIC_RANKER_DEBUG": "1",
        "SEMANTIC_RANKER_CACHE": "folder of models",
        "PATH": "/bin",
    }
    found = load_settings(environment=environment).embedder
    assert (found.fallback, found.floor, found.truncate_dim, found.allow_lossy_truncation) == (False, 0.5, None, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[embeder]\nmodel = "x"', "Unknown section 'embeder' in settings.toml; did you mean 'embedder'"),
        ('[embedder]\nmodle = "x"', "'embedder.modle' in settings.toml; did you mean 'embedder.model'"),
        (
            "[embedder]\nthreads = -1",
            r"a whole number of 0 or more or nothing, got -1 \(from settings.toml",
        ),
        ("[embedder]\nfloor = nan", "floor to be a finite number of 0 or more, got nan"),
        ("[embedder]\nfloor = inf", "finite number"),
        (
            "[embedder]\nfloor = 1.5",
            r"from 0 to 1, got 1.5. \(section 'embedder', from settings.toml",
        ),
        ("[embedder]\nthreads = true", "got True"),
        ("[embedder]\nthreads = 2.5", "got 2.5"),
        ('[embedder]\nfallback = "yes"', "fallback to be true or false, got 'yes'"),
        ('[embedder]\nprecision = "int4"', "precision to be 'auto' or 'fp32' or 'fp16' or 'int8', got 'int4'"),
        ("[embedder]\nmodel = 7", "model to be text or nothing, got 7"),
        ("embedder = 3", "section 'embedder' in settings.toml to hold keys, got a value of type int"),
        ("[embedder", "no valid TOML"),
    ],
)
def test_wrong_files_are_refused_with_expected_and_actual(tmp_path, text, message):
    with pytest.raises(InvalidInputError, match=message):
        load_settings(_file(tmp_path, text), environment={})


def test_files_that_are_none_are_refused(tmp_path):
    with pytest.raises(InvalidInputError, match=r"\.json or \.toml"):
        load_settings(_file(tmp_path, "", "settings.yaml"), environment={})
    with pytest.raises(InvalidInputError, match="found nothing"):
        load_settings(tmp_path / "absent.toml", environment={})
    with pytest.raises(InvalidInputError, match="object of sections"):
        load_settings(_file(tmp_path, "[1]", "settings.json"), environment={})
    with pytest.raises(InvalidInputError, match="finite number"):
        load_settings(_file(tmp_path, '{"embedder": {"floor": NaN}}', "nan.json"), environment={})


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"SEMANTIC_RANKER_EMBEDDER_MODLE": "x"}, "did you mean 'SEMANTIC_RANKER_EMBEDDER_MODEL'"),
        ({"SEMANTIC_RANKER_EMBEDER_MODEL": "x"}, "did you mean 'SEMANTIC_RANKER_EMBEDDER_MODEL'"),
        ({"SEMANTIC_RANKER_EMBEDDER_THREADS": "many"}, "got 'many' .from SEMANTIC_RANKER_EMBEDDER_THREADS"),
        ({"SEMANTIC_RANKER_EMBEDDER_FLOOR": "nan"}, "finite number"),
        ({"SEMANTIC_RANKER_EMBEDDER_THREADS": "-2"}, "got -2"),
    ],
)
def test_wrong_variables_are_refused(environment, message):
    with pytest.raises(InvalidInputError, match=message):
        load_settings(environment=environment)


def test_unknown_arguments_are_refused():
    with pytest.raises(InvalidInputError, match=r"did you mean 'reranker\.model'"):
        load_settings(environment={}, arguments={"reranker.modell": "x"})


def test_passwords_are_never_shown(tmp_path):
    secret = "hunter2"
    settings = load_settings(environment={"SEMANTIC_RANKER_CACHE_URL": f"redis://me:{secret}@localhost:6379/0"})
    assert settings.cache is not None
    assert secret in settings.cache.url
    assert secret not in repr(settings) + json.dumps(settings.shown())
    assert settings.shown()["cache"]["url"] == "redis://me:***@localhost:6379/0"
    for text in (f'[cache]\nurl = ["{secret}"]', f'[cache]\nurl = "{secret}'):
        with pytest.raises(InvalidInputError) as error:
            load_settings(_file(tmp_path, text), environment={})
        assert secret not in str(error.value)
        assert error.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379", "redis://localhost:6379"),
        ("redis://:pw@localhost", "redis://:***@localhost"),
        ("redis://localhost?password=pw", "redis://localhost?***"),
        ("unix://u:pw@/tmp/redis.sock", "unix://u:***@/tmp/redis.sock"),
        ("redis://:pw@localhost:notaport", "***"),
        (None, None),
    ],
)
def test_urls_lose_their_password_in_any_form(url, shown):
    assert without_password(url) == shown


def test_what_is_built_follows_the_settings():
    settings = load_settings(environment={}, arguments={"embedder.threads": 1, "reranker.max_length": 64})
    assert build_embedder(settings).embed_queries(["a text"]).shape == (1, 256)
    assert build_reranker(settings).model_name == "reranker-en"


def test_a_cache_in_this_process_follows_the_settings():
    from semantic_ranker.spaces import EmbeddingSpace

    settings = load_settings(environment={"SEMANTIC_RANKER_CACHE_POLICY": "lru"}, arguments={"cache.codec": "fp32"})
    cache = build_cache(settings)
    assert cache is not None
    with cache:
        embedder = build_embedder(settings)
        first, again = (embedder.embed_queries(["reset my password"]) for _ in range(2))
        assert np.array_equal(first, again)
        space = EmbeddingSpace(model="m", weights="w", tokenizer="t", dim=2)
        value = 1 + 2**-20
        kept = [cache.get_or_compute(space, "d", ["text"], lambda texts: [[value, 0.0]]) for _ in range(2)]
        assert all(vectors[0, 0] == np.float32(value) for vectors in kept)
        assert cache.stats().hits == 1


def test_settings_of_the_cache_have_the_same_names_and_defaults_as_the_cache():
    import inspect
    from dataclasses import fields

    from semantic_ranker.cache import RedisOptions, TieredCache

    mine = {entry.name: entry.default for entry in fields(CacheSettings)}
    theirs = {name: of.default for name, of in inspect.signature(TieredCache).parameters.items()}
    theirs |= {entry.name: entry.default for entry in fields(RedisOptions)}
    for name in ("redis", "clock"):
        del theirs[name]
    assert mine == theirs


def test_settings_of_the_rest_have_the_names_of_their_constructors():
    import inspect
    from dataclasses import fields

    from semantic_ranker.cross_encoder import CrossEncoder
    from semantic_ranker.embedder import Embedder

    settings = Settings()
    of_embedder, of_reranker = (
        (settings.embedder, Embedder, {"cache"}),
        (settings.reranker, CrossEncoder, {"score_cache"}),
    )
    for options, kind, more in (of_embedder, of_reranker):
        assert {entry.name for entry in fields(options)} | more == set(inspect.signature(kind).parameters)


def test_the_embed_command_reads_settings_and_its_own_options_count_more(tmp_path, capsys, monkeypatch):
    from semantic_ranker.cli import main

    texts = tmp_path / "texts.txt"
    texts.write_text("one\ntwo\n")
    config = _file(tmp_path, "[embedder]\ntruncate_dim = 64\nallow_lossy_truncation = true\n")
    words = ["embed", str(texts), "--out", str(tmp_path / "out.npy"), "--config", str(config)]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["dimensions"] == 64
    assert main([*words, "--json", "--truncate-dim", "32"]) == 0
    assert json.loads(capsys.readouterr().out)["dimensions"] == 32
    monkeypatch.setenv("SEMANTIC_RANKER_EMBEDDER_TRUNCATE_DIMS", "3")
    assert main(words) == 2
    assert "did you mean 'SEMANTIC_RANKER_EMBEDDER_TRUNCATE_DIM'" in capsys.readouterr().err


def test_the_cache_command_finds_its_url_in_the_settings_and_shows_no_password(tmp_path, capsys, monkeypatch):
    from semantic_ranker.cli import main

    for name in ("SEMANTIC_RANKER_REDIS_URL", "SEMANTIC_RANKER_CACHE_URL"):
        monkeypatch.delenv(name, raising=False)
    config = _file(tmp_path, '[cache]\nurl = "redis://:hunter2@127.0.0.1:1/0"\n')
    assert main(["cache", "stats", "--config", str(config)]) == 1
    error = capsys.readouterr().err
    assert "127.0.0.1:1" in error
    assert "hunter2" not in error
    assert main(["cache", "stats"]) == 2
    assert "--config" in capsys.readouterr().err
