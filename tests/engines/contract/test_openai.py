"""The contract over HTTP, and over a server that fails."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import pytest

from dgr.engines import OpenAIConfig, load_engine
from dgr.engines.base import Engine, Request, Sampling
from tests.engines.api_server import RUBBISH, Served, api_server
from tests.engines.contract.contract import GREEDY, Contract, Make, questions, reference
from tests.engines.models import NANO

__all__ = ["reference"]

WEATHERS = ["500", "drop", "half", "429", *RUBBISH]


class Http(Contract):
    tolerance = 1e-4
    settings: ClassVar[dict[str, Any]] = {"scoring": "engine", "max_concurrency": 4}

    def weather(self, count: int) -> str:
        return "fine"

    @pytest.fixture(scope="class")
    def make(self, nano_adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
        made: dict[Path, Engine] = {}
        with ExitStack() as stack:

            def load(model: Path, thinking: Any = "auto") -> Engine:
                if model in made:
                    return made[model]
                served = self.served(model, thinking)
                served.adapters["tuned"] = nano_adapter
                length = served.engine.context_length
                server = stack.enter_context(
                    api_server(served.answer, {"base": length, "tuned": length})
                )
                server.weather = self.weather
                config = OpenAIConfig(
                    kind="openai",
                    url=server.url,
                    served={str(model): "base", str(nano_adapter): "tuned"},
                    thinking=thinking,
                    **self.settings,
                )
                made[model] = load_engine(config, model)
                return made[model]

            yield load

    def served(self, model: Path, thinking: Any) -> Served:
        return Served(model, thinking)


class TestWithIds(Http):
    pass


class TestOnAServerThatFails(Http):
    """Every second answer is an error, a cut connection or rubbish, and none names its tokens."""

    def served(self, model: Path, thinking: Any) -> Served:
        served = Served(model, thinking)
        served.gives_ids = False
        return served

    @pytest.fixture(scope="class", autouse=True)
    def _no_pauses(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("dgr.engines.http.pause", lambda attempt, asked: 0.001)
            yield

    def weather(self, count: int) -> str:
        return WEATHERS[count // 2 % len(WEATHERS)] if count % 2 else "fine"


@pytest.mark.parametrize("parts_trace", [True, False])
def test_chat_answers_are_read_with_or_without_a_reasoning_field(
    parts_trace: bool, reference: Make
) -> None:
    served = Served(NANO)
    served.parts_trace = parts_trace
    requests = [Request(f"r{i}", question) for i, question in enumerate(questions(2))]
    requests += [Request("trace", questions(1)[0], until="trace")]
    with api_server(served.answer, {"base": None}) as server:
        config = OpenAIConfig(kind="openai", url=server.url, served={str(NANO): "base"}, api="chat")
        engine = load_engine(config, NANO)
        found = {one.key: one for one in engine.generate(requests, GREEDY)}
        [cut] = engine.generate([requests[0]], Sampling(temperature=0, max_new_tokens=4))
    expected = {one.key: one for one in reference(NANO).generate(requests, GREEDY)}
    for key in ("r0", "r1"):
        assert found[key] == expected[key]
    assert (found["trace"].trace, found["trace"].answer) == (expected["trace"].trace, "")
    assert found["trace"].closed
    assert (cut.closed, cut.answer, cut.tokens) == (False, "", 4)
