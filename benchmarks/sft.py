"""The SFT step against TRL's SFTTrainer at its defaults, on the model that ships with the project.

    python -m benchmarks.sft --steps 40 --pairs 3

Both get the same token ids and labels in the same batches, and the same learning rate, schedule and
number of steps; all else of TRL is its default. Once both keep activations for the backward pass,
as the step does by default, and once both compute them again, as TRL does by default. Each run is
a process of its own, timed after its imports, from loading the model to weights on disk. The final
loss is the mean of the last quarter of the steps. Prints a Markdown table; --write puts it into
docs/benchmarks.md.
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
from typing import Any

from benchmarks.measuring import ROOT, alternate, machine, ratios, report, spread, table
from dgr.files import read_records
from dgr.records import Origin, Sample, TrainingRow
from dgr.settings import Settings
from dgr.sft import SftConfig, TrainStep, train
from dgr.sft.step import _order, _rows
from dgr.sft.team import ALONE
from dgr.steps import StepFolder

MODEL = ROOT / "models" / "nano-lrm"
DATA = MODEL / "data" / "nano-r1-act.jsonl"


def settings(steps: int, again: bool) -> SftConfig:
    """`again`: whether activations are computed again."""
    return SftConfig(
        learning_rate=3e-4, max_steps=steps, batch_size=8, gradient_checkpointing=again
    )


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


def ours(config: SftConfig, arm: Path, out: Path) -> list[float]:
    train(config, model=MODEL, arm=arm, out=out, seed=0)
    return [row.loss for row in read_records(out / "records.jsonl", TrainStep)]


def theirs(config: SftConfig, arm: Path, out: Path) -> list[float]:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    steps = config.max_steps or 0
    tokenizer, rows, _ = _rows(config, MODEL, arm)
    order = _order(config, rows, seed=0, team=ALONE)

    class Ordered(SFTTrainer):
        """The same rows in the same batches."""

        def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Any:
            return order

    trainer = Ordered(
        model=AutoModelForCausalLM.from_pretrained(MODEL),
        args=SFTConfig(
            output_dir=str(out),
            per_device_train_batch_size=config.batch_size,
            max_steps=steps,
            learning_rate=config.learning_rate,
            gradient_checkpointing=config.gradient_checkpointing,
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


SIDES: dict[str, Callable[[SftConfig, Path, Path], list[float]]] = {"ours": ours, "theirs": theirs}


def one(side: str, config: SftConfig, arm: Path, out: Path) -> None:
    """One side in this process; its figures as JSON."""
    import trl.trainer.sft_trainer  # noqa: F401  # not timed

    started = time.perf_counter()
    losses = SIDES[side](config, arm, out)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([seconds, peak, statistics.mean(losses[-max(1, len(losses) // 4) :])]))


def compare(steps: int, again: bool, pairs: int, arm: Path) -> list[list[str]]:
    """The rows of the table for one setting."""
    figures: dict[str, list[list[float]]] = {side: [] for side in SIDES}

    def run(side: str) -> float:
        out = arm.parent / f"{side}-{again}-{len(figures[side])}"
        command = [sys.executable, "-m", "benchmarks.sft", "--steps", str(steps)]
        done = subprocess.run(
            [*command, *(["--again"] if again else []), "--one", side, str(arm), str(out)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            check=True,
        )
        figures[side].append(json.loads(done.stdout.splitlines()[-1]))
        return figures[side][-1][0]

    seconds = alternate(lambda: run("ours"), lambda: run("theirs"), pairs)
    speeds = {"ours": spread(ratios(seconds[1], seconds[0])), "theirs": ""}
    return [
        [
            f"{name}, {'computed again' if again else 'kept'}",
            *(
                spread([found[place] for found in figures[side]], digits)
                for place, digits in ((0, 1), (1, 0), (2, 4))
            ),
            speeds[side],
        ]
        for name, side in (("dgr", "ours"), ("TRL", "theirs"))
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="put it into docs/benchmarks.md")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--again", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        side, arm, out = options.one
        one(side, settings(options.steps, options.again), Path(arm), Path(out))
        return
    with tempfile.TemporaryDirectory() as scratch:
        arm_folder = make_arm(Path(scratch))
        rows = [
            row
            for again in (False, True)
            for row in compare(options.steps, again, options.pairs, arm_folder)
        ]
    head = ["activations", "s", "peak RSS, MiB", "final loss", "speed, dgr / TRL"]
    text = (
        f"{machine('torch', 'trl')}\n\n{table(head, rows)}\n\n"
        f"`python -m benchmarks.sft --steps {options.steps} --pairs {options.pairs}`, "
        f"{options.pairs} pairs"
    )
    report("sft", text, options.write)


if __name__ == "__main__":
    main()
