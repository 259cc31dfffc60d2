"""The compiled pipeline: the file in the repository is what the source gives."""

import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
COMPILED = ROOT / "pipelines" / "align.yaml"


def compile_pipeline(*flags: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pipelines.compile", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_file_is_up_to_date() -> None:
    done = compile_pipeline("--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_component_is_in_it_and_installs_nothing() -> None:
    text = COMPILED.read_text()
    executors = yaml.safe_load(text)["deploymentSpec"]["executors"]
    used = {re.sub(r"^exec-|-\d+$", "", name) for name in executors}
    folders = {path.parent.name for path in (ROOT / "components").glob("*/component.py")}
    assert used == folders
    assert "pip install" not in text


def test_what_is_outside_the_pipeline_is_looked_at_each_time() -> None:
    """Runs are recorded and models registered even where everything else is cached."""
    root = yaml.safe_load(COMPILED.read_text())
    tasks = [
        (name, task)
        for part in (root["root"], *root["components"].values())
        for name, task in part.get("dag", {}).get("tasks", {}).items()
        if "dag" not in root["components"][task["componentRef"]["name"]]
    ]
    uncached = {
        name for name, task in tasks if not task.get("cachingOptions", {}).get("enableCache")
    }
    assert uncached == {"champion", "record", "register", "finish"}
