"""The generated traffic, importable by its path: test folders are no packages here."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def traffic_of():
    """Make `Traffic(seed)`."""
    spec = importlib.util.spec_from_file_location("monitoring_traffic", Path(__file__).with_name("traffic.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Traffic
