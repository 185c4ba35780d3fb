"""What `semantic-ranker tune` gains on four folders of documentation; `tune_ablations.py` says what each ingredient does.

    python benchmarks/tune.py --data DATA --runs FOLDER
    python benchmarks/tune.py --data DATA --folders docs-fastapi-es --spanish-base models/reranker-multilingual

Every run is the command itself at its defaults; runs lie in --runs, and a call that was killed goes on with what is
missing. Guards are the four English collections of DATA, and the Spanish one for Spanish
folders. The 60 questions on the 18F handbook, which nothing is learnt from, are asked of its default run. Writes
benchmarks/results/tune.json after every run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from result_parts import made_with

from semantic_ranker._files import write_atomically

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "benchmarks/results/tune.json"
HANDBOOK = "docs-18f-handbook"
FOLDERS = {
    HANDBOOK: ("scifact", "nfcorpus", "cosqa", "cacm"),
    "docs-fastapi-en": ("scifact", "nfcorpus", "cosqa", "cacm"),
    "docs-fastapi-es": ("xquad-es-2k",),
    "docs-python-es": ("xquad-es-2k",),
}
SPANISH = ("docs-fastapi-es", "docs-python-es")
OUTCOMES = (0, 3, 4)


def run(folder: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run the command, or read what it did; return what is kept of its report."""
    out = options.runs / f"{folder}-default"
    base = options.spanish_base if folder in SPANISH else None
    guards = [str(options.data / name) for name in (FOLDERS[folder] if options.guards is None else options.guards)]
    command = ["tune", str(options.data / folder), "--out", str(out), "--budget", options.budget, "--json"]
    command += ["--guard", *guards] if guards else []
    command += ["--base", str(base)] if base else []
    done = subprocess.run(
        [sys.executable, "-m", "semantic_ranker.cli", *command], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode not in OUTCOMES:
        raise SystemExit(f"{folder} ended with status {done.returncode}")
    asked = f"--folders {folder} --budget {options.budget}"
    asked += "" if options.guards is None else f" --guards {' '.join(options.guards)}".rstrip()
    asked += f" --spanish-base {base.name}" if base else ""
    kept = row(json.loads(done.stdout), out)
    return {**kept, "base": base.name if base else "bundled reranker", "command": f"benchmarks/tune.py {asked}"}


def questions(data: Path, runs: Path, threads: int) -> dict[str, Any]:
    """Ask the questions of the handbook of its default run."""
    out = runs / "handbook_questions.json"
    subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/handbook_quality.py"), "--data", str(data), "--threads", str(threads),
         "--model", str(runs / f"{HANDBOOK}-default"), "--out", str(out)],
        check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return {key: found[key] for key in ("questions", "systems", "gain") if key in found}


def row(found: dict[str, Any], out: Path) -> dict[str, Any]:
    """Return what is kept of a run, without the path of its folder."""
    kept = ("held_out", "guards", "latency_ms_20_passages", "verdict", "dense", "candidates", "fusion_weight",
            "source_weight", "source_fit", "documents", "split", "pairs", "fit", "export", "notes", "seconds")  # fmt: skip
    text = json.dumps({key: found[key] for key in kept})
    content: dict[str, Any] = json.loads(text.replace(str(out), "./my-reranker"))
    return content


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEMANTIC_RANKER_DATA", "../shared/data")))
    parser.add_argument("--runs", type=Path, default=ROOT / "runs/tune")
    parser.add_argument("--folders", nargs="+", default=list(FOLDERS), choices=list(FOLDERS))
    parser.add_argument("--budget", default="55m")
    parser.add_argument(
        "--guards", nargs="*", help="collections of DATA; none is the built-in one (default: by folder)"
    )
    parser.add_argument("--spanish-base", type=Path, help="reranker or bi-encoder for the Spanish folders")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    options.runs.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = json.loads(OUT.read_text(encoding="utf-8")) if OUT.is_file() else {}
    result |= {
        "what": "semantic-ranker tune: held-out sections of each folder stand in for people's questions (a proxy)",
        **made_with("semantic-ranker", "torch", "onnxruntime", "bm25s"),
    }
    for folder in options.folders:
        found = run(folder, options)
        result.setdefault("runs", {})[folder] = {"default": found}
        if folder == HANDBOOK:
            result["handbook_questions"] = questions(options.data, options.runs, options.threads)
        write_atomically(OUT, json.dumps(result, indent=2) + "\n")
        print(f"{folder:20} {found['verdict']['words']}", flush=True)
    print("wrote", OUT)


if __name__ == "__main__":
    main()
