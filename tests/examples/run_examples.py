"""Runs examples one after the other in one process, each as the main program, so that libraries are imported once.

Takes their paths; prints the list of what each printed as JSON. The first that fails ends it, with its traceback.
"""

from __future__ import annotations

import contextlib
import io
import json
import runpy
import sys
from pathlib import Path


def main() -> None:
    sys.path[0] = str(Path(sys.argv[1]).parent)  # where a script's own imports are found
    printed = []
    for path in sys.argv[1:]:
        sys.stderr.write(f"running {Path(path).name}\n")
        with contextlib.redirect_stdout(io.StringIO()) as out:
            runpy.run_path(path, run_name="__main__")
        printed.append(out.getvalue())
    json.dump(printed, sys.stdout)


main()
