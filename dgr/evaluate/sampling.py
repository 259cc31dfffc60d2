"""The first phase of an evaluation: what is asked of whom, and the completions that came."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dgr.completions import CompletionRow
from dgr.engines.adapters import Adapted
from dgr.engines.base import Completion, Engine, Request, Sampling
from dgr.engines.usage import Metered
from dgr.errors import UserError
from dgr.evaluate.config import EvaluateConfig, SuiteConfig
from dgr.evaluate.suites import read_suite
from dgr.harness import TaskConfig, run_tasks
from dgr.progress import Progress
from dgr.records import EvalItem, EvalRecord
from dgr.seeds import derive
from dgr.shards import Shard, share
from dgr.steps import StepFolder


@dataclass(frozen=True)
class Task:
    """One completion to sample, and what is needed to make a record of it."""

    suite: SuiteConfig
    item: EvalItem
    sample: int
    request: Request


@dataclass(frozen=True)
class Subject:
    """A model to evaluate, and the folder of its evaluation.

    `adapter` is the LoRA adapter that makes it of the model that the engine has loaded; None: the
    engine has loaded the very model.
    """

    model: Path
    out: Path
    adapter: Path | None = None

    def inputs(self) -> dict[str, Path]:
        return {"model": self.model} | ({"adapter": self.adapter} if self.adapter else {})


class Evaluation:
    """One subject's evaluation under way: what was sampled, by whom, and what it cost."""

    def __init__(self, subject: Subject, step: StepFolder, tasks: Sequence[Task]) -> None:
        self.subject, self.step, self.tasks = subject, step, tasks
        self.samples = step.journal("samples.jsonl", CompletionRow, key=lambda row: row.key)
        self.foreign: list[EvalRecord] = []
        self.cost: dict[str, float] = {}
        self._tokens = {"prompt_tokens": 0, "generated_tokens": 0}

    @property
    def missing(self) -> list[Task]:
        return [task for task in self.tasks if task.request.key not in self.samples]

    def add(self, completion: Completion) -> None:
        """Write a completion down."""
        self.samples.add(CompletionRow.of(completion))
        self._count(completion.prompt_tokens, completion.tokens)

    def run_tasks(self, tasks: Sequence[TaskConfig], engine: Metered, seed: int) -> None:
        """Run inspect_ai's tasks."""
        if not tasks:
            return
        before = engine.prompt_tokens, engine.generated_tokens
        self.foreign = run_tasks(
            tasks,
            engine=Adapted(engine, self.subject.adapter),
            model=str(self.subject.model),
            seed=seed,
            journal=self.step.journal("tasks.jsonl", CompletionRow, key=lambda row: row.key),
        )
        self._count(engine.prompt_tokens - before[0], engine.generated_tokens - before[1])

    def _count(self, prompt: int, generated: int) -> None:
        self._tokens["prompt_tokens"] += prompt
        self._tokens["generated_tokens"] += generated

    def share_of(self, cost: Mapping[str, float]) -> dict[str, float]:
        """Its part of what the engine took: of the time, as much as of the generated tokens."""
        of_all = self._tokens["generated_tokens"] / max(1, cost["generated_tokens"])
        times = ("engine_seconds", "device_seconds")
        shares = {name: round(cost[name] * of_all, 6) for name in times}
        return {**cost, **self._tokens, **shares}


def plan(config: EvaluateConfig, seed: int, shard: Shard | None = None) -> Iterable[Task]:
    """Every completion to sample, in the order of the records."""
    questions = ((suite, item) for suite in config.suites for item in read_suite(suite))
    for suite, item in share(questions, shard):
        for index in range(suite.samples):
            request = Request(
                key=request_key(suite.name, index, item.id),
                question=item.question,
                trace="" if config.empty_trace else None,
                seed=derive(seed, suite.name, item.id, index),
            )
            yield Task(suite, item, index, request)


def request_key(suite: str, sample: int, item: str) -> str:
    """Unique: neither a suite's name nor a number holds a slash, and the free text comes last."""
    return f"{suite}/{sample}/{item}"


def sample(engine: Engine, evaluations: Sequence[Evaluation]) -> None:
    """The first phase; each completion is on disk soon after it is made."""
    groups: dict[Sampling, dict[str, tuple[Evaluation, Request]]] = {}
    for number, evaluation in enumerate(evaluations):
        for task in evaluation.missing:
            sampling = task.suite.sampling.sampling()
            _check_fits(engine, task, sampling)
            # Subjects are asked the same: a number tells their requests apart.
            key = f"{number}:{task.request.key}" if number else task.request.key
            request = replace(task.request, adapter=evaluation.subject.adapter)
            groups.setdefault(sampling, {})[key] = evaluation, request
    with Progress("evaluate", sum(map(len, groups.values())), "completions") as progress:
        for sampling, asked in groups.items():
            requests = [replace(request, key=key) for key, (_, request) in asked.items()]
            for completion in engine.generate(requests, sampling):
                evaluation, request = asked[completion.key]
                evaluation.add(replace(completion, key=request.key))
                progress.advance()


def _check_fits(engine: Engine, task: Task, sampling: Sampling) -> None:
    if not engine.fits(task.request, sampling.max_new_tokens):
        raise UserError(
            f"suite '{task.suite.name}', item {task.item.id}: the question and max_new_tokens "
            f"{sampling.max_new_tokens} do not fit the model's context of "
            f"{engine.context_length} tokens; lower max_new_tokens or drop the question"
        )
