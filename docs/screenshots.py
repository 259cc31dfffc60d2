"""Take the pictures of docs/registry-server.md: `python -m docs.screenshots RUN`, a finished run.

It starts PostgreSQL, an S3 endpoint and `mlflow server` as the tests do, records the run, registers
and promotes its candidate, and looks at all of it in a headless Chromium. Run it in the
repository's root.
"""

import base64
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import websocket
from PIL import Image

from dgr.files import read_json, write_bytes
from dgr.registry import RegistryConfig, approve, open_registry, promote, record, register
from dgr.registry.datasets import datasets
from dgr.registry.logged_model import MODEL_TAG
from tests.s3 import Server, rclone_program, run_s3
from tests.servers import postgres_programs, run_mlflow, run_postgres

IMAGES = Path(__file__).parent / "images"
NAME = "nano-lrm-safe"
WIDTH = 1_280
PATIENCE = 60
COLUMNS = ("reasoning_accuracy", "harmful_compliance", "harmless_over_refusal")


@dataclass(frozen=True)
class Recorded:
    """What the pictures are of."""

    url: str
    """The server."""
    experiment: str
    run: str
    training: str
    """The run of the candidate's training."""
    model: str
    data: str
    """Name of the external set."""


class Page:
    """A page of a browser, by Chromium's DevTools protocol."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._number = socket, 0

    def call(self, method: str, **arguments: Any) -> Any:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": arguments}))
        while (answer := json.loads(self._socket.recv())).get("id") != self._number:
            pass
        return answer["result"]

    def run(self, script: str) -> Any:
        return self.call("Runtime.evaluate", expression=script)["result"].get("value")

    def wait(self, condition: str) -> None:
        end = time.monotonic() + PATIENCE
        while not self.run(condition):
            if time.monotonic() > end:
                raise SystemExit(f"the page never came to: {condition}")
            time.sleep(0.2)

    def open(self, url: str, height: int) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=WIDTH, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=url)

    def remember(self, items: dict[str, str]) -> None:
        """What the pages find in the browser's memory when they open."""
        store = (
            f"Object.entries({json.dumps(items)}).forEach(item => localStorage.setItem(...item))"
        )
        self.call("Page.enable")
        self.call(
            "Page.addScriptToEvaluateOnNewDocument",
            source=f"if (location.protocol === 'http:') {store}",
        )

    def search(self, text: str) -> None:
        self.wait(
            "(() => { const found = [...document.querySelectorAll('input')]"
            ".find(input => input.placeholder.startsWith('Search metric'));"
            "found?.focus(); return !!found })()"
        )
        self.call("Input.insertText", text=text)

    def click(self, text: str) -> None:
        self.wait(
            "(() => { const found = [...document.querySelectorAll('button, [role=button]')]"
            f".find(button => button.innerText.trim().startsWith({json.dumps(text)}));"
            "found?.click(); return !!found })()"
        )

    def shot(self, name: str) -> None:
        time.sleep(2)  # for what is drawn after it is loaded
        data = self.call("Page.captureScreenshot", format="png")["data"]
        # A palette is enough for a page, and a third of the size.
        picture = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
        picture = picture.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        packed = io.BytesIO()
        picture.save(packed, "PNG", optimize=True)
        write_bytes(IMAGES / name, packed.getvalue())


@contextmanager
def browser() -> Iterator[Page]:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        raise SystemExit("Chromium is not installed (apt-get install chromium)")
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        flags += ["--disable-background-networking", "--remote-debugging-port=0"]
        process = subprocess.Popen(
            [program, *flags, f"--user-data-dir={folder}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            port = _port(Path(folder) / "DevToolsActivePort")
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
                pages = [page for page in json.load(answer) if page["type"] == "page"]
            socket = websocket.create_connection(
                pages[0]["webSocketDebuggerUrl"], suppress_origin=True, timeout=PATIENCE
            )
            yield Page(socket)
            socket.close()
        finally:
            process.terminate()
            process.wait()


def _port(path: Path) -> int:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if path.is_file() and (lines := path.read_text().splitlines()):
            return int(lines[0])
        time.sleep(0.1)
    raise SystemExit("Chromium did not start")


@contextmanager
def registry(run: Path) -> Iterator[Recorded]:
    """A server with the run, and its candidate as a model."""
    postgres, rclone = postgres_programs(), rclone_program()
    if postgres is None or rclone is None:
        raise SystemExit("install PostgreSQL (apt-get install postgresql) and dgr[dev]")
    with (
        tempfile.TemporaryDirectory() as folder,
        run_postgres(postgres) as database,
        run_s3(rclone, Path(folder) / "s3") as store,
        run_mlflow(database.uri, store, Path(folder) / "log") as url,
        mock.patch.dict(os.environ, store.environment),
    ):
        yield _register(url, run, store, Path(folder))


def _register(url: str, run: Path, store: Server, out: Path) -> Recorded:
    """The run recorded, its candidate registered, approved and promoted."""
    config = RegistryConfig(tracking_uri=url, store=f"s3://{store.bucket}/dgr", name=NAME)
    decision = run / "gate"
    record(config, run=run, decision=decision, home=None, out=out / "record", seed=0)
    run_id = read_json(out / "record" / "summary.json")["run_id"]
    register(
        config, run=run, decision=decision, recorded=out / "record", base="models/nano-lrm",
        home=None, out=out / "register", seed=0,
    )  # fmt: skip
    opened = open_registry(config, None)
    approve(opened, "1", reason="read the report", actor="ada")
    promote(opened, "1", reason="first release", actor="ada")
    tracker = opened.tracker
    experiment = tracker.get_run(run_id).info.experiment_id
    arm = read_json(decision / "decision.json")["candidate"]
    [child] = tracker.search_runs([experiment], f"attributes.run_name = 'sft/{arm}'")
    [external] = datasets(run / "ingest")
    return Recorded(
        url=url,
        experiment=str(experiment),
        run=run_id,
        training=child.info.run_id,
        model=tracker.get_model_version(NAME, "1").tags[MODEL_TAG],
        data=external.name,
    )


def memory(found: Recorded) -> dict[str, str]:
    """The pages for training, with the assistant closed and the nested runs open."""
    columns = [f"metrics.`metrics.{name}`" for name in COLUMNS]
    table = {"runsExpanded": {found.run: True}, "selectedColumns": columns}
    key = f'MLflowLocalStorage-1.1-ExperimentPage-["{found.experiment}"]-ReactComponentState'
    return {
        "mlflow.workflowType_v1": '"machine_learning"',
        "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": "true",
        "mlflow.assistant.panelOpen_v1": "false",
        key: json.dumps(table),
    }


def take(page: Page, found: Recorded) -> None:
    page.remember(memory(found))
    experiment = f"{found.url}/#/experiments/{found.experiment}"
    page.open(f"{experiment}/runs", height=860)
    page.wait("document.body.innerText.includes('matching runs')")
    page.shot("registry-runs.png")
    page.open(f"{experiment}/runs/{found.training}/model-metrics", height=620)
    page.search("train.")
    page.wait("document.querySelectorAll('.js-plotly-plot').length > 2")
    page.shot("registry-training.png")
    page.open(f"{experiment}/runs/{found.run}", height=860)
    page.search("harmful_compliance.")
    page.shot("registry-run.png")
    page.wait("document.body.innerText.includes('Datasets')")
    page.click(found.data)
    page.shot("registry-data.png")
    page.open(f"{experiment}/models/{found.model}", height=860)
    page.search("reasoning_")
    page.shot("registry-model.png")
    page.open(f"{found.url}/#/models/{NAME}", height=640)
    page.wait("document.body.innerText.includes('champion')")
    page.shot("registry-champion.png")
    page.open(f"{found.url}/#/models/{NAME}.journal", height=900)
    page.wait("document.body.innerText.includes('promoted version')")
    page.shot("registry-journal.png")


def main(run: Path) -> None:
    with registry(run) as found, browser() as page:
        take(page, found)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m docs.screenshots RUN")
    main(Path(sys.argv[1]))
