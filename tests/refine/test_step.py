"""Refinement with a scripted target: what is asked, kept, counted, and found again."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dgr.engines import TransformersConfig
from dgr.engines.base import Completion, Request, Requests, Sampling
from dgr.engines.source import Source
from dgr.errors import UserError
from dgr.files import read_json, read_records
from dgr.records import Component, Finish, RefinedSample, Sample
from dgr.refine import RefineConfig, refine
from dgr.refine import step as refine_step
from dgr.settings import Settings
from dgr.stats import Estimate
from dgr.steps import StepFolder, verify
from dgr.templates import REFINE_ANSWER
from tests.fakes import ScriptedEngine, install

SAMPLES = [
    Sample(
        id=f"row/{number}",
        question=f"How do I break lock {number}?",
        trace=f"This is about lock {number}. I should not help with it.",
        answer="I'm sorry, but I can't help with that.",
        harmful=True,
    )
    for number in range(4)
]
TRACE = "Locks keep people safe, so I will not help with breaking one."
ANSWER = "No, I will not help with this."


def rewriter(request: Request) -> tuple[str, str]:
    return TRACE, ANSWER


def ingested(folder: Path, samples: Iterable[Sample]) -> Path:
    """A folder as `ingest` leaves it."""
    with StepFolder(folder, "ingest", Settings(), inputs={}, seed=0) as step:
        step.finish({}, {"records.jsonl": samples})
    return folder


class Setting:
    """Data, a model folder, and refinements of them by scripted engines."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch
        self.model = folder / "model"
        self.model.mkdir()
        (self.model / "config.json").write_text("{}")

    def run(
        self,
        engine: ScriptedEngine,
        samples: Iterable[Sample] = SAMPLES,
        out: str = "out",
        seed: int = 0,
        **config: Any,
    ) -> list[RefinedSample]:
        install(self.monkeypatch, refine_step, engine)
        refine(
            RefineConfig.model_validate({"max_new_tokens": 40} | config),
            engine=TransformersConfig(),
            model=self.model,
            data=ingested(self.folder / "data", samples),
            out=self.folder / out,
            seed=seed,
        )
        return list(read_records(self.folder / out / "records.jsonl", RefinedSample))

    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = read_json(self.folder / "out" / "summary.json")
        return found


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    return Setting(tmp_path, monkeypatch)


def asked(engine: ScriptedEngine, part: Component) -> list[Request]:
    return [request for request in engine.requests if f"/{part.value}/" in request.key]


def is_trace(request: Request) -> bool:
    return request.until == "trace"


def number_of(request: Request) -> int:
    """The number of a candidate among those of its component."""
    return int(request.key.rpartition("/")[2])


def test_both_components_are_rewritten_in_their_places(setting: Setting) -> None:
    engine = ScriptedEngine(rewriter)
    rows = setting.run(engine)
    assert [row.sample for row in rows] == SAMPLES
    for row in rows:
        assert (row.trace.original, row.trace.text) == (row.sample.trace, TRACE)
        assert (row.answer.original, row.answer.text) == (row.sample.answer, ANSWER)
        assert (row.trace.reasons, row.trace.candidates, row.trace.nll) == ((), 1, None)
    for request in asked(engine, Component.TRACE):
        assert (request.trace, request.until) == (None, "trace")
    for request in asked(engine, Component.ANSWER):
        assert (request.trace, request.until) == (TRACE, "end")
        assert TRACE in request.question
        assert SAMPLES[0].answer in request.question
    verify(setting.folder / "out")


def test_the_templates_of_the_method_are_filled(setting: Setting) -> None:
    engine = ScriptedEngine(rewriter)
    setting.run(engine, SAMPLES[:1])
    sample = SAMPLES[0]
    assert [request.question for request in engine.requests] == [
        f"Question: {sample.question}\n\nGiven reasoning: {sample.trace}\n\n"
        "Express this reasoning in your own words.",
        REFINE_ANSWER.replace("{question}", sample.question)
        .replace("{trace}", TRACE)
        .replace("{answer}", sample.answer),
    ]


def test_braces_and_places_in_the_data_stay_text(setting: Setting) -> None:
    """Filled in one pass: a place inside a text is not filled again."""
    sample = Sample(
        id="s",
        question="What is {answer} or {0} or {{question}}?",
        trace="{trace} and {answer} are places.",
        answer="{question} % \\1 {",
        harmful=False,
    )
    engine = ScriptedEngine(lambda request: ("Some {trace} of thought.", "Places {answer} it is."))
    (row,) = setting.run(
        engine,
        [sample],
        trace_template="{question}|{trace}",
        answer_template="{question}|{trace}|{answer}|{other}",
    )
    first, second = (request.question for request in engine.requests)
    assert first == f"{sample.question}|{sample.trace}"
    assert second == f"{sample.question}|Some {{trace}} of thought.|{sample.answer}|{{other}}"
    assert row.trace.text == "Some {trace} of thought."


def test_a_failed_trace_falls_back_and_the_answer_builds_on_the_original(setting: Setting) -> None:
    def script(request: Request) -> tuple[str, str]:
        bad = "lock 1?" in request.question
        return (f"I rewrite: {TRACE}" if bad else TRACE), ANSWER

    engine = ScriptedEngine(script)
    rows = setting.run(engine)
    assert (rows[1].trace.text, rows[1].trace.reasons) == (None, ("meta-thinking",))
    assert rows[1].answer.text == ANSWER
    (answer,) = [r for r in asked(engine, Component.ANSWER) if "lock 1?" in r.question]
    assert answer.trace == SAMPLES[1].trace
    summary = setting.summary()
    assert summary["components"]["trace"]["fallbacks"] == {"meta-thinking": 1}
    rates = {
        name: Estimate.model_validate(figure)
        for name, figure in (
            ("trace", summary["components"]["trace"]["fallback_rate"]),
            ("answer", summary["components"]["answer"]["fallback_rate"]),
            ("row", summary["fallback_rate"]),
            ("both", summary["fully_refined"]),
        )
    }
    assert {name: (rate.value, rate.n) for name, rate in rates.items()} == {
        "trace": (0.25, 4),
        "answer": (0.0, 4),
        "row": (0.25, 4),
        "both": (0.75, 4),
    }
    assert all(rate.known and rate.low < rate.high for rate in rates.values())


@pytest.mark.parametrize("part", Component)
def test_what_hits_the_token_limit_is_overthinking(setting: Setting, part: Component) -> None:
    def script(request: Request) -> tuple[str, str]:
        long = " ".join(str(number) for number in range(100))
        return (TRACE, long) if part is Component.ANSWER else (long, ANSWER)

    (row,) = setting.run(ScriptedEngine(script), SAMPLES[:1])
    failed, passed = (row.trace, row.answer) if part is Component.TRACE else (row.answer, row.trace)
    assert (failed.text, failed.reasons, failed.tokens) == (None, ("overthinking",), 40)
    assert passed.text is not None


def test_a_trace_that_stops_without_its_closing_tag_is_not_complete() -> None:
    for closed, complete in ((True, True), (False, False)):
        completion = Completion("k", "thought", "", closed, Finish.STOP, 3)
        assert refine_step._attempt(completion, Component.TRACE).complete is complete


def test_all_candidates_of_an_attempt_go_in_one_batch_and_the_first_good_one_wins(
    setting: Setting,
) -> None:
    def script(request: Request) -> tuple[str, str]:
        number = number_of(request)
        return (f"{TRACE} {number}" if number else "Rephrase! " + TRACE), ANSWER

    engine = ScriptedEngine(script)
    rows = setting.run(engine, candidates=3)
    assert engine.batches == [12, 12]
    for row in rows:
        assert row.trace.text == f"{TRACE} 1"
        assert (row.trace.reasons, row.trace.candidates) == (("meta-thinking",), 3)
        assert row.trace.tokens == 3 * (len(TRACE.split()) + 2)


def test_no_row_waits_for_another(setting: Setting) -> None:
    """An answer is asked for when its own trace has come, whatever the other traces do."""

    class OneByOne(ScriptedEngine):
        def generate(self, requests: Requests, sampling: Sampling) -> Iterator[Completion]:
            source, slowest = Source(requests), list[Request]()
            while (request := source.next(len(slowest))) or slowest:
                if request and "row/0/trace" in request.key:
                    slowest.append(request)
                    continue
                self.requests.append(request or slowest.pop())
                yield self._complete(self.requests[-1], sampling.max_new_tokens)

    engine = OneByOne(rewriter)
    setting.run(engine)
    keys = [request.key for request in engine.requests]
    assert keys[-2:] == ["row/0/trace/0", "row/0/answer/0"]
    assert len(keys) == 8


def test_only_what_failed_is_tried_again_and_no_more_than_allowed(setting: Setting) -> None:
    def script(request: Request) -> tuple[str, str]:
        if not is_trace(request) or "lock 0?" in request.question:
            return TRACE, ANSWER
        good = "lock 1?" in request.question and number_of(request) == 2
        return (TRACE if good else "…"), ANSWER

    engine = ScriptedEngine(script)
    rows = setting.run(engine, resample=3)
    tried = [[number_of(r) for r in engine.requests if f"row/{i}/trace" in r.key] for i in range(4)]
    assert tried == [[0], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3]]
    assert [row.trace.candidates for row in rows] == [1, 3, 4, 4]
    assert [row.trace.text for row in rows] == [TRACE, TRACE, None, None]
    assert rows[1].trace.reasons == ("empty", "empty")
    trace = setting.summary()["components"]["trace"]
    assert trace["failed_candidates"] == {"empty": 10}
    assert trace["fallbacks"] == {"empty": 2}
    assert trace["candidates"] == 12


def test_the_likeliest_candidate_on_the_bare_question(setting: Setting) -> None:
    """Words are scored by their length: the mean is least for short words, not for few."""
    words = ["unbelievably unhelpful", "so no", "no it is not ok to do so", "no it is not ok"]

    def script(request: Request) -> tuple[str, str]:
        text = f"I will not help: {words[number_of(request)]}"
        return text, text

    engine = ScriptedEngine(script, log_probability=lambda word: -float(len(word)))
    rows = setting.run(engine, candidates=4, selection="lowest_nll")
    chosen = "I will not help: no it is not ok to do so"
    lengths = [len(word) for word in chosen.split()]
    for row in rows:
        for part in (row.trace, row.answer):
            assert part.text == chosen
            assert part.nll == pytest.approx((sum(lengths) + 0.1) / (len(lengths) + 1))
    traces, answers = engine.scored
    assert {score.question for score in traces} == {sample.question for sample in SAMPLES}
    assert {score.trace for score in answers} == {chosen}
    assert len(traces) == len(answers) == 16


def test_only_good_candidates_are_scored(setting: Setting) -> None:
    def script(request: Request) -> tuple[str, str]:
        good = number_of(request) == 1
        return (TRACE if good else "x"), (ANSWER if good else "x")

    engine = ScriptedEngine(script)
    setting.run(engine, candidates=2, selection="lowest_nll")
    assert [score.key.rpartition("/")[2] for batch in engine.scored for score in batch] == ["1"] * 8


def test_a_component_that_does_not_fit_is_never_asked_for(setting: Setting) -> None:
    long = SAMPLES[0].model_copy(update={"id": "long", "trace": "word " * 300})
    engine = ScriptedEngine(rewriter, context_length=200)
    rows = setting.run(engine, [long, *SAMPLES], resample=2, candidates=2)
    for part in (rows[0].trace, rows[0].answer):  # the answer's prompt holds the original trace
        assert (part.text, part.reasons, part.candidates) == (None, ("too-long",), 0)
    assert all(row.trace.text == TRACE for row in rows[1:])
    assert not any(request.key.startswith("long/") for request in engine.requests)
    assert setting.summary()["components"]["trace"]["failed_candidates"] == {"too-long": 1}


def test_a_limit_that_leaves_no_room_for_any_prompt_is_an_error(setting: Setting) -> None:
    with pytest.raises(
        UserError, match=r"refine\.max_new_tokens 40 leaves no room .* of 40 tokens"
    ):
        setting.run(ScriptedEngine(rewriter, context_length=40))
    assert not (setting.folder / "out" / "manifest.json").exists()


def test_an_empty_trace_stays_empty_and_is_no_fallback(setting: Setting) -> None:
    bare = SAMPLES[0].model_copy(update={"trace": ""})
    engine = ScriptedEngine(rewriter)
    rows = setting.run(engine, [bare, SAMPLES[1]])
    assert (rows[0].trace.text, rows[0].trace.candidates, rows[0].trace.reasons) == ("", 0, ())
    assert {request.trace for request in asked(engine, Component.ANSWER)} == {TRACE, ""}
    summary = setting.summary()
    assert summary["components"]["trace"]["left_empty"] == 1
    assert summary["components"]["trace"]["fallback_rate"]["n"] == 1
    assert summary["fallback_rate"]["value"] == 0.0
    assert summary["fully_refined"]["value"] == 0.5


def test_lengths_are_of_the_same_components_before_and_after(setting: Setting) -> None:
    def script(request: Request) -> tuple[str, str]:
        return TRACE, "" if "lock 3?" in request.question else ANSWER

    setting.run(ScriptedEngine(script))
    characters = setting.summary()["components"]["answer"]["characters"]
    assert characters["original"]["value"] == len(SAMPLES[0].answer)
    assert characters["refined"]["value"] == len(ANSWER)
    assert characters["original"]["n"] == characters["refined"]["n"] == 3


def test_seeds_are_the_requests_own(setting: Setting) -> None:
    """Neither the other rows nor their order changes a request."""
    whole, part, other = (ScriptedEngine(rewriter) for _ in range(3))
    setting.run(whole, candidates=2)
    setting.run(part, [SAMPLES[2], SAMPLES[0]], out="part", candidates=2)
    setting.run(other, out="other", candidates=2, seed=1)
    seeds = [{r.key: r.seed for r in engine.requests} for engine in (whole, part, other)]
    assert len(set(seeds[0].values())) == 16
    assert seeds[1] == {key: seed for key, seed in seeds[0].items() if key in seeds[1]}
    assert len(seeds[1]) == 8
    assert not set(seeds[0].values()) & set(seeds[2].values())


def wavering(request: Request) -> tuple[str, str]:
    """Fails at two candidates of three, as its seed has it."""
    trace, answer = f"{TRACE} {request.seed}", f"{ANSWER} {request.seed}"
    return ("rephrase", "rephrase") if request.seed % 3 else (trace, answer)


@pytest.mark.parametrize("died_after", [0, 3, 8, 9, 12, 15])
def test_a_killed_refinement_goes_on_and_ends_with_the_same_bytes(
    setting: Setting, died_after: int
) -> None:
    config = {"candidates": 2, "resample": 2, "selection": "lowest_nll"}
    straight, dying, second = (ScriptedEngine(wavering) for _ in range(3))
    setting.run(straight, out="straight", **config)
    assert len(straight.requests) > 16  # some were tried again
    dying.die_after = died_after
    with pytest.raises(KeyboardInterrupt):
        setting.run(dying, **config)
    with pytest.raises(UserError, match=r"manifest\.json"):
        verify(setting.folder / "out")
    setting.run(second, **config)
    for name in ("records.jsonl", "summary.json"):
        found = [(setting.folder / out / name).read_bytes() for out in ("out", "straight")]
        assert found[0] == found[1]
    done = [request.key for request in dying.requests + second.requests]
    assert sorted(done) == sorted(request.key for request in straight.requests)


def test_a_finished_refinement_is_not_done_again(setting: Setting) -> None:
    setting.run(ScriptedEngine(rewriter))
    again = ScriptedEngine(rewriter)
    setting.run(again)
    assert again.requests == []


def test_data_that_was_tampered_with_is_refused(setting: Setting) -> None:
    data = ingested(setting.folder / "data", SAMPLES)
    with (data / "records.jsonl").open("a") as file:
        file.write("\n")
    with pytest.raises(UserError, match="was changed after it was written"):
        refine(
            RefineConfig(),
            engine=TransformersConfig(),
            model=setting.model,
            data=data,
            out=setting.folder / "out",
            seed=0,
        )


def test_a_real_engine_and_a_random_model(tmp_path: Path, tiny_model: Path) -> None:
    """It rewrites nothing well, and every row says so; twice, bit for bit."""
    samples = [*SAMPLES[:2], SAMPLES[2].model_copy(update={"trace": "</think> {trace} <|eos|>"})]
    data = ingested(tmp_path / "data", samples)
    config = RefineConfig(max_new_tokens=8, candidates=2, selection="lowest_nll")
    for name in ("one", "two"):
        refine(
            config,
            engine=TransformersConfig(),
            model=tiny_model,
            data=data,
            out=tmp_path / name,
            seed=3,
        )
    one, two = (tmp_path / name / "records.jsonl" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    rows = list(read_records(one, RefinedSample))
    assert len(rows) == 3
    for row in rows:
        assert (row.trace.candidates, len(row.trace.reasons)) == (2, 2)
        assert 2 <= row.trace.tokens <= 16
