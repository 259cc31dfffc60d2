"""The engine that runs vLLM on this machine, in processes of its own.

vLLM's scheduler is kept fed with somewhat more than it runs at once, and what it has finished
comes out at once. Prompts and completions are token ids; vLLM never sees text.
"""

import asyncio
import atexit
import multiprocessing
import os
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from functools import cached_property
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from dgr.engines.adapters import check_adapter
from dgr.engines.base import (
    Completion,
    Divergence,
    Engine,
    Request,
    Requests,
    Sampling,
    Score,
    ScoreRequest,
)
from dgr.engines.config import VllmConfig
from dgr.engines.load import load_local
from dgr.engines.source import Source
from dgr.engines.turns import Text, Turns
from dgr.engines.usage import Usage
from dgr.errors import UserError
from dgr.records import Finish

AHEAD = 2
"""Requests that vLLM is given, as a multiple of those that it runs at once."""
END_SECONDS = 60.0
"""Longest wait for vLLM's processes to be gone, and their memory with them."""
SOCKETS = "VLLM_RPC_BASE_PATH"
"""Where vLLM's processes meet: it reads it once, and removes none of its sockets. Their paths may
have 107 characters."""
_FINISHES = {"stop": Finish.STOP, "length": Finish.LENGTH}

ResultT = TypeVar("ResultT")


class VllmEngine:
    """Generates with vLLM; scores with it, or with the transformers engine beside it.

    vLLM starts with the first request that needs it, and ends before the transformers engine is
    loaded: there is one copy of the model in memory.
    """

    def __init__(self, config: VllmConfig, model: Path) -> None:
        self.config, self._model = config, model
        self.turns = Turns(model, config.thinking, config.max_context)
        self._running: _Running | None = None
        self._adapters: dict[Path, int] = {}
        self._cached_tokens = 0

    @property
    def usage(self) -> Usage:
        devices = self.config.tensor_parallel * self.config.data_parallel
        return Usage(cached_tokens=self._cached_tokens, devices=devices)

    @property
    def context_length(self) -> int:
        return self.turns.context_length

    def fits(self, request: Request, max_new_tokens: int) -> bool:
        """Whether prompt and generation fit the context."""
        return self.turns.fits(request, max_new_tokens)

    def generate(self, requests: Requests, sampling: Sampling) -> Iterator[Completion]:
        """Completions in the order in which they finish; `UserError` for one that cannot fit."""
        vllm = self._start()
        for group in self._apart(requests, vllm.on_cpu):
            yield from vllm.each(
                self._generate(request, sampling) if request else None for request in group
            )

    def _apart(self, requests: Requests, on_cpu: bool) -> Iterator[Requests]:
        """Requests that may run together.

        On the CPU, vLLM 0.32 lets a row without adapter have that of a row beside it.
        """
        if not (on_cpu and self.config.max_adapters):
            yield requests
            return
        source = Source(requests)
        while found := source.known():
            yield [request for request in found if request.adapter is None]
            yield [request for request in found if request.adapter is not None]

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[Score]:
        """Log probabilities of the completion tokens, in nats."""
        if self.config.scoring == "transformers":
            return self._local.score(requests)
        return self._start().each(self._score(self.turns.text(one, room=1)) for one in requests)

    def compare(self, other: Path, requests: Iterable[ScoreRequest]) -> Iterator[Divergence]:
        """KL(other || this model): always by the transformers engine, over whole distributions."""
        return self._local.compare(other, requests)

    def close(self) -> None:
        """End vLLM's processes; the next request starts them again."""
        if self._running is not None:
            self._running.close()
            self._running = None
            self.__dict__.pop("_local", None)

    @cached_property
    def _local(self) -> Engine:
        self.close()
        return load_local(self.config, self._model)

    def _start(self) -> "_Running":
        if self._running is None:
            self.__dict__.pop("_local", None)
            self._running = _Running(self.config, self._model, self.context_length)
        return self._running

    async def _generate(self, request: Request, sampling: Sampling) -> Completion:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        prompt = self.turns.prompt(request, sampling.max_new_tokens)
        stops, close = set(self.turns.stops), self.turns.chat.close_id
        as_text = self.turns.wants_close(request) and close is None
        if self.turns.wants_close(request) and close is not None:
            stops.add(close)
        params = SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_new_tokens,
            seed=request.seed,
            # The end tokens are ours to say, as for the other engines.
            ignore_eos=True,
            stop_token_ids=sorted(stops),
            # A closing tag of several tokens has to be looked for in the text.
            stop=[self.turns.chat.thinking.close_tag] if as_text else None,
            detokenize=as_text,
            skip_special_tokens=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        answer = await self._start().ask(prompt, params, self._lora(request))
        self._cached_tokens += answer.num_cached_tokens or 0
        output = answer.outputs[0]
        finish = _FINISHES.get(str(output.finish_reason))
        if finish is None:
            raise RuntimeError(f"vLLM ended request {request.key} with {output.finish_reason}")
        found = self.turns.completion(request, list(output.token_ids), finish)
        return replace(found, prompt_tokens=len(prompt))

    async def _score(self, text: Text) -> Score:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        params = SamplingParams(
            max_tokens=1,
            prompt_logprobs=0,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        output = await self._start().ask(text.ids, params, None)
        start, ids, split = len(text.prompt), text.ids, len(text.trace)
        found = [
            float(output.prompt_logprobs[place][ids[place]].logprob)
            for place in range(start, len(ids))
        ]
        return Score(text.key, tuple(found[:split]), tuple(found[split:]))

    def _lora(self, request: Request) -> Any:
        """The adapter of a request as vLLM names it."""
        if request.adapter is None:
            return None
        from vllm.lora.request import LoRARequest

        if self.config.max_adapters == 0:
            raise UserError(
                f"request {request.key} names an adapter and engine.max_adapters is 0; set it to "
                "the number of adapters that one batch may mix"
            )
        if request.adapter not in self._adapters:
            check_adapter(request.adapter)
            self._adapters[request.adapter] = len(self._adapters) + 1
        number = self._adapters[request.adapter]
        return LoRARequest(f"adapter{number}", number, str(request.adapter.resolve()))


class _Running:
    """vLLM with its processes, and the thread in which it is spoken to."""

    def __init__(self, config: VllmConfig, model: Path, context: int) -> None:
        _environment(config)
        self._most = AHEAD * config.max_running * config.data_parallel
        self._names = count()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        before = set(multiprocessing.active_children())
        try:
            self._vllm, self.on_cpu = self._call(_load(config, model, context)).result()
        except UserError:
            self._end_loop()
            raise
        except Exception as error:  # of whatever kind: vLLM's checks, its processes, the driver
            self._end_loop()
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise UserError(
                f"vLLM does not start with {model} ({reason}); what it printed above says more"
            ) from None
        self._processes = set(multiprocessing.active_children()) - before
        atexit.register(self.close)

    def close(self) -> None:
        atexit.unregister(self.close)
        if self._loop.is_running():
            self._call(self._shut_down()).result()
            self._end_loop()
            self._vllm = None  # nothing holds it now: its finaliser fails in a process that ends
            for process in self._processes:
                process.join(END_SECONDS)

    async def ask(self, prompt: list[int], params: Any, lora: Any) -> Any:
        """vLLM's last word on one prompt."""
        outputs: AsyncIterator[Any] = self._vllm.generate(
            {"prompt_token_ids": prompt}, params, str(next(self._names)), lora_request=lora
        )
        # FINAL_ONLY: there is one.
        return [output async for output in outputs][-1]

    def each(self, jobs: Iterable[Coroutine[Any, Any, ResultT] | None]) -> Iterator[ResultT]:
        """Results as they come, with enough jobs under way that vLLM never waits for one."""
        from vllm.v1.engine.exceptions import EngineDeadError

        source, done = Source(jobs), SimpleQueue[Future[ResultT]]()
        running: set[Future[ResultT]] = set()
        try:
            while source.more or running:
                while source.more and len(running) < self._most:
                    job = source.next(len(running))
                    if job is None:
                        break
                    future = self._call(job)
                    running.add(future)
                    future.add_done_callback(done.put)
                if running:
                    found = done.get()
                    running.remove(found)
                    yield found.result()
        except EngineDeadError as error:
            raise UserError(
                f"vLLM has ended ({error}); what it printed above says why; what came is kept, so "
                "mend that and run the same command again to go on"
            ) from None
        finally:
            for future in running:
                future.cancel()

    def _call(self, job: Coroutine[Any, Any, ResultT]) -> "Future[ResultT]":
        return asyncio.run_coroutine_threadsafe(job, self._loop)

    async def _shut_down(self) -> None:
        self._vllm.shutdown()

    def _end_loop(self) -> None:
        self._call(_end_tasks()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _end_tasks() -> None:
    """End what else runs in this loop: vLLM's own tasks hold it."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _environment(config: VllmConfig) -> None:
    """What vLLM and its processes read from the environment; what is set already stays."""
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", str(config.cpu_cache_gib))
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    if SOCKETS not in os.environ:
        os.environ[SOCKETS] = tempfile.mkdtemp(prefix="dgr-")
        atexit.register(shutil.rmtree, os.environ[SOCKETS], ignore_errors=True)
    if config.batch_invariant:
        os.environ["VLLM_BATCH_INVARIANT"] = "1"


async def _load(config: VllmConfig, model: Path, context: int) -> tuple[Any, bool]:
    """vLLM, and whether it runs on the CPU."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.platforms import current_platform
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.async_llm import AsyncLLM

    cpu = current_platform.is_cpu()
    if cpu and config.batch_invariant:
        raise UserError("engine.batch_invariant needs a GPU; set it to false")
    # It gets no name: an import that fails within vLLM keeps this frame, with what its names hold.
    return AsyncLLM.from_engine_args(
        AsyncEngineArgs(
            model=str(model),
            tokenizer=str(model),
            trust_remote_code=False,
            load_format="safetensors",
            dtype=_dtype(config, cpu),
            max_model_len=context,
            max_num_seqs=config.max_running,
            tensor_parallel_size=config.tensor_parallel,
            data_parallel_size=config.data_parallel,
            gpu_memory_utilization=config.gpu_memory,
            enable_prefix_caching=config.prefix_caching,
            # On the CPU, vLLM 0.32 dies of a prompt in pieces that has a seed.
            enable_chunked_prefill=False if cpu else None,
            enforce_eager=config.eager,
            enable_lora=config.max_adapters > 0,
            max_loras=max(1, config.max_adapters),
            max_lora_rank=config.max_lora_rank,
            # Our sampling parameters are all there is; the model's folder adds none.
            generation_config="vllm",
            disable_log_stats=True,
        ),
        usage_context=UsageContext.LLM_CLASS,  # by which vLLM chooses how many tokens a step takes
    ), cpu


def _dtype(config: VllmConfig, cpu: bool) -> str:
    """As the transformers engine chooses it."""
    if config.dtype != "auto":
        return config.dtype
    return "float32" if cpu else "bfloat16"
