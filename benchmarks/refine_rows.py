"""Refinement of very many rows over an engine that answers at once: what dgr itself costs.

    python benchmarks/refine_rows.py --rows 250000 500000 1000000

Each size is a process of its own: templates, seeds, quality control with its judge, the journal
of attempts, the ordered records, the summary and all digests; only the model is a stub. The largest
is done again in as many shards as there are cores, each a process, and merged. Prints a Markdown
table; --write puts it into docs/benchmarks.md.
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
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.measuring import machine, report, table
from dgr.engines import TransformersConfig
from dgr.engines.base import Completion, Request, Requests, Sampling, Score, ScoreRequest
from dgr.records import Finish, Sample
from dgr.refine import RefineConfig, refine
from dgr.refine import step as refine_step
from dgr.refine.step import merge
from dgr.settings import Settings
from dgr.shards import Shard
from dgr.steps import StepFolder

ROOT = Path(__file__).parents[1]
THINGS = ("lock", "fence", "account", "letter", "meter", "alarm", "gate", "safe")


class Stub:
    """Answers every request in other words, some of them badly, at once."""

    context_length = 1 << 20

    def generate(self, requests: Requests, sampling: Sampling) -> Iterator[Completion]:
        for request in filter(None, requests):
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


def refine_rows(folder: Path, out: Path, shard: Shard | None = None) -> None:
    step_module: Any = refine_step
    step_module.load_engine = lambda config, model: Stub()
    refine(
        RefineConfig(),
        engine=TransformersConfig(),
        model=folder / "model",
        data=folder / "data",
        out=out,
        seed=0,
        shard=shard,
    )


def run(rows: int, folder: Path, shards: int) -> None:
    """One size, in this process or in one for each shard; its figures as JSON."""
    with StepFolder(folder / "data", "ingest", Settings(), inputs={}, seed=0) as step:
        step.finish({}, {"records.jsonl": samples(rows)})
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    before, started = cpu_seconds(), time.perf_counter()
    if shards == 1:
        refine_rows(folder, folder / "out")
    else:
        parts = [folder / f"part-{number}" for number in range(shards)]
        whole = [Shard(number + 1, shards) for number in range(shards)]
        with ProcessPoolExecutor(shards, get_context("spawn")) as pool:
            list(pool.map(refine_rows, [folder] * shards, parts, whole))
        merge(parts, out=folder / "out")
    seconds, cpu = time.perf_counter() - started, cpu_seconds() - before
    print(json.dumps([seconds, cpu, max(found.ru_maxrss for found in usages()) / 1024]))


def usages() -> list[resource.struct_rusage]:
    """Of this process and of those that it started, which have ended."""
    return [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]


def cpu_seconds() -> float:
    return sum(found.ru_utime + found.ru_stime for found in usages())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[250_000, 500_000, 1_000_000])
    parser.add_argument("--write", action="store_true", help="put it into docs/benchmarks.md")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--shards", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        run(options.rows[0], options.one, options.shards)
        return
    lines = []
    for rows, shards in [
        *((rows, 1) for rows in options.rows),
        (max(options.rows), os.cpu_count() or 1),
    ]:
        with tempfile.TemporaryDirectory() as scratch:
            command = [sys.executable, "-m", "benchmarks.refine_rows", "--one", scratch]
            done = subprocess.run(
                [*command, "--rows", str(rows), "--shards", str(shards)],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                check=True,
            )
        seconds, cpu, peak = json.loads(done.stdout.splitlines()[-1])
        lines.append(
            [f"{rows:,}", str(shards), f"{seconds:.1f}", f"{rows / seconds:,.0f}",
             f"{rows / cpu:,.0f}", f"{peak:.0f}"]
        )  # fmt: skip
    head = ["rows", "shards", "seconds", "rows/s", "rows a CPU second", "peak RSS, MiB"]
    command_line = f"`python -m benchmarks.refine_rows --rows {' '.join(map(str, options.rows))}`"
    text = f"{machine('pydantic')}\n\n{table(head, lines)}\n\n{command_line}"
    report("refine-rows", text, options.write)


if __name__ == "__main__":
    main()
