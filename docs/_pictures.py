"""Photographs HTML reports for the site, light and dark, with any Chromium.

    python docs/_pictures.py --browser chromium page.html compare

writes images/compare-light.png and images/compare-dark.png. The pages are those that the commands on the site's pages
write, of DATA/cacm and DATA/docs-18f-handbook.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

IMAGES = Path(__file__).parent / "images"
_SCHEMES = {"light": ["--blink-settings=preferredColorScheme=1"], "dark": ["--blink-settings=preferredColorScheme=0"]}
_FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=1"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("name")
    parser.add_argument("--browser", default="chromium")
    parser.add_argument("--flags", nargs="*", default=[], help="more flags of the browser, without the leading --")
    parser.add_argument("--size", default="1000,1300", help="width and height in pixels")
    options = parser.parse_args()
    if not options.page.is_file():
        raise SystemExit(f"there is no page {options.page}")
    IMAGES.mkdir(exist_ok=True)
    for scheme, flags in _SCHEMES.items():
        picture = IMAGES / f"{options.name}-{scheme}.png"
        with tempfile.TemporaryDirectory() as profile:
            words = [options.browser, *_FLAGS, *flags, *(f"--{flag}" for flag in options.flags)]
            words += [f"--window-size={options.size}", f"--user-data-dir={profile}", f"--screenshot={picture}"]
            subprocess.run([*words, options.page.resolve().as_uri()], check=True, capture_output=True, timeout=120)
        if not picture.is_file():
            raise SystemExit(f"{options.browser} wrote no {picture.name}")


if __name__ == "__main__":
    main()
