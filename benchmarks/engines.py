"""The transformers engine against plain transformers, on the model that ships with the project.

    python -m benchmarks.engines --rows 96 --pairs 3

Refinement: the whole step, with quality control and records on disk, against `model.generate` over
its prompts in fixed batches of the same size. Scoring: `engine.score` against a bare forward pass
over as many tokens in full batches with no padding. Models are loaded before the clock starts.
Prints Markdown tables; --write puts them into docs/benchmarks.md.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import ROOT, alternate, machine, ratios, report, spread, table
from dgr.config import RunConfig, load_run_config
from dgr.data import ingest
from dgr.engines import load_engine
from dgr.engines.base import ScoreRequest
from dgr.files import read_records
from dgr.records import RefinedSample, Sample
from dgr.refine import refine
from dgr.refine import step as refine_step
from dgr.steps import summary_of
from dgr.templates import fill

HEAD = ["", "dgr, tokens/s", "plain, tokens/s", "dgr / plain"]


def refinement(config: RunConfig, engine: Any, folder: Path, pairs: int) -> list[str]:
    """Generated tokens a second of the step and of `model.generate`."""
    data = folder / "data"
    ingest(config.data, out=data, seed=0)
    loaded: Callable[..., Any] = lambda config, model: engine  # noqa: E731
    step: Any = refine_step
    step.load_engine = loaded
    runs = iter(range(2 * pairs + 1))

    def ours() -> float:
        out, started = folder / f"out-{next(runs)}", time.perf_counter()
        refine(
            config.refine,
            engine=config.engine,
            model=ROOT / config.model,
            data=data,
            out=out,
            seed=0,
        )
        seconds = time.perf_counter() - started
        parts = summary_of(out)["components"].values()
        return float(sum(part["tokens"] for part in parts)) / seconds

    samples = list(read_records(data / "records.jsonl", Sample))
    prompts, answers = _prompts(config, engine, samples)
    size = engine.config.batch_size

    def theirs() -> float:
        started, tokens = time.perf_counter(), 0
        for ids, ends in ((prompts, [engine.chat.close_id]), (answers, [])):
            stops = [*ends, *engine.turns.stops]
            for start in range(0, len(ids), size):
                tokens += _generate(engine, ids[start : start + size], stops, config)
        return tokens / (time.perf_counter() - started)

    ours()  # what is imported late is there
    found = alternate(ours, theirs, pairs)
    lengths = sorted(
        part.tokens
        for row in read_records(folder / "out-0" / "records.jsonl", RefinedSample)
        for part in (row.trace, row.answer)
    )
    what = (
        f"refine, {2 * len(samples)} completions of {lengths[0]} to {lengths[-1]} tokens "
        f"(median {lengths[len(lengths) // 2]}), batches of {size}"
    )
    return [what, spread(found[0], 0), spread(found[1], 0), spread(ratios(*found))]


def _prompts(
    config: RunConfig, engine: Any, samples: list[Sample]
) -> tuple[list[list[int]], list[list[int]]]:
    """Token ids of the prompts for traces, and of those for answers on the original traces."""
    traces, answers = [], []
    for row in samples:
        named = {"question": row.question, "trace": row.trace, "answer": row.answer}
        traces.append(engine.chat.prompt_ids(fill(config.refine.trace_template, **named), None))
        asked = fill(config.refine.answer_template, **named)
        answers.append(engine.chat.prompt_ids(asked, row.trace))
    return traces, answers


def _generate(engine: Any, prompts: list[list[int]], stops: list[int], config: RunConfig) -> int:
    """One batch through `model.generate`; how many tokens it wrote, each end token included."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    with torch.inference_mode():
        out = engine.model.generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=True,
            temperature=config.refine.temperature,
            top_p=config.refine.top_p,
            top_k=0,
            max_new_tokens=config.refine.max_new_tokens,
            eos_token_id=stops,
            pad_token_id=0,
        )[:, width:]
    ended = torch.isin(out, torch.tensor(stops)).int()
    before = (ended.cumsum(-1) - ended) == 0
    return int(before.sum())


def scoring(config: RunConfig, engine: Any, folder: Path, pairs: int) -> list[str]:
    """Tokens a second, prompts included, of `engine.score` and of a bare forward pass."""
    samples = list(read_records(folder / "data" / "records.jsonl", Sample))
    requests = [ScoreRequest(row.id, row.question, row.trace, row.answer) for row in samples]
    texts = [
        engine.chat.prompt_ids(row.question)
        + [token for part in engine.chat.completion_parts(row.trace, row.answer) for token in part]
        for row in samples
    ]
    stream = [token for text in texts for token in text]
    length = len(stream) // len(texts)
    rows = torch.tensor(stream[: length * (len(stream) // length)]).view(-1, length)
    vocabulary = engine.model.config.vocab_size
    at_once = max(1, min(engine.config.batch_tokens, (1 << 29) // (4 * vocabulary)) // length)

    def ours() -> float:
        started = time.perf_counter()
        assert len(list(engine.score(requests))) == len(requests)
        return len(stream) / (time.perf_counter() - started)

    def theirs() -> float:
        started = time.perf_counter()
        with torch.inference_mode():
            for batch in rows.split(at_once):
                engine.model(input_ids=batch, use_cache=False)
        return rows.numel() / (time.perf_counter() - started)

    ours(), theirs()
    found = alternate(ours, theirs, pairs)
    what = f"score, {len(texts)} texts of {min(map(len, texts))} to {max(map(len, texts))} tokens"
    return [what, spread(found[0], 0), spread(found[1], 0), spread(ratios(*found))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=192)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--write", action="store_true", help="put them into docs/benchmarks.md")
    options = parser.parse_args()
    overrides = [f"data.limit={options.rows}", f"engine.batch_size={options.batch}"]
    config = load_run_config(ROOT / "configs" / "nano.yaml", overrides)
    engine = load_engine(config.engine, ROOT / config.model)
    command = (
        f"`python -m benchmarks.engines --rows {options.rows} --pairs {options.pairs} "
        f"--batch {options.batch}`, {options.pairs} pairs"
    )
    with tempfile.TemporaryDirectory() as scratch:
        for name, measure in (("refine-transformers", refinement), ("score", scoring)):
            row = measure(config, engine, Path(scratch), options.pairs)
            where = machine("torch", "transformers")
            report(name, f"{where}\n\n{table(HEAD, [row])}\n\n{command}", options.write)


if __name__ == "__main__":
    main()
