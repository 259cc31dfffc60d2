"""Evaluation against the bare engine, on the suites of configs/nano.yaml.

    python -m benchmarks.evaluation --pairs 3

Ours is the whole step: suites read, every completion on disk, scorers, judges, records, intervals,
digests. The bare engine is asked for the same completions, which are thrown away. The model is
loaded before the clock starts. Prints a Markdown table; --write puts it into docs/benchmarks.md.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from benchmarks.measuring import ROOT, alternate, machine, ratios, report, spread, table
from dgr.config import RunConfig, load_run_config
from dgr.engines import load_engine
from dgr.engines.base import Engine, Request, Sampling
from dgr.evaluate import evaluate
from dgr.evaluate.sampling import plan

HEAD = ["", "the step, s", "the bare engine, s", "step / engine"]


def measure(config: RunConfig, engine: Engine, folder: Path, pairs: int) -> list[str]:
    """Seconds of the step and of the engine alone."""
    groups: dict[Sampling, list[Request]] = defaultdict(list)
    for task in plan(config.evaluate, config.seed):
        groups[task.suite.sampling.sampling()].append(task.request)
    runs = iter(range(pairs))

    def ours() -> float:
        out, started = folder / f"out-{next(runs)}", time.perf_counter()
        evaluate(
            config.evaluate,
            engine=config.engine,
            model=ROOT / config.model,
            out=out,
            seed=config.seed,
            recorded=engine,
        )
        return time.perf_counter() - started

    def theirs() -> float:
        started = time.perf_counter()
        for sampling, requests in groups.items():
            assert len(list(engine.generate(requests, sampling))) == len(requests)
        return time.perf_counter() - started

    found = alternate(ours, theirs, pairs)
    what = f"{sum(map(len, groups.values())):,} completions of {len(config.evaluate.suites)} suites"
    return [what, spread(found[0]), spread(found[1]), spread(ratios(*found))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="put it into docs/benchmarks.md")
    options = parser.parse_args()
    config = load_run_config(ROOT / "configs" / "nano.yaml")
    engine = load_engine(config.engine, ROOT / config.model)
    with tempfile.TemporaryDirectory() as scratch:
        row = measure(config, engine, Path(scratch), options.pairs)
    where, command = machine("torch", "transformers"), "python -m benchmarks.evaluation"
    told = f"`{command} --pairs {options.pairs}`, {options.pairs} pairs"
    report("evaluation", f"{where}\n\n{table(HEAD, [row])}\n\n{told}", options.write)


if __name__ == "__main__":
    main()
