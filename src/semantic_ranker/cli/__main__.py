"""Runs the command line as ``python -m semantic_ranker.cli``."""

import sys

from semantic_ranker.cli import main

sys.exit(main())
