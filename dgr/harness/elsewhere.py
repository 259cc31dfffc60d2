"""Completions made elsewhere as an evaluation: admitted, then read by our own scorers and judges.

All arms must be read alike, so the scores that a log brings decide nothing; they are compared.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dgr.engines.base import (
    Completion,
    Divergence,
    Request,
    Requests,
    Sampling,
    Score,
    ScoreRequest,
)
from dgr.errors import UserError
from dgr.harness.demands import Demand, admit
from dgr.harness.foreign import ForeignLog, ForeignSample, number
from dgr.harness.lm_eval import read_lm_eval
from dgr.harness.read import read_log
from dgr.records import EvalRecord

Count = Callable[[str], int]
"""Tokens of a text."""
Key = tuple[str, str, int]
"""Suite, item, number of the sample."""


@dataclass(frozen=True)
class Imported:
    """The admitted completions of one model, one log a suite."""

    logs: Mapping[str, ForeignLog]
    samples: Mapping[Key, ForeignSample]

    def differences(self, records: Iterable[EvalRecord]) -> Iterator[str]:
        """For each score of a log that says right or wrong: how often it says another than ours."""
        counts: dict[tuple[str, str], list[bool]] = {}
        for row in records:
            for name, score in self.samples[row.suite, row.item, row.sample].scores.items():
                if row.correct is not None and not isinstance(score.value, Mapping):
                    value = number(score.value, None, f"{row.suite}, item {row.item}")
                    right = value is not None and value >= 1
                    counts.setdefault((row.suite, name), []).append(right != row.correct)
        for (suite, name), found in counts.items():
            yield f"{suite}: {name} differs from our reading in {sum(found)} of {len(found)}"


def import_logs(demands: Sequence[Demand], sources: Mapping[str, str], count: Count) -> Imported:
    """Read the log of every suite, and admit it. `UserError` for the first that is not as demanded.

    `sources` maps a suite to its log: local, or in a store where it is one of inspect_ai.
    """
    logs: dict[str, ForeignLog] = {}
    samples: dict[Key, ForeignSample] = {}
    for demand in demands:
        log = _read(sources[demand.suite], count)
        pairs = admit(demand, log)
        logs[demand.suite] = log
        turn: dict[str, int] = {}
        for item, sample in pairs:
            turn[item.id] = turn.get(item.id, -1) + 1
            samples[demand.suite, item.id, turn[item.id]] = sample
    return Imported(logs, samples)


def _read(source: str, count: Count) -> ForeignLog:
    if source.endswith(".jsonl"):
        return read_lm_eval(Path(source), count=count)
    if source.endswith((".eval", ".json")):
        return read_log(source)
    raise UserError(
        f"{source}: name a log of inspect_ai (.eval, .json) or lm-eval's samples_TASK_TIME.jsonl"
    )


class Recorded:
    """An engine that answers what was recorded: evaluation then does all else as ever."""

    context_length = 1 << 30

    def __init__(self, imported: Imported, key: Callable[[str, int, str], str], count: Count):
        """`key` makes the key of evaluation's request of a suite, a sample and an item."""
        self._count = count
        self._samples = {
            key(suite, index, item): sample
            for (suite, item, index), sample in imported.samples.items()
        }

    def generate(self, requests: Requests, sampling: Sampling) -> Iterator[Completion]:
        for request in filter(None, requests):
            sample = self._samples[request.key]
            trace, answer = sample.parsed.trace, sample.parsed.answer
            counted = sample.tokens
            if counted is None:
                counted = self._count(trace) + self._count(answer)
            yield Completion(
                request.key, trace, answer, sample.parsed.closed, sample.finish, counted
            )

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[Score]:
        raise UserError("recorded completions cannot be scored under their model")

    def compare(self, other: Path, requests: Iterable[ScoreRequest]) -> Iterator[Divergence]:
        raise UserError("recorded completions cannot be compared with another model's")

    def fits(self, request: Request, max_new_tokens: int) -> bool:
        return True
