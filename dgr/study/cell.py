"""One cell, from the run's config to its figures.

What cells share (ingest, own, refine, the untrained target's evaluation) is made once, at `steps`.
What is a cell's own (rows, training, evaluation, drift) lies in its work folder until the cell is
finished: a stopped cell goes on where it was, and weights are not kept.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dgr.arms import build_arm, needs_refinement
from dgr.arms.config import Rows
from dgr.config import RunConfig
from dgr.data import ingest
from dgr.data.source import locate
from dgr.engines import resolve_model
from dgr.evaluate import evaluate
from dgr.evaluate.config import EvaluateConfig
from dgr.files import read_json, read_records
from dgr.own import sample_own
from dgr.records import EvalRecord
from dgr.refine import refine
from dgr.settings import Settings
from dgr.sft import SftConfig, train
from dgr.sft.step import TrainStep
from dgr.shift import ShiftConfig, measure_arm, measure_drift
from dgr.steps import StepFolder, input_digest, manifest_digest, summary_of
from dgr.storage import fetch_file
from dgr.study.cells import Cell
from dgr.study.config import StudyConfig
from dgr.study.shared import SharedSteps

RECORDS = "records.jsonl"
UNUSED = ("name", "gate", "registry", "notify", "cluster", "serving")
"""What no cell hangs on in a run's config."""


class CellsConfig(Settings):
    """What every cell of a study is told."""

    run: dict[str, Any]
    """The run's config but for `UNUSED`."""
    measures: bool = False
    """Measure shift and drift."""

    @classmethod
    def of_study(cls, study: StudyConfig) -> "CellsConfig":
        run = study.run.model_dump(mode="json", exclude=set(UNUSED))
        return cls(run=run, measures=study.measures)

    def of(self, cell: Cell) -> RunConfig:
        return cell.config(RunConfig.model_validate({"name": "study", **self.run}))


class CellIdentity(Settings):
    """What a cell's figures hang on besides its inputs."""

    cell: Cell
    rows: Rows | None
    sft: SftConfig | None
    evaluate: EvaluateConfig
    shift: ShiftConfig | None


@dataclass(frozen=True)
class Shared:
    """Folders of what a cell has in common with others; None where it needs none."""

    model: Path
    data: Path | None = None
    own: Path | None = None
    refined: Path | None = None
    base: Path | None = None

    def inputs(self) -> dict[str, Path]:
        return {name: path for name, path in vars(self).items() if path is not None}


def prepare(settings: CellsConfig, *, cell: Cell, steps: str, out: Path) -> None:
    """Make what the cell has in common with others, at `steps`; `out` names the step folders."""
    with _shared(settings, cell, steps) as (config, shared):
        inputs = shared.inputs()
        with StepFolder(out, "prepare", settings, inputs, cell.seed, config.engine) as step:
            if not step.finished:
                step.finish({"cell": cell.id, "made": sorted(inputs)}, {})


def gather(*, prepared: Mapping[str, Path], out: Path, seed: int) -> None:
    """List what cells share; `prepared` maps a cell to the folder that `prepare` wrote."""
    with StepFolder(out, "gather", Settings(), prepared, seed) as step:
        if not step.finished:
            step.finish({cell: summary_of(folder) for cell, folder in prepared.items()}, {})


def run_cell(settings: CellsConfig, *, cell: Cell, steps: str, out: Path) -> None:
    """Train and evaluate the cell.

    Writes `records.jsonl` (EvalRecord, without the texts of trace and answer) and `summary.json`:
    the cell, what its arm was made of, `metrics`, and shift and drift where they are measured.
    """
    with _shared(settings, cell, steps) as (config, shared):
        suites = {f"suite/{s.name}": fetch_file(s.path) for s in config.evaluate.suites}
        identity = _identity(settings, cell, config)
        with StepFolder(
            out, "cell", identity, shared.inputs() | suites, cell.seed, config.engine
        ) as step:
            if step.finished:
                return
            made = _Work(config, cell, shared, step.work / "steps")
            found = made.trained(settings.measures) if cell.trains else made.untrained()
            records = [
                record.model_copy(update={"trace": "", "answer": ""})
                for record in read_records(made.evaluation / RECORDS, EvalRecord)
            ]
            step.finish({**cell.model_dump(mode="json"), **found}, {RECORDS: records})


def _identity(settings: CellsConfig, cell: Cell, config: RunConfig) -> CellIdentity:
    return CellIdentity(
        cell=cell,
        rows=config.arms.chosen if cell.trains else None,
        sft=config.sft if cell.trains else None,
        evaluate=config.evaluate,
        shift=config.shift if cell.trains and settings.measures else None,
    )


@contextmanager
def _shared(settings: CellsConfig, cell: Cell, place: str) -> Iterator[tuple[RunConfig, Shared]]:
    config = settings.of(cell)
    with tempfile.TemporaryDirectory() as scratch:
        steps = SharedSteps(place, Path(scratch))
        model = resolve_model(config.model, config.revision)
        if not cell.trains:
            yield config, Shared(model, base=_base(steps, config, model))
            return
        data = _data(steps, config)
        yield (
            config,
            Shared(
                model,
                data,
                own=_own(steps, config, model, data),
                refined=_refined(steps, config, model, data)
                if needs_refinement(cell.arm)
                else None,
                base=_base(steps, config, model) if settings.measures else None,
            ),
        )


def _data(steps: SharedSteps, config: RunConfig) -> Path:
    told = [config.data.model_dump(mode="json"), config.seed, input_digest(locate(config.data))]
    return steps.make("ingest", told, lambda out: ingest(config.data, out=out, seed=config.seed))


def _own(steps: SharedSteps, config: RunConfig, model: Path, data: Path) -> Path:
    mixes = [input_digest(fetch_file(mix.path)) for mix in config.own.mix]
    told = _told(config, config.own, model, manifest_digest(data), *mixes)

    def work(out: Path) -> None:
        sample_own(
            config.own, engine=config.engine, model=model, data=data, out=out, seed=config.seed
        )

    return steps.make("own", told, work)


def _refined(steps: SharedSteps, config: RunConfig, model: Path, data: Path) -> Path:
    told = _told(config, config.refine, model, manifest_digest(data))

    def work(out: Path) -> None:
        refine(
            config.refine, engine=config.engine, model=model, data=data, out=out, seed=config.seed
        )

    return steps.make("refine", told, work)


def _base(steps: SharedSteps, config: RunConfig, model: Path) -> Path:
    suites = [input_digest(fetch_file(suite.path)) for suite in config.evaluate.suites]
    told = _told(config, config.evaluate, model, *suites)

    def work(out: Path) -> None:
        evaluate(config.evaluate, engine=config.engine, model=model, out=out, seed=config.seed)

    return steps.make("evaluate", told, work)


def _told(config: RunConfig, section: Settings, model: Path, *inputs: str) -> list[Any]:
    """What a step that loads the target hangs on."""
    dumped = [part.model_dump(mode="json") for part in (section, config.engine)]
    return [*dumped, config.seed, input_digest(model), *inputs]


@dataclass(frozen=True)
class _Work:
    """The steps of one cell, each in its folder below `place`."""

    config: RunConfig
    cell: Cell
    shared: Shared
    place: Path

    @property
    def evaluation(self) -> Path:
        if not self.cell.trains:
            assert self.shared.base is not None
            return self.shared.base
        return self.place / "evaluate"

    def untrained(self) -> dict[str, Any]:
        return {"metrics": summary_of(self.evaluation)["metrics"]}

    def trained(self, measures: bool) -> dict[str, Any]:
        shared, config = self.shared, self.config
        assert shared.data is not None and shared.own is not None
        rows, tuned = self.place / "arm", self.place / "sft"
        build_arm(
            config.arms,
            arm=self.cell.arm,
            data=shared.data,
            own=shared.own,
            refined=shared.refined,
            out=rows,
            seed=config.seed,
        )
        train(config.sft, model=shared.model, arm=rows, out=tuned, seed=config.seed)
        evaluate(
            config.evaluate,
            engine=config.engine,
            model=tuned / "model",
            out=self.evaluation,
            seed=config.seed,
        )
        return {
            "metrics": summary_of(self.evaluation)["metrics"],
            "arm_rows": summary_of(rows),
            "training": _training(tuned),
            **(self._measured(rows, tuned) if measures else {}),
            **(_refinement(shared.refined) if shared.refined else {}),
        }

    def _measured(self, rows: Path, tuned: Path) -> dict[str, Any]:
        shared, config = self.shared, self.config
        assert shared.own is not None and shared.base is not None
        shift, drift = self.place / "shift", self.place / "drift"
        told: dict[str, Any] = {
            "engine": config.engine,
            "model": shared.model,
            "seed": config.seed,
        }
        measure_arm(config.shift, arm=rows, own=shared.own, out=shift, **told)
        arm = self.cell.arm
        measure_drift(
            config.shift,
            tuned={arm: tuned},
            evaluations={"base": shared.base, arm: self.evaluation},
            out=drift,
            **told,
        )
        return {
            "shift": summary_of(shift)["sets"]["original"],
            "drift": summary_of(drift)["arms"][arm],
        }


def _training(tuned: Path) -> dict[str, Any]:
    """What the training came to: steps, tokens, and the loss of its last tenth."""
    log = list(read_records(tuned / RECORDS, TrainStep))
    last = log[-max(1, len(log) // 10) :]
    return {
        "steps": len(log),
        "supervised_tokens": sum(step.supervised_tokens for step in log),
        "last_loss": sum(step.loss for step in last) / len(last),
    }


def _refinement(refined: Path) -> Mapping[str, Any]:
    return {"fallback_rate": read_json(refined / "summary.json")["fallback_rate"]}
