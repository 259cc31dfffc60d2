"""What completions made elsewhere must be, to count as if our own engine had made them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dgr.engines.base import Sampling
from dgr.errors import UserError
from dgr.harness.foreign import ForeignLog, ForeignSample
from dgr.records import EvalItem


@dataclass(frozen=True)
class Demand:
    """One suite of the config, and the model that is to be judged."""

    suite: str
    items: Sequence[EvalItem]
    samples: int
    sampling: Sampling
    digest: str
    """Of the model's folder."""
    served_as: str | None = None
    """The name by which a log may speak of this model, where it carries no digest: the word of the
    one who imports it."""


def admit(demand: Demand, log: ForeignLog) -> list[tuple[EvalItem, ForeignSample]]:
    """The log's samples in the order of the suite, each with its item; `samples` of each.

    Raises `UserError` for the first thing that is not as demanded, with its field, what was wanted
    and what was found.
    """
    wanted = dict(_terms(demand, log))
    for field, (want, found) in wanted.items():
        if want != found:
            raise _refusal(log, field, want, found)
    answered = _by_question(log)
    pairs: list[tuple[EvalItem, ForeignSample]] = []
    for item in demand.items:
        samples = sorted(answered.pop(item.question.strip(), []), key=lambda row: row.sample)
        if len(samples) != demand.samples:
            what = f"completions of item {item.id}"
            raise _refusal(log, what, demand.samples, len(samples))
        _check_gold(log, item, samples[0])
        pairs += [(item, sample) for sample in samples]
    if answered:
        raise _refusal(log, "items", f"none beside the suite's {len(demand.items)}", len(answered))
    return pairs


def _terms(demand: Demand, log: ForeignLog) -> Iterable[tuple[str, tuple[Any, Any]]]:
    """Field -> what is wanted, what was found."""
    if log.digest is not None or demand.served_as is None:
        found = log.digest or f"the name '{log.model}' without a digest"
        yield "model", (demand.digest, found)
    else:
        yield "model", (demand.served_as, log.model)
    yield "temperature", (demand.sampling.temperature, log.temperature)
    yield "top_p", (demand.sampling.top_p, _greedy_or(demand, log))
    yield "max_new_tokens", (demand.sampling.max_new_tokens, log.max_new_tokens)
    yield "turns before the question", (0, max(sample.turns for sample in log.samples))
    if not any(sample.parsed.trace or not sample.parsed.closed for sample in log.samples):
        yield "trace", ("completions with their traces", "answers alone")


def _greedy_or(demand: Demand, log: ForeignLog) -> float | None:
    """Without chance the nucleus decides nothing."""
    greedy = demand.sampling.temperature == 0 == log.temperature
    return demand.sampling.top_p if greedy else log.top_p


def _by_question(log: ForeignLog) -> dict[str, list[ForeignSample]]:
    found: Mapping[str, list[ForeignSample]] = defaultdict(list)
    for sample in log.samples:
        found[sample.question.strip()].append(sample)
    return dict(found)


def _check_gold(log: ForeignLog, item: EvalItem, sample: ForeignSample) -> None:
    """The log's target may say more than the answer (a solution that ends in it), never another."""
    if item.answer is not None and sample.gold and item.answer.strip() not in sample.gold:
        raise _refusal(log, f"gold answer of item {item.id}", item.answer, sample.gold[-80:])


def _refusal(log: ForeignLog, field: str, wanted: Any, found: Any) -> UserError:
    return UserError(f"{log.where}: {field}: wanted {wanted}, found {found}")
