"""Runs the programs and console sessions of one page one after the other, as a reader would, in one process.

Reads a JSON list of ``[kind, code]`` from standard input and prints the list of what each printed; ``python`` blocks
share their names, as the cells of a notebook do, ``console`` blocks share the folder with them.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys


def main() -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    printed = []
    for kind, code in json.load(sys.stdin):
        if kind == "console":
            done = subprocess.run(["bash", "-e", "-c", code], capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{code}\n{done.stdout}{done.stderr}")
            printed.append(done.stdout)
            continue
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(code, f"block {len(printed) + 1}", "exec"), names)
        printed.append(out.getvalue())
    json.dump(printed, sys.stdout)


main()
