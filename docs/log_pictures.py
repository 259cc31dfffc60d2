"""Take the pictures of docs/harnesses.md: `python -m docs.log_pictures RUN`, a finished run.

It writes the run's logs, serves them with `inspect view` and looks at them in a headless Chromium.
Run it in the repository's root.
"""

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError

from dgr.files import read_records
from dgr.harness import write_logs
from dgr.records import EvalRecord
from docs.screenshots import PATIENCE, Page, browser
from tests.s3 import free_port


@contextmanager
def viewer(logs: Path) -> Iterator[str]:
    port = free_port()
    program = Path(sys.executable).with_name("inspect")
    process = subprocess.Popen(
        [program, "view", "start", "--log-dir", str(logs), "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(url)
        yield url
    finally:
        process.terminate()
        process.wait()


def _wait(url: str) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            urllib.request.urlopen(url).close()
            return
        except URLError:
            if time.monotonic() > end:
                raise SystemExit("inspect view did not start") from None
            time.sleep(0.2)


def take(page: Page, url: str, arm: str, suite: str, item: str) -> None:
    page.open(f"{url}/#/logs/{arm}", height=420)
    page.wait(f"document.body.innerText.includes({json.dumps(suite)})")
    page.shot("inspect-logs.png")
    page.open(f"{url}/#/logs/{arm}/{suite}.eval/samples", height=720)
    page.wait("document.body.innerText.includes('rows')")
    page.shot("inspect-samples.png")
    sample = f"{url}/#/logs/{arm}/{suite}.eval/samples/sample/{item}/1"
    page.open(f"{sample}/messages", height=560)
    page.wait("document.body.innerText.includes('The result is')")
    page.shot("inspect-sample.png")


def main(run: Path) -> None:
    arm = sorted(path.name for path in (run / "evaluate").iterdir() if path.is_dir())[0]
    records = read_records(run / "evaluate" / arm / "records.jsonl", EvalRecord)
    item = next(row.item for row in records if row.suite == "reasoning")
    with tempfile.TemporaryDirectory() as folder:
        write_logs(run / "evaluate" / arm, folder, arm=arm, run=run.name)
        with viewer(Path(folder)) as url, browser() as page:
            take(page, url, arm, "reasoning", item)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m docs.log_pictures RUN")
    main(Path(sys.argv[1]))
