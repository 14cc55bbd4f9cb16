"""Renders TensorBoard on a run folder in headless Chromium, for the docs: ``make screenshots``.

Of ``runs/demo``, or of another folder: ``python docs/screenshots.py runs/other``.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from PIL import Image

IMAGES = Path(__file__).resolve().parent / "images"
# Smoothing draws curves of four budgets where they are not; the filter's tags come first.
SCALARS = {
    "_smoothingWeight": "0",
    "tagFilter": "compare/(kl|agreement|cosine|spent)$|train/(kl|spent)$",
}
PAGES = {
    "tensorboard.png": f"scalars&{urlencode(SCALARS)}",
    "tensorboard_hparams.png": "hparams",
}
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
START_SECONDS = 60
RENDER_SECONDS = 180
OFFLINE = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
    # Whatever still wants the network finds no name but ours.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)


def main() -> None:
    """Read the command line and render each page."""
    parser = argparse.ArgumentParser(description="TensorBoard's pages of a run folder, as PNG.")
    parser.add_argument("folder", type=Path, nargs="?", default=Path("runs/demo"))
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder for the pictures")
    args = parser.parse_args()
    chromium = find_chromium()
    check_events(args.folder)
    args.out.mkdir(parents=True, exist_ok=True)
    with tensorboard(args.folder) as url:
        for name, page in PAGES.items():
            path = args.out / name
            shoot(chromium, f"{url}?darkMode=false#{page}", path)
            print(f"wrote {path} ({path.stat().st_size / 1000:.0f} kB)")


def find_chromium() -> str:
    """The browser's program.

    Raises:
        SystemExit: If there is none.
    """
    for name in CHROMIUMS:
        if found := shutil.which(name):
            return found
    raise SystemExit(
        f"error: no {' or '.join(CHROMIUMS[:2])} is installed: get it first "
        "(Debian: apt install chromium)"
    )


def check_events(folder: Path) -> None:
    """Refuse a folder that TensorBoard would show as an empty page.

    Raises:
        SystemExit: If no event file lies in or below it.
    """
    if next(folder.rglob("events.out.tfevents.*"), None) is None:
        raise SystemExit(f"error: no TensorBoard logs in {folder}: run `make demo` first")


@contextmanager
def tensorboard(folder: Path) -> Iterator[str]:
    """A server on a free port of this machine; gives its address.

    Raises:
        SystemExit: If it does not come up.
    """
    words = ["-m", "tensorboard.main", "--logdir", str(folder), "--host", "127.0.0.1"]
    # Loaded before the page is asked for, or the first picture would be of an empty one.
    words += ["--port", "0", "--load_fast", "false", "--reload_interval", "0"]
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen([sys.executable, *words], stdout=log, stderr=log)
        try:
            yield _address(server, log.fileno())
        finally:
            server.terminate()
            server.wait()


def _address(server: "subprocess.Popen[bytes]", log: int) -> str:
    """What the server says it listens on."""
    for _ in range(START_SECONDS * 2):
        text = Path(f"/proc/self/fd/{log}").read_text()
        if found := re.search(r"http://\S+", text):
            return found[0]
        try:
            server.wait(0.5)
        except subprocess.TimeoutExpired:
            continue
        break
    raise SystemExit(f"error: tensorboard did not start: {text.strip().splitlines()[-1:]}")


def shoot(chromium: str, url: str, path: Path) -> None:
    """Render a page and keep it as a PNG of 256 colours.

    Raises:
        SystemExit: If the browser leaves no picture.
    """
    with tempfile.TemporaryDirectory() as profile:
        raw = Path(profile) / "page.png"
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *OFFLINE]
        flags += [f"--user-data-dir={profile}", f"--screenshot={raw}", "--window-size=1400,960"]
        # Time inside the page runs until the charts have loaded and drawn.
        flags += ["--virtual-time-budget=15000"]
        done = subprocess.run(
            [chromium, *flags, url], capture_output=True, text=True, timeout=RENDER_SECONDS
        )
        if not raw.is_file():
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise SystemExit(f"error: {chromium} left no picture of {url}: {last}")
        Image.open(raw).convert("RGB").quantize(256).save(path, optimize=True)


if __name__ == "__main__":
    main()
