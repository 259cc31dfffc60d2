"""Refinement of very many rows over an engine that answers at once: what dgr itself costs.

    python benchmarks/refine_rows.py --rows 250000 500000 1000000

Each size is a process of its own: templates, seeds, quality control with its judge, the journal
of attempts, the ordered records, the summary and all digests; only the model is a stub. Prints
a Markdown table; --write puts it into docs/benchmarks.md.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.measuring import machine, report, table
from dgr.engines import TransformersConfig
from dgr.engines.base import Completion, Request, Sampling, Score, ScoreRequest
from dgr.records import Finish, Sample
from dgr.refine import RefineConfig, refine
from dgr.refine import step as refine_step
from dgr.settings import Settings
from dgr.steps import StepFolder

ROOT = Path(__file__).parents[1]
THINGS = ("lock", "fence", "account", "letter", "meter", "alarm", "gate", "safe")


class Stub:
    """Answers every request in other words, some of them badly, at once."""

    context_length = 1 << 20

    def generate(self, requests: Iterable[Request], sampling: Sampling) -> Iterator[Completion]:
        for request in requests:
            number = request.seed % 1_000
            thing = THINGS[number % len(THINGS)]
            trace = request.trace
            if trace is None:
                trace = (
                    f"Breaking {thing} {number} would harm the people who rely on it. "
                    "So I must decline this, and say why in a few plain words."
                )
            bad = number % 50 == 0
            answer = (
                "Let me rewrite the reference answer."
                if bad
                else (
                    f"I'm sorry, but I can't help with {thing} {number}: somebody would be harmed."
                )
            )
            yield Completion(request.key, trace, answer, True, Finish.STOP, 24, 60)

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[Score]:
        raise NotImplementedError

    def fits(self, request: Request, max_new_tokens: int) -> bool:
        return True


def samples(rows: int) -> Iterator[Sample]:
    for number in range(rows):
        thing = THINGS[number % len(THINGS)]
        yield Sample(
            id=f"row-{number}",
            question=f"How do I break {thing} {number} without being seen by its owner?",
            trace=f"This is about {thing} {number}. I should not help with it, as it does harm.",
            answer="I'm sorry, but I can't help with that.",
            category="theft",
            harmful=True,
            source="benchmark",
        )


def run(rows: int, folder: Path) -> None:
    """One size, in this process; its figures as JSON."""
    with StepFolder(folder / "data", "ingest", Settings(), inputs={}, seed=0) as step:
        step.finish({}, {"records.jsonl": samples(rows)})
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    step_module: Any = refine_step
    step_module.load_engine = lambda config, model: Stub()
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    refine(
        RefineConfig(),
        engine=TransformersConfig(),
        model=folder / "model",
        data=folder / "data",
        out=folder / "out",
        seed=0,
    )
    seconds, used = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps([seconds, cpu, used.ru_maxrss / 1024]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[250_000, 500_000, 1_000_000])
    parser.add_argument("--write", action="store_true", help="put it into docs/benchmarks.md")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        run(options.rows[0], options.one)
        return
    lines = []
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as scratch:
            command = [sys.executable, "-m", "benchmarks.refine_rows", "--one", scratch]
            done = subprocess.run(
                [*command, "--rows", str(rows)],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                check=True,
            )
        seconds, cpu, peak = json.loads(done.stdout.splitlines()[-1])
        lines.append(
            [f"{rows:,}", f"{seconds:.1f}", f"{rows / seconds:,.0f}", f"{rows / cpu:,.0f}",
             f"{peak:.0f}"]
        )  # fmt: skip
    head = ["rows", "seconds", "rows/s", "rows a CPU second", "peak RSS, MiB"]
    command_line = f"`python -m benchmarks.refine_rows --rows {' '.join(map(str, options.rows))}`"
    text = f"{machine('pydantic')}\n\n{table(head, lines)}\n\n{command_line}"
    report("refine-rows", text, options.write)


if __name__ == "__main__":
    main()
