"""lm-evaluation-harness's results and samples as completions.

It writes `results_<time>.json` and, with `--log_samples`, `samples_<task>_<time>.jsonl` beside it.
Neither says why a generation ended nor how long it was, so both are taken from the tokens that the
model's own tokenizer counts. `repeats` above 1 leave every response in the file, although the
harness itself scores the first alone.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dgr.errors import UserError
from dgr.files import read_json
from dgr.harness.foreign import ForeignLog, ForeignSample, ForeignScore, parse_outputs
from dgr.records import Finish
from dgr.thinking.formats import Parsed

QUESTION_FIELDS = ("question", "problem", "prompt", "forbidden_prompt", "input")
_SAMPLES = "samples_"


def read_lm_eval(samples: Path, *, count: Callable[[str], int]) -> ForeignLog:
    """One task's samples file, with the results file beside it. `count` counts a text's tokens.

    `UserError` names the file and what it lacks.
    """
    task, time = _names(samples)
    results = read_json(samples.with_name(f"results_{time}.json"))
    rows = _rows(samples)
    settings = _settings(results, task, rows[0], samples)
    limit = settings.get("max_gen_toks", settings.get("max_tokens"))
    outputs = [text for row in rows for text in _responses(row, samples)]
    parsed = iter(parse_outputs(outputs))
    found: list[ForeignSample] = []
    for row in rows:
        for number, text in enumerate(_responses(row, samples)):
            found.append(_sample(row, number, next(parsed), count(text), limit, samples))
    config = results.get("config") or {}
    greedy = settings.get("do_sample") is False
    return ForeignLog(
        where=str(samples),
        model=str(results.get("model_name") or config.get("model") or ""),
        digest=None,
        temperature=0.0 if greedy else settings.get("temperature"),
        top_p=settings.get("top_p"),
        max_new_tokens=limit,
        samples=tuple(found),
    )


def _names(path: Path) -> tuple[str, str]:
    stem = path.name.removesuffix(".jsonl")
    task, _, time = stem.removeprefix(_SAMPLES).rpartition("_")
    if not path.name.startswith(_SAMPLES) or not path.name.endswith(".jsonl") or not task:
        raise UserError(f"{path} is not a samples file of lm-eval: samples_TASK_TIME.jsonl")
    return task, time


def _rows(path: Path) -> list[dict[str, Any]]:
    """One row a question: with several filters the file repeats them all."""
    found: dict[Any, dict[str, Any]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, UnicodeDecodeError):
        raise UserError(f"{path} does not exist or is not UTF-8 text") from None
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            missing = {"doc_id", "doc", "arguments", "resps"} - set(row)
        except (ValueError, TypeError):
            raise UserError(f"{path}, line {number} is not a JSON object") from None
        if missing:
            raise UserError(f"{path}, line {number}: {sorted(missing)[0]}: it is missing")
        scores = {name: row[name] for name in row.get("metrics") or [] if name in row}
        first = found.setdefault(row["doc_id"], {**row, "scores": {}})
        first["scores"] |= {f"{name},{row.get('filter')}": v for name, v in scores.items()}
    if not found:
        raise UserError(f"{path} holds no sample; run lm_eval with --log_samples")
    return list(found.values())


def _settings(
    results: Mapping[str, Any], task: str, row: Mapping[str, Any], path: Path
) -> dict[str, Any]:
    """Decoding as the request said it, over what the task's config says."""
    config = (results.get("configs") or {}).get(task) or {}
    own = config.get("generation_kwargs") or {}
    return {**own, **_argument(row, 1, path, {})}


def _argument(row: Mapping[str, Any], index: int, path: Path, default: Any) -> Any:
    """The prompt (0) or the settings (1) of a request, in either spelling of the file."""
    arguments = row["arguments"]
    if isinstance(arguments, Mapping):
        return (arguments.get("gen_args_0") or {}).get(f"arg_{index}", default)
    first = arguments[0] if arguments else []
    return first[index] if len(first) > index else default


def _responses(row: Mapping[str, Any], path: Path) -> list[str]:
    resps = row["resps"]
    texts = resps[0] if resps and isinstance(resps[0], list) else resps
    if not texts or not all(isinstance(text, str) for text in texts):
        raise UserError(f"{path}, doc {row['doc_id']}: resps: wanted texts that were generated")
    return list(texts)


def _sample(
    row: Mapping[str, Any], number: int, parsed: Parsed, tokens: int, limit: Any, path: Path
) -> ForeignSample:
    question, turns = _asked(row, path)
    cut = limit is not None and tokens >= int(limit)
    return ForeignSample(
        item=str(row["doc_id"]),
        sample=number,
        question=question,
        turns=turns,
        gold=str(row.get("target", "")),
        parsed=Parsed(parsed.answer, "", closed=False) if cut and not parsed.trace else parsed,
        finish=Finish.LENGTH if cut else Finish.STOP,
        tokens=tokens,
        scores={name: ForeignScore(value) for name, value in row["scores"].items()},
    )


def _asked(row: Mapping[str, Any], path: Path) -> tuple[str, int]:
    """The question, and how many turns came before it.

    A prompt that holds more than the document's question counts as turns: it is another question.
    """
    prompt = _argument(row, 0, path, "")
    messages = _messages(prompt)
    asked = messages[-1] if messages else str(prompt)
    doc = row["doc"] if isinstance(row["doc"], Mapping) else {}
    own = next((str(doc[name]) for name in QUESTION_FIELDS if doc.get(name)), asked)
    bare = asked.strip() == own.strip()
    return (own, len(messages[:-1])) if bare else (asked, len(messages[:-1]))


def _messages(prompt: Any) -> list[str]:
    """The texts of a chat prompt, which the harness keeps as JSON in a text or in a list."""
    value = prompt[0] if isinstance(prompt, list) and prompt else prompt
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return []
    if not isinstance(found, list):
        return []
    return [str(turn.get("content", "")) for turn in found if isinstance(turn, Mapping)]
