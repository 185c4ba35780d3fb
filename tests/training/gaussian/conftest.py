"""Conversions of tiny models stay out of the user's cache."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEMANTIC_RANKER_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
