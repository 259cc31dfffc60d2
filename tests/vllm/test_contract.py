"""The contract of engines, on a real vLLM: in this process, and behind `vllm serve`.

Runs in the environment that has vLLM: make test-vllm.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from dgr.engines import OpenAIConfig, VllmConfig, load_engine
from dgr.engines.base import Engine, Request, Sampling
from dgr.engines.vllm import SOCKETS
from dgr.errors import UserError
from tests.engines.conftest import chain_model, nano_adapter
from tests.engines.contract.contract import Contract, Make, questions, reference
from tests.engines.models import NANO
from tests.s3 import free_port
from tests.servers import healthy

pytest.importorskip("vllm")

START_SECONDS = 600

__all__ = ["chain_model", "nano_adapter", "reference"]


def vllm_engine(model: Path, **changes: Any) -> Any:
    small = {"dtype": "float32", "eager": True, "cpu_cache_gib": 1, "max_running": 16}
    return load_engine(VllmConfig(kind="vllm", **{**small, **changes}), model)


class TestVllm(Contract):
    # Matrix products of other shapes differ in the last bit.
    free_of_batch = False

    @pytest.fixture(scope="class")
    def make(self) -> Iterator[Make]:
        made: dict[Path, Any] = {}

        def load(model: Path, thinking: Any = "auto") -> Engine:
            if model not in made:
                made[model] = vllm_engine(model, thinking=thinking, max_adapters=1)
            engine: Engine = made[model]
            return engine

        yield load
        for engine in made.values():
            engine.close()
        assert not multiprocessing.active_children()

    def test_scores(self, make: Make, reference: Make) -> None:
        """By the transformers engine, for which vLLM makes room; the next test starts it anew."""
        super().test_scores(make, reference)
        engine: Any = make(NANO)
        assert engine._running is None

    def test_more_prompts_than_a_step_takes(self, make: Make) -> None:
        """With seeds: vLLM on the CPU dies of a prompt that it takes in two pieces."""
        long = " ".join(questions(20))
        requests = [Request(f"r{i}", f"{i} {long}", seed=i) for i in range(16)]
        found = self.run(make(NANO), requests, Sampling(max_new_tokens=2))
        assert sum(one.prompt_tokens for one in found.values()) > 4_096


def test_its_own_scores(reference: Make) -> None:
    engine = vllm_engine(NANO, scoring="engine")
    Contract().test_scores(lambda model: engine, reference)
    Contract().test_what_is_too_long_to_score_is_refused(lambda model: engine)
    with pytest.raises(UserError, match=r"request r names an adapter and engine.max_adapters is 0"):
        list(engine.generate([Request("r", "why?", adapter=NANO)], Sampling(max_new_tokens=2)))
    engine.close()


def test_a_process_leaves_no_file_behind() -> None:
    code = """if True:
        from tests.vllm.test_contract import NANO, Request, Sampling, vllm_engine

        engine = vllm_engine(NANO)
        for _ in range(2):
            [found] = engine.generate([Request("r", "why?")], Sampling(max_new_tokens=2))
            engine.close()
    """
    environment = {name: value for name, value in os.environ.items() if name != SOCKETS}
    with TemporaryDirectory() as place:  # of a short name, as sockets must have
        subprocess.run(
            [sys.executable, "-c", code], env=environment | {"TMPDIR": place}, check=True
        )
        assert os.listdir(place) == []


def test_a_vllm_that_dies_is_told_of() -> None:
    engine = vllm_engine(NANO)
    requests = (Request(f"r{i}", "why?", seed=i) for i in range(10_000))
    with pytest.raises(UserError, match=r"vLLM has ended .* run the same command again to go on"):
        for done, _ in enumerate(engine.generate(requests, Sampling(max_new_tokens=20))):
            if done == 5:
                for child in multiprocessing.active_children():
                    child.kill()
    engine.close()


@contextmanager
def vllm_serve(model: Path, adapter: Path, log: Path) -> Iterator[str]:
    """`vllm serve` of a model and an adapter; its URL."""
    port = free_port()
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--served-model-name", "base", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--dtype", "float32", "--enforce-eager", "--max-num-seqs", "16"]
    if model == NANO:
        command += ["--enable-lora", "--lora-modules", f"tuned={adapter}"]
    own = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, stdout=output, stderr=output, env=os.environ | own, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + START_SECONDS
        while not healthy(url):
            assert server.poll() is None and time.monotonic() < end, f"it did not start: see {log}"
            time.sleep(0.5)
        yield f"{url}/v1"
    finally:
        # While it starts, it takes no notice of SIGTERM; its processes end with their group.
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


class TestServe(Contract):
    free_of_batch = False

    @pytest.fixture(scope="class")
    def make(self, nano_adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
        made: dict[Path, Engine] = {}
        logs = tmp_path_factory.mktemp("vllm-serve")
        with ExitStack() as stack:

            def load(model: Path, thinking: Any = "auto") -> Engine:
                if model not in made:
                    log = logs / f"{len(made)}.log"
                    url = stack.enter_context(vllm_serve(model, nano_adapter, log))
                    config = OpenAIConfig(
                        kind="openai",
                        url=url,
                        served={str(model): "base", str(nano_adapter): "tuned"},
                        thinking=thinking,
                        # With adapters vLLM's own scores are not to be had.
                        scoring="transformers" if model == NANO else "engine",
                    )
                    made[model] = load_engine(config, model)
                return made[model]

            yield load

    def test_adapters_beside_the_model(
        self, make: Make, reference: Make, nano_adapter: Path
    ) -> None:
        """In calls apart: in one batch, vLLM on the CPU gives a row the adapter of another."""
        sampling = Sampling(temperature=0, max_new_tokens=24)
        said = []
        for adapter in (None, nano_adapter, None):
            asked = [
                Request(f"r{i}", question, adapter=adapter)
                for i, question in enumerate(questions(3))
            ]
            said.append(self.run(make(NANO), asked, sampling))
            assert said[-1] == self.run(reference(NANO), asked, sampling)
        assert said[0] == said[2] != said[1]

    def test_scores_of_the_server(self, make: Make, reference: Make, chain_model: Path) -> None:
        """The chain's model, which the server holds without adapters."""
        engine, expected = make(chain_model, "s1"), reference(chain_model, "s1")
        Contract().test_scores(lambda model: engine, lambda model: expected)
