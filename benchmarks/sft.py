"""The SFT step against TRL's SFTTrainer at its defaults, on the model that ships with the project.

    python -m benchmarks.sft --steps 40 --pairs 3

Both get the same token ids and labels, batches of the same size, and the same learning rate,
schedule and number of steps; all else of TRL is its default. Each run is a process of its own,
timed after its imports, from loading the model to weights on disk. The final loss is the mean of
the last quarter of the steps. Prints a Markdown table; --write puts it into docs/benchmarks.md.
"""

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measuring import ROOT, alternate, machine, ratios, report, spread, table
from dgr.files import read_records
from dgr.records import Origin, Sample, TrainingRow
from dgr.settings import Settings
from dgr.sft import SftConfig, TrainStep, train
from dgr.sft.step import _rows
from dgr.steps import StepFolder

MODEL = ROOT / "models" / "nano-lrm"
DATA = MODEL / "data" / "nano-r1-act.jsonl"


def settings(steps: int) -> SftConfig:
    return SftConfig(learning_rate=3e-4, max_steps=steps, batch_size=8)


def make_arm(folder: Path) -> Path:
    """The external set as a training set."""
    from dgr.data import DataConfig, ingest

    config = DataConfig(format="r1-act", source=str(DATA), limit=400)
    ingest(config, out=folder / "data", seed=0)
    rows = [
        TrainingRow(
            id=row.id,
            question=row.question,
            trace=row.trace,
            answer=row.answer,
            origin=Origin.EXTERNAL,
        )
        for row in read_records(folder / "data" / "records.jsonl", Sample)
    ]
    with StepFolder(folder / "arm", "arm", Settings(), {}, seed=0) as step:
        step.finish({}, {"records.jsonl": rows})
    return folder / "arm"


def ours(steps: int, arm: Path, out: Path) -> list[float]:
    train(settings(steps), model=MODEL, arm=arm, out=out, seed=0)
    return [row.loss for row in read_records(out / "records.jsonl", TrainStep)]


def theirs(steps: int, arm: Path, out: Path) -> list[float]:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    config = settings(steps)
    tokenizer, rows, _ = _rows(config, MODEL, arm)
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(MODEL),
        args=SFTConfig(
            output_dir=str(out),
            per_device_train_batch_size=config.batch_size,
            max_steps=steps,
            learning_rate=config.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=math.ceil(config.warmup_ratio * steps),
            logging_steps=1,
            report_to=[],
            bf16=False,  # what the step does on a CPU
        ),
        train_dataset=Dataset.from_dict(
            {"input_ids": [row.input_ids for row in rows], "labels": [row.labels for row in rows]}
        ),
        processing_class=tokenizer,
    )
    trainer.train()
    trainer.save_model(str(out / "model"))
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


SIDES: dict[str, Callable[[int, Path, Path], list[float]]] = {"ours": ours, "theirs": theirs}


def one(side: str, steps: int, arm: Path, out: Path) -> None:
    """One side in this process; its figures as JSON."""
    import trl.trainer.sft_trainer  # noqa: F401  # not timed

    started = time.perf_counter()
    losses = SIDES[side](steps, arm, out)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([seconds, peak, statistics.mean(losses[-max(1, steps // 4) :])]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="put it into docs/benchmarks.md")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        side, arm, out = options.one
        one(side, options.steps, Path(arm), Path(out))
        return
    figures: dict[str, list[list[float]]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as scratch:
        arm = make_arm(Path(scratch))

        def run(side: str) -> float:
            out = Path(scratch) / f"{side}-{len(figures[side])}"
            command = [sys.executable, "-m", "benchmarks.sft", "--steps", str(options.steps)]
            done = subprocess.run(
                [*command, "--one", side, str(arm), str(out)],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                check=True,
            )
            figures[side].append(json.loads(done.stdout.splitlines()[-1]))
            return figures[side][-1][0]

        seconds = alternate(lambda: run("ours"), lambda: run("theirs"), options.pairs)
    rows = [
        [
            name,
            spread([found[0] for found in figures[side]], 1),
            spread([found[1] for found in figures[side]], 0),
            spread([found[2] for found in figures[side]], 3),
        ]
        for name, side in (("dgr", "ours"), ("TRL", "theirs"))
    ]
    speed = spread(ratios(seconds[1], seconds[0]))
    text = (
        f"{machine('torch', 'trl')}\n\n{table(['', 's', 'peak RSS, MiB', 'final loss'], rows)}\n\n"
        f"Speed, dgr / TRL: {speed}\n\n`python -m benchmarks.sft --steps {options.steps} "
        f"--pairs {options.pairs}`, {options.pairs} pairs"
    )
    report("sft", text, options.write)


if __name__ == "__main__":
    main()
