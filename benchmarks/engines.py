"""The transformers engine against plain transformers, on the model that ships with the project.

    python -m benchmarks.engines --rows 96 --pairs 3

Refinement and evaluation: the whole step, with quality control or judges and records on disk,
against `model.generate` over its prompts in their order, in fixed batches of the same size.
Scoring: `engine.score` against a bare forward pass over as many tokens in full batches with no
padding. Models are loaded before the clock starts.
Prints Markdown tables; --write puts them into docs/benchmarks.md.
"""

import argparse
import shutil
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
from dgr.engines.base import Sampling, ScoreRequest
from dgr.evaluate import evaluate
from dgr.evaluate.suites import read_suite
from dgr.files import read_records
from dgr.records import EvalRecord, RefinedSample, Sample
from dgr.refine import refine
from dgr.refine import step as refine_step
from dgr.steps import summary_of
from dgr.templates import fill
from dgr.thinking import ChatFormat

HEAD = ["", "dgr, tokens/s", "plain, tokens/s", "dgr / plain"]


ENDS = 9
"""End tokens of the random model: of 800 tokens, so a completion is 89 long on average."""


def refinement(
    config: RunConfig, engine: Any, folder: Path, pairs: int, name: str = "refine"
) -> list[str]:
    """Generated tokens a second of the step and of `model.generate`."""
    data = folder / "data"
    loaded: Callable[..., Any] = lambda config, model: engine  # noqa: E731
    step: Any = refine_step
    step.load_engine = loaded
    runs = iter(range(2 * pairs + 1))

    def ours() -> float:
        out, started = folder / f"{name}-{next(runs)}", time.perf_counter()
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
    prompts, answers = prompts_of(config, engine.chat, samples)

    def theirs() -> float:
        started, tokens = time.perf_counter(), 0
        for ids, ends in ((prompts, [engine.chat.close_id]), (answers, [])):
            stops = [*ends, *engine.turns.stops]
            tokens += _generate(engine, ids, stops, config.refine.sampling())
        return tokens / (time.perf_counter() - started)

    ours()  # what is imported late is there
    found = alternate(ours, theirs, pairs)
    lengths = sorted(
        part.tokens
        for row in read_records(folder / f"{name}-0" / "records.jsonl", RefinedSample)
        for part in (row.trace, row.answer)
    )
    return _row(name, lengths, engine, found)


def mixed_refinement(config: RunConfig, engine: Any, folder: Path, pairs: int) -> list[str]:
    """The same with lengths as mixed as those of reasoning models: by a model of the same shape and
    random weights, which may end at any token, so that lengths are geometric."""
    model = folder / "random"
    _random_model(ROOT / config.model, model)
    sampling = {"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 600}
    changed = config.model_copy(
        update={"model": str(model), "refine": config.refine.model_copy(update=sampling)}
    )
    loaded = load_engine(config.engine, model)
    return refinement(changed, loaded, folder, pairs, "refine, mixed lengths")


def _random_model(like: Path, folder: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    shutil.copytree(like, folder, ignore=shutil.ignore_patterns("*.safetensors", "data"))
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(like)).save_pretrained(folder)
    ends = GenerationConfig.from_pretrained(like)
    ends.eos_token_id = [ends.eos_token_id, *range(100, 100 + ENDS - 1)]
    ends.save_pretrained(folder)


def evaluation(config: RunConfig, engine: Any, folder: Path, pairs: int) -> list[str]:
    """Generated tokens a second of the step and of `model.generate`, on the run's own suites, of
    each half as many questions as there are rows."""
    limit = {"limit": (config.data.limit or 0) // 2}
    suites = tuple(suite.model_copy(update=limit) for suite in config.evaluate.suites)
    settings = config.evaluate.model_copy(update={"suites": suites})
    runs = iter(range(2 * pairs + 1))

    def ours() -> float:
        out, started = folder / f"evaluated-{next(runs)}", time.perf_counter()
        evaluate(
            settings,
            engine=config.engine,
            model=ROOT / config.model,
            out=out,
            seed=0,
            recorded=engine,
        )
        seconds = time.perf_counter() - started
        return float(summary_of(out)["tokens"]["generated"]) / seconds

    asked = [
        (
            suite.sampling.sampling(),
            [
                engine.chat.prompt_ids(item.question)
                for item in read_suite(suite)
                for _ in range(suite.samples)
            ],
        )
        for suite in suites
    ]

    def theirs() -> float:
        started = time.perf_counter()
        stops = list(engine.turns.stops)
        tokens = sum(_generate(engine, prompts, stops, sampling) for sampling, prompts in asked)
        return tokens / (time.perf_counter() - started)

    ours()
    found = alternate(ours, theirs, pairs)
    records = read_records(folder / "evaluated-0" / "records.jsonl", EvalRecord)
    return _row("evaluate", sorted(row.tokens for row in records), engine, found)


def _row(
    name: str, lengths: list[int], engine: Any, found: tuple[list[float], list[float]]
) -> list[str]:
    what = (
        f"{name}, {len(lengths)} completions of {lengths[0]} to {lengths[-1]} tokens "
        f"(median {lengths[len(lengths) // 2]}), batches of {engine.config.batch_size}"
    )
    return [what, spread(found[0], 0), spread(found[1], 0), spread(ratios(*found))]


def prompts_of(
    config: RunConfig, chat: ChatFormat, samples: list[Sample]
) -> tuple[list[list[int]], list[list[int]]]:
    """Token ids of the prompts for traces, and of those for answers on the original traces."""
    traces, answers = [], []
    for row in samples:
        named = {"question": row.question, "trace": row.trace, "answer": row.answer}
        traces.append(chat.prompt_ids(fill(config.refine.trace_template, **named), None))
        asked = fill(config.refine.answer_template, **named)
        answers.append(chat.prompt_ids(asked, row.trace))
    return traces, answers


def _generate(engine: Any, prompts: list[list[int]], stops: list[int], sampling: Sampling) -> int:
    """Tokens that `model.generate` writes, batch after batch, each end token included."""
    size = engine.config.batch_size
    starts = range(0, len(prompts), size)
    return sum(_batch(engine, prompts[at : at + size], stops, sampling) for at in starts)


def _batch(engine: Any, prompts: list[list[int]], stops: list[int], sampling: Sampling) -> int:
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    with torch.inference_mode():
        out = engine.model.generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=True,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=0,
            max_new_tokens=sampling.max_new_tokens,
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


MEASURES = {
    "refine-transformers": refinement,
    "refine-mixed": mixed_refinement,
    "evaluate": evaluation,
    "score": scoring,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=192)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--only", choices=MEASURES, help="one of them, not all")
    parser.add_argument("--write", action="store_true", help="put them into docs/benchmarks.md")
    options = parser.parse_args()
    overrides = [f"data.limit={options.rows}", f"engine.batch_size={options.batch}"]
    config = load_run_config(ROOT / "configs" / "nano.yaml", overrides)
    engine = load_engine(config.engine, ROOT / config.model)
    with tempfile.TemporaryDirectory() as scratch:
        ingest(config.data, out=Path(scratch) / "data", seed=0)
        for name, measure in MEASURES.items():
            if options.only not in (None, name):
                continue
            row = measure(config, engine, Path(scratch), options.pairs)
            where = machine("torch", "transformers")
            command = (
                f"`python -m benchmarks.engines --only {name} --rows {options.rows} "
                f"--pairs {options.pairs} --batch {options.batch}`, {options.pairs} pairs"
            )
            report(name, f"{where}\n\n{table(HEAD, [row])}\n\n{command}", options.write)


if __name__ == "__main__":
    main()
