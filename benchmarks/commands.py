"""The command line, and a whole run against its steps' own times.

    python -m benchmarks.commands --pairs 5          # dgr --help, dgr plan
    python -m benchmarks.commands --run              # dgr run configs/nano.yaml, some minutes

Every command is a process of its own. Prints Markdown tables; --write puts them into
docs/benchmarks.md.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measuring import ROOT, machine, report, spread, table
from dgr.files import read_json

DGR = [sys.executable, "-c", "from dgr.cli import main; main()"]
CONFIG = "configs/nano.yaml"


def seconds(*arguments: str) -> float:
    started = time.perf_counter()
    done = subprocess.run(
        [*DGR, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode not in (0, 3):  # 3: rejected by the gate
        sys.exit(f"dgr {' '.join(arguments)} failed")
    return time.perf_counter() - started


def commands(times: int, write: bool) -> None:
    rows = []
    for arguments in (["--help"], ["plan", CONFIG]):
        found = [seconds(*arguments) for _ in range(times)]
        rows.append([f"`dgr {' '.join(arguments)}`", spread(found)])
    command = f"`python -m benchmarks.commands --pairs {times}`, {times} times"
    report("commands", f"{machine('typer')}\n\n{table(['', 's'], rows)}\n\n{command}", write)


def whole(overrides: list[str], write: bool) -> None:
    """A run without a cache. Arms run side by side, so their steps' times overlap."""
    flags = [flag for override in overrides for flag in ("--set", override)]
    with tempfile.TemporaryDirectory() as scratch:
        took = seconds("run", CONFIG, "--runs", scratch, *flags)
        info = read_json(Path(scratch) / "nano" / "run.json")
    steps = sum(step["seconds"] for step in info["steps"].values())
    row = [f"{took:.0f}", f"{steps:.0f}", f"{took / steps:.2f}"]
    command = f"`python -m benchmarks.commands --run {' '.join(flags)}`".replace(" `", "`")
    head = ["`dgr run`, s", "sum of its steps, s", "ratio"]
    report("run", f"{machine('kfp', 'torch')}\n\n{table(head, [row])}\n\n{command}", write)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=5, help="how often each command runs")
    parser.add_argument("--run", action="store_true", help="the whole run instead")
    parser.add_argument("--set", action="append", default=[], help="override of its config")
    parser.add_argument("--write", action="store_true", help="put it into docs/benchmarks.md")
    options = parser.parse_args()
    if options.run:
        whole(options.set, options.write)
    else:
        commands(options.pairs, options.write)


if __name__ == "__main__":
    main()
