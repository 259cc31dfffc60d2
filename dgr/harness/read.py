"""inspect_ai's logs (`.eval`, `.json`; local or in a store) as completions."""

from pathlib import Path
from typing import Any

from dgr.errors import UserError
from dgr.harness.foreign import (
    ForeignLog,
    ForeignSample,
    ForeignScore,
    parse_outputs,
    require_inspect,
)
from dgr.records import Finish
from dgr.storage import fetch_file
from dgr.thinking.formats import Parsed

DIGEST = "dgr_model"
"""Where logs of dgr say the digest of the model's folder."""


def read_log(source: str) -> ForeignLog:
    """A finished log; `UserError` for one that cannot be read, failed, or lacks its samples."""
    require_inspect()
    from inspect_ai.log import read_eval_log

    path = fetch_file(source)
    if not Path(path).is_file():
        raise UserError(f"{source} is not a log file")
    try:
        log = read_eval_log(str(path), resolve_attachments=True)
    except Exception as error:  # a log of strangers fails in many ways
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{source} is not a log of inspect_ai: {reason}") from None
    return from_inspect(log, source)


def from_inspect(log: Any, where: str) -> ForeignLog:
    """A log in memory."""
    if log.status != "success" or log.invalidated:
        reason = log.error.message if log.error else ""
        status = "invalidated" if log.invalidated else log.status
        raise UserError(f"{where}: status: wanted success, found {status} {reason}".rstrip())
    if not log.samples:
        raise UserError(f"{where}: samples: wanted the samples themselves, found a summary alone")
    settings = log.eval.model_generate_config.merge(log.plan.config)
    parsed = _parsed(log.samples)
    return ForeignLog(
        where=where,
        model=log.eval.model,
        digest=(log.eval.metadata or {}).get(DIGEST),
        temperature=settings.temperature,
        top_p=settings.top_p,
        max_new_tokens=settings.max_tokens,
        samples=tuple(
            _sample(sample, found, where) for sample, found in zip(log.samples, parsed, strict=True)
        ),
    )


def _parsed(samples: list[Any]) -> list[Parsed]:
    """Trace and answer of the last reply: as the provider parted them, or by their tags."""
    traces = [_trace(sample) for sample in samples]
    raw = parse_outputs(sample.output.completion for sample in samples)
    if any(trace is not None for trace in traces):
        raw = [Parsed("", sample.output.completion.strip(), closed=True) for sample in samples]
    return [
        tagged
        if trace is None
        else Parsed(trace, sample.output.completion.strip(), closed=bool(sample.output.completion))
        for sample, trace, tagged in zip(samples, traces, raw, strict=True)
    ]


def _trace(sample: Any) -> str | None:
    if not sample.output.choices or isinstance(sample.output.message.content, str):
        return None
    parts = [part.reasoning for part in sample.output.message.content if part.type == "reasoning"]
    return "\n".join(parts) if parts else None


def _sample(sample: Any, parsed: Parsed, where: str) -> ForeignSample:
    if sample.error is not None:
        raise UserError(
            f"{where}: sample {sample.id}: wanted a completion, found the error "
            f"'{sample.error.message[:200]}'"
        )
    before = list(sample.messages)
    while before and before[-1].role != "user":
        before.pop()
    cut = sample.limit is not None or (
        bool(sample.output.choices) and sample.output.stop_reason in ("max_tokens", "model_length")
    )
    usage = sample.output.usage
    target = sample.target if isinstance(sample.target, str) else " ".join(sample.target)
    return ForeignSample(
        item=str(sample.id),
        sample=sample.epoch - 1,
        question=before[-1].text if before else _text(sample.input),
        turns=max(0, len(before) - 1),
        gold=target,
        parsed=parsed,
        finish=Finish.LENGTH if cut else Finish.STOP,
        tokens=usage.output_tokens if usage else None,
        scores={name: _score(score) for name, score in (sample.scores or {}).items()},
        family=str(sample.metadata.get("family") or sample.metadata.get("category") or ""),
    )


def _text(found: Any) -> str:
    return found if isinstance(found, str) else "\n".join(message.text for message in found)


def _score(score: Any) -> ForeignScore:
    """With the prompt that a judge got, where its scorer keeps it as inspect_ai's own do."""
    grading = (score.metadata or {}).get("grading") or []
    prompt = grading[0] if grading else None
    content = prompt.get("content") if isinstance(prompt, dict) else getattr(prompt, "text", None)
    return ForeignScore(
        value=score.value,
        explanation=score.explanation or "",
        judged=content if isinstance(content, str) else None,
    )
