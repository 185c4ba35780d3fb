"""``semantic-ranker report``: one page with plots, to open in a browser and to send to a colleague."""

from __future__ import annotations

import argparse

from semantic_ranker.cli._output import write
from semantic_ranker.cli._systems import SYSTEM, add_data, find, measure_systems, texts_at_hand


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    report = commands.add_parser("report", help="write one page with plots on systems and a training run")
    report.add_argument("systems", nargs="*", metavar="SYSTEM", help=f"the first is the baseline; {SYSTEM}")
    add_data(report, required=False)
    report.add_argument("--training", metavar="RUN", help="folder of a training run: its learning curves")
    report.add_argument("--out", required=True, metavar="PAGE", help="HTML file to write")
    report.set_defaults(run=_report)


def _report(options: argparse.Namespace) -> int:
    import os
    from dataclasses import replace
    from pathlib import Path

    from semantic_ranker.errors import EvaluationError
    from semantic_ranker.reports.comparison import Findings, comparison_page
    from semantic_ranker.reports.training_log import read_history

    if bool(options.systems) != bool(options.data) or not (options.systems or options.training):
        raise EvaluationError("Expected systems with --data, or --training, or both: there is nothing to report on.")
    history = read_history(options.training) if options.training else []
    if options.systems:
        data, systems = measure_systems(options)
        findings = replace(find(options, data, systems, kinds=texts_at_hand(data)), history=history)
    else:
        name = Path(options.training).resolve().name
        findings = Findings(data=name, qrels={}, systems=[], comparisons={}, slices={}, queries={}, history=history)
    comparison_page(findings).write(options.out)
    write(f"Wrote {options.out} ({os.path.getsize(options.out) / 1000:,.0f} kB)")
    return 0
