"""What evaluation wrote, as logs of inspect_ai: one a suite, for `inspect view`.

A question is a sample, its completions are epochs. The trace is reasoning content, the answer is
text, and trace and answer keep scores of their own.
"""

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dgr.errors import UserError
from dgr.files import read_json, read_records
from dgr.harness.foreign import require_inspect
from dgr.harness.read import DIGEST
from dgr.judges.base import Stance
from dgr.metrics import METRICS, metrics
from dgr.records import EvalRecord, Finish
from dgr.stats import UNKNOWN, Estimate
from dgr.steps import TIMING, manifest_digest, verify
from dgr.storage import open_store


def write_logs(evaluation: Path, out: str, *, arm: str, run: str = "") -> list[str]:
    """Write `<out>/<arm>/<suite>.eval` for every suite of an evaluation; their places are returned.

    `out` is a folder or `s3://bucket/prefix`. Raises `UserError` for an evaluation that has not
    finished or was changed.
    """
    require_inspect()
    manifest = verify(evaluation)
    if manifest["step"] != "evaluate":
        raise UserError(f"{evaluation} is a folder of {manifest['step']}, not of evaluate")
    suites = [*manifest["config"]["suites"], *manifest["config"].get("tasks", [])]
    records: dict[str, list[EvalRecord]] = {suite["name"]: [] for suite in suites}
    for record in read_records(evaluation / "records.jsonl", EvalRecord):
        records[record.suite].append(record)
    about = {
        DIGEST: manifest["inputs"].get("model"),
        "dgr_run": run,
        "dgr_arm": arm,
        "dgr_evaluation": manifest_digest(evaluation),
        "dgr_version": manifest["version"],
    }
    store = open_store(out)
    places = []
    with tempfile.TemporaryDirectory() as folder:
        for suite in suites:
            key = f"{arm}/{suite['name']}.eval"
            local = Path(folder) / f"{suite['name']}.eval"
            log = _Log(suite, records[suite["name"]], manifest, about, _times(evaluation))
            _save(log.build(), local)
            store.put_file(local, key)
            places.append(store.uri_of(key))
    return places


def _save(log: Any, path: Path) -> None:
    from inspect_ai.log import write_eval_log

    with _packed_by_this_thread():
        write_eval_log(log, str(path))


@contextmanager
def _packed_by_this_thread() -> Iterator[None]:
    """inspect_ai starts twelve threads to compress each sample: half of all that a log costs."""
    from inspect_ai._util import zipfile

    threads, zipfile._ZSTD_THREADS = zipfile._ZSTD_THREADS, 0
    try:
        yield
    finally:
        zipfile._ZSTD_THREADS = threads


def _times(evaluation: Path) -> tuple[str, str]:
    """When the evaluation began and ended."""
    path = evaluation / TIMING
    timing = read_json(path) if path.is_file() else {"started": 0.0, "seconds": 0.0}
    ends = (timing["started"], timing["started"] + timing["seconds"])
    began, ended = (datetime.fromtimestamp(time, UTC).isoformat() for time in ends)
    return began, ended


class _Log:
    """One suite on its way to a log."""

    def __init__(
        self,
        suite: Mapping[str, Any],
        records: Sequence[EvalRecord],
        manifest: Mapping[str, Any],
        about: Mapping[str, Any],
        times: tuple[str, str],
    ) -> None:
        self.suite, self.records, self.manifest = suite, records, manifest
        self.about, (self.started, self.ended) = dict(about), times
        self.model = f"dgr/{str(about[DIGEST])[:12]}"
        judges = "+".join(suite.get("judges") or ())
        readers = (suite.get("scorer"), suite.get("judge"), judges, suite.get("score"))
        self.reader = next((str(reader) for reader in readers if reader), "task")

    def build(self) -> Any:
        from inspect_ai.log import (
            EvalConfig,
            EvalDataset,
            EvalLog,
            EvalResults,
            EvalSpec,
            EvalStats,
        )
        from inspect_ai.model import GenerateConfig
        from inspect_ai.viewer import ViewerConfig

        sampling = self.suite["sampling"]
        name, items = self.suite["name"], list(dict.fromkeys(row.item for row in self.records))
        digest = self.manifest["inputs"].get(f"suite/{name}")
        spec = EvalSpec(
            created=self.started,
            run_id=self.about["dgr_evaluation"][:22],
            eval_id=f"{self.about['dgr_evaluation'][:16]}-{name}",
            task_id=f"{self.about['dgr_evaluation'][:16]}-{name}",
            task=name,
            task_args={"kind": self.suite["kind"]},
            dataset=EvalDataset(
                name=name,
                location=self.suite.get("path") or self.suite.get("task"),
                samples=len(items),
                sample_ids=items,
                shuffled=False,
            ),
            model=self.model,
            model_generate_config=GenerateConfig(
                temperature=sampling["temperature"],
                top_p=sampling["top_p"],
                max_tokens=sampling["max_new_tokens"],
            ),
            config=EvalConfig(epochs=self.suite["samples"]),
            viewer=ViewerConfig(trust_content=False),  # a model's text is not to fetch pictures
            metadata={**self.about, "dgr_suite": digest, "dgr_seed": self.manifest["seed"]},
        )
        samples = [self._sample(row) for row in self.records]
        return EvalLog(
            status="success",
            eval=spec,
            results=EvalResults(
                total_samples=len(samples), completed_samples=len(samples), scores=self._figures()
            ),
            stats=EvalStats(started_at=self.started, completed_at=self.ended),
            samples=samples,
        )

    def _sample(self, row: EvalRecord) -> Any:
        from inspect_ai.log import EvalSample
        from inspect_ai.model import (
            ChatCompletionChoice,
            ChatMessageAssistant,
            ChatMessageUser,
            ContentReasoning,
            ContentText,
            ModelOutput,
            ModelUsage,
        )

        reply = ChatMessageAssistant(
            content=[ContentReasoning(reasoning=row.trace), ContentText(text=row.answer)],
            model=self.model,
            source="generate",
        )
        usage = ModelUsage(output_tokens=row.tokens, total_tokens=row.tokens)
        stop = "max_tokens" if row.finish is Finish.LENGTH else "stop"
        return EvalSample(
            id=row.item,
            epoch=row.sample + 1,
            input=row.question,
            target=row.gold or "",
            messages=[ChatMessageUser(content=row.question, source="input"), reply],
            output=ModelOutput(
                model=self.model,
                choices=[ChatCompletionChoice(message=reply, stop_reason=stop)],
                usage=usage,
            ),
            model_usage={self.model: usage},
            scores={name: _score(value, row.answer) for name, value in self._values(row).items()},
            metadata={
                "kind": row.kind,
                "family": row.family,
                "level": row.level,
                "cut": row.finish is Finish.LENGTH,
                "parsed": row.parsed,
            },
        )

    def _values(self, row: EvalRecord) -> dict[str, str | float]:
        """Correctness by the scorer; or what the judges say of trace and answer, each alone: all
        together, and where there are several, each by itself."""
        if row.kind == "reasoning":
            return {self.reader: "C" if row.correct else "I" if row.parsed else "N"}
        parts = {"answer": row.answer_stance, "trace": row.trace_stance}
        found = {f"{part} complies": _complies(stance) for part, stance in parts.items() if stance}
        if len({verdict.judge for verdict in row.verdicts}) > 1:
            for verdict in row.verdicts:
                found[f"{verdict.part} complies: {verdict.judge}"] = _complies(verdict.stance)
        return dict[str, str | float](found)

    def _figures(self) -> list[Any]:
        """The suite's own figures, each with its interval and the number of questions."""
        from inspect_ai.log import EvalMetric, EvalScore

        figures = metrics(self.records, self.manifest["seed"])
        return [
            EvalScore(
                name=name,
                scorer=self.reader,
                metrics={
                    label: EvalMetric(name=label, value=value)
                    for label, value in _values_of(figure).items()
                },
            )
            for name, figure in ((name, figures.get(name, UNKNOWN)) for name in METRICS)
            if figure.known
        ]


def _values_of(figure: Estimate) -> dict[str, float]:
    return {"value": figure.value, "low": figure.low, "high": figure.high, "n": figure.n}


def _complies(stance: Stance) -> float:
    return math.nan if stance is Stance.UNSCORED else float(stance is Stance.COMPLIES)


def _score(value: str | float, answer: str) -> Any:
    from inspect_ai.scorer import Score

    return Score(value=value, answer=answer)
