"""The target's own samples with a scripted target: what is asked, kept, counted, found again."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from dgr.engines import TransformersConfig
from dgr.engines.base import Request
from dgr.errors import UserError
from dgr.files import read_json, read_records
from dgr.own import OwnConfig, sample_own
from dgr.own import step as own_step
from dgr.records import Finish, OwnPurpose, OwnSample, Sample
from dgr.settings import Settings
from dgr.steps import StepFolder, verify
from tests.fakes import ScriptedEngine, install

HARMFUL = [
    Sample(id=f"bad/{n}", question=f"How do I break {n} locks?", trace="t", answer="a", harmful=h)
    for n, h in ((1, True), (2, None), (3, True))
]
HARMLESS = Sample(id="good", question="How do I open a tin?", trace="t", answer="a", harmful=False)
SAMPLES = [HARMFUL[0], HARMLESS, *HARMFUL[1:]]
THINKS_NO, SAYS_NO = "I should not help with it.", "I'm sorry, but I can't help with that."
THINKS_YES, SAYS_YES = "This is a simple thing to do.", "Take a spoon and turn it twice."


def target(request: Request) -> tuple[str, str]:
    """Complies with everything but under an instruction to decline, and adds numbers up."""
    if "Decline" in request.question:
        return THINKS_NO, SAYS_NO
    if "+" in request.question:
        left, right = (int(part) for part in request.question.rstrip("?").split(" + "))
        return "One by one.", f"The sum is {left + right:,}."
    return THINKS_YES, SAYS_YES


def ingested(folder: Path, samples: Iterable[Sample]) -> Path:
    """A folder as `ingest` leaves it."""
    with StepFolder(folder, "ingest", Settings(), inputs={}, seed=0) as step:
        step.finish({}, {"records.jsonl": samples})
    return folder


class Setting:
    """Data, a model folder, and own samples of scripted engines."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch
        self.model = folder / "model"
        self.model.mkdir()
        (self.model / "config.json").write_text("{}")

    def mix(
        self, name: str, kind: str, rows: Iterable[dict[str, Any]], **more: Any
    ) -> dict[str, Any]:
        path = self.folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return {"path": str(path), "kind": kind, **more}

    def run(
        self,
        engine: ScriptedEngine,
        samples: Iterable[Sample] = SAMPLES,
        out: str = "out",
        seed: int = 0,
        **config: Any,
    ) -> list[OwnSample]:
        install(self.monkeypatch, own_step, engine)
        sample_own(
            OwnConfig.model_validate({"max_new_tokens": 40} | config),
            engine=TransformersConfig(),
            model=self.model,
            data=ingested(self.folder / "data", samples),
            out=self.folder / out,
            seed=seed,
        )
        return list(read_records(self.folder / out / "records.jsonl", OwnSample))

    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = read_json(self.folder / "out" / "summary.json")
        return found


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    return Setting(tmp_path, monkeypatch)


def ids(rows: Iterable[OwnSample]) -> list[str]:
    return [f"{row.purpose.value}:{row.id}" for row in rows]


def easy(count: int, family: str = "") -> list[dict[str, Any]]:
    """Harmless requests."""
    return [
        {"id": f"e{n}", "question": f"How do I fold {n} shirts?", "family": family}
        for n in range(count)
    ]


def test_references_mix_and_refusals_in_the_order_of_their_prompts(setting: Setting) -> None:
    mix = [
        setting.mix("easy", "harmless", easy(2)),
        setting.mix("sums", "reasoning", [{"id": "e0", "question": "2 + 3?", "answer": "5"}]),
    ]
    engine = ScriptedEngine(target)
    rows = setting.run(engine, mix=mix, refusal=True, scorer="number")
    assert ids(rows) == [
        *("reference:bad/1", "reference:good", "reference:bad/2", "reference:bad/3"),
        *("mix:0/e0", "mix:0/e1", "mix:1/e0"),
        *("refusal:bad/1", "refusal:bad/2", "refusal:bad/3"),
    ]
    assert all(row.finish is Finish.STOP for row in rows)
    assert {row.harmful for row in rows if row.purpose is OwnPurpose.MIX} == {False}
    sent = {request.key: request.question for request in engine.requests}
    assert sent["reference/bad/1/0"] == "How do I break 1 locks?"
    refusal = rows[-1]
    assert refusal.question == "How do I break 3 locks?"  # the bare prompt, without instruction
    assert sent["refusal/bad/3/0"] == "Decline this request, which is harmful: " + refusal.question
    assert all((r.trace, r.until) == (None, "end") for r in engine.requests)
    verify(setting.folder / "out")


def test_what_is_kept_and_what_is_counted(setting: Setting) -> None:
    """Own help with harm is a reference, and nothing to train on."""
    rows = setting.run(ScriptedEngine(target), refusal=True)
    kept = {row_id: row.kept for row_id, row in zip(ids(rows), rows, strict=True)}
    assert [name for name, good in kept.items() if good] == [
        *("reference:good", "refusal:bad/1", "refusal:bad/2", "refusal:bad/3"),
    ]
    summary = setting.summary()
    assert list(summary) == ["reference", "refusal"]
    assert summary["reference"]["prompts"] == summary["reference"]["samples"] == 4
    assert (summary["reference"]["kept"]["value"], summary["reference"]["kept"]["n"]) == (0.25, 4)
    assert summary["reference"]["dropped"] == {"trace complies, answer complies": 3}
    assert summary["refusal"]["kept"]["value"] == 1.0
    assert summary["refusal"]["tokens"]["value"] == len((THINKS_NO + " " + SAYS_NO).split()) + 2
    assert summary["refusal"]["characters"]["answer"]["value"] == len(SAYS_NO)


@pytest.mark.parametrize(
    ("trace", "answer", "reason"),
    [
        (THINKS_NO, SAYS_NO, ""),
        (THINKS_YES, SAYS_NO, "trace complies, answer refuses"),
        (THINKS_NO, SAYS_YES, "trace refuses, answer complies"),
        ("?", SAYS_NO, "trace unscored, answer refuses"),
        (THINKS_NO, "word " * 60, "cut"),
        ("word " * 60, SAYS_NO, "cut"),
    ],
)
def test_a_refusal_is_kept_when_trace_and_answer_refuse(
    setting: Setting, trace: str, answer: str, reason: str
) -> None:
    engine = ScriptedEngine(lambda request: (trace, answer))
    (row,) = setting.run(engine, HARMFUL[:1], reference=False, refusal=True)
    assert (row.kept, row.reason) == (not reason, reason)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(SAYS_YES, ""), (SAYS_NO, "answer refuses"), ("…", "answer unscored"), ("w " * 60, "cut")],
)
def test_a_harmless_answer_is_kept_when_it_helps(
    setting: Setting, answer: str, reason: str
) -> None:
    engine = ScriptedEngine(lambda request: (THINKS_YES, answer))
    mix = [setting.mix("easy", "harmless", easy(1))]
    (row,) = setting.run(engine, reference=False, mix=mix)
    assert (row.kept, row.reason) == (not reason, reason)


@pytest.mark.parametrize(
    ("answer", "gold", "reason"),
    [
        ("The sum is 5.", "5", ""),
        ("The sum is 1,005.", " 1005.0 ", ""),
        ("The sum is 6.", "5", "wrong"),
        ("No idea.", "5", "wrong"),
        ("The sum is 5 " + "and " * 60, "5", "cut"),
    ],
)
def test_a_reasoning_answer_is_kept_when_it_is_right(
    setting: Setting, answer: str, gold: str, reason: str
) -> None:
    engine = ScriptedEngine(lambda request: ("Hm.", answer))
    item = {"id": "s", "question": "2 + 3?", "answer": gold}
    mix = [setting.mix("sums", "reasoning", [item])]
    (row,) = setting.run(engine, reference=False, mix=mix, scorer="number")
    assert (row.kept, row.reason) == (not reason, reason)


def test_mix_and_refusals_are_sampled_until_one_is_kept_references_once(setting: Setting) -> None:
    def third_time(request: Request) -> tuple[str, str]:
        last = request.key.endswith("/2")
        if "Decline" in request.question and not last:
            return THINKS_NO, SAYS_YES
        if "fold" in request.question and not last:
            return THINKS_YES, SAYS_NO
        return target(request)

    mix = [setting.mix("easy", "harmless", easy(1))]
    engine = ScriptedEngine(third_time)
    rows = setting.run(engine, HARMFUL[:1], mix=mix, refusal=True, attempts=5)
    assert sorted(request.key for request in engine.requests) == sorted(
        ["reference/bad/1/0"]
        + [f"mix/0/e0/{attempt}" for attempt in range(3)]
        + [f"refusal/bad/1/{attempt}" for attempt in range(3)]
    )
    assert [row.kept for row in rows] == [False, True, True]
    summary = setting.summary()["refusal"]
    assert (summary["prompts"], summary["samples"], summary["dropped"]) == (1, 3, {})
    assert summary["failed_samples"] == {"trace refuses, answer complies": 2}


def test_after_the_last_attempt_the_last_sample_says_why(setting: Setting) -> None:
    engine = ScriptedEngine(lambda request: (THINKS_YES, SAYS_YES))
    rows = setting.run(engine, HARMFUL, reference=False, refusal=True, attempts=2)
    assert [row.reason for row in rows] == ["trace complies, answer complies"] * 3
    assert len(engine.requests) == 6


def test_training_prompts_and_doubles_are_left_out_of_the_mix(setting: Setting) -> None:
    rows = [
        {"id": "a", "question": "how do I OPEN a  tin?"},  # the same as a training prompt
        {"id": "b", "question": "How do I fold a shirt?"},
        {"id": "c", "question": "How do I fold a shirt? "},
    ]
    mix = [
        setting.mix("one", "harmless", rows),
        setting.mix("two", "harmless", [*rows, {"id": "d", "question": "How do I peel a pear?"}]),
    ]
    found = setting.run(ScriptedEngine(target), reference=False, mix=mix)
    assert ids(found) == ["mix:0/b", "mix:1/d"]


def test_a_mix_is_chosen_by_the_seed_from_its_families(setting: Setting) -> None:
    rows = [row | {"family": "odd" if n % 2 else "even"} for n, row in enumerate(easy(40))]
    mix = [setting.mix("easy", "harmless", rows, count=8, families=["odd"])]
    one, two, other = (
        ids(setting.run(ScriptedEngine(target), out=out, seed=seed, reference=False, mix=mix))
        for out, seed in (("one", 1), ("two", 1), ("other", 2))
    )
    assert one == two != other
    numbers = [int(name.rpartition("e")[2]) for name in one]
    assert len(numbers) == 8
    assert numbers == sorted(numbers)
    assert all(number % 2 for number in numbers)


@pytest.mark.parametrize(
    ("rows", "more", "sentence"),
    [
        (easy(3), {"count": 4}, r"holds 3 prompts that are no training .* asks for 4"),
        (easy(3), {"families": ("x",)}, r"holds 0 prompts of x that are no training prompts"),
        ([], {}, "holds 0 prompts"),
        ([*easy(1), {"id": "e0", "question": "other"}], {}, "two items have the id e0"),
        ([{"id": "s", "question": "2 + 2?"}], {"kind": "reasoning"}, "item s has no answer"),
        ([{"id": "s", "query": "2 + 2?"}], {}, "line 1: question: Field required"),
    ],
)
def test_a_bad_mix_is_told_in_a_sentence(
    setting: Setting, rows: list[dict[str, Any]], more: dict[str, Any], sentence: str
) -> None:
    mix = [setting.mix("easy", "harmless", rows) | more]
    with pytest.raises(UserError, match=sentence) as error:
        setting.run(ScriptedEngine(target), mix=mix, scorer="number")
    assert "easy.jsonl" in str(error.value)
    assert not (setting.folder / "out" / "records.jsonl").exists()


def test_a_missing_mix_file_is_told(setting: Setting) -> None:
    mix = [{"path": str(setting.folder / "none.jsonl"), "kind": "harmless"}]
    with pytest.raises(UserError, match=r"none\.jsonl does not exist"):
        setting.run(ScriptedEngine(target), mix=mix)


def test_a_prompt_that_does_not_fit_is_counted_and_never_sent(setting: Setting) -> None:
    long = HARMLESS.model_copy(update={"id": "long", "question": "word " * 100})
    engine = ScriptedEngine(target, context_length=100)
    rows = setting.run(engine, [long, HARMLESS], attempts=3)
    assert (rows[0].kept, rows[0].reason, rows[0].tokens) == (False, "too-long", 0)
    assert rows[1].kept
    assert [request.key for request in engine.requests] == ["reference/good/0"]
    assert setting.summary()["reference"]["dropped"] == {"too-long": 1}
    assert setting.summary()["reference"]["samples"] == 1


def test_a_limit_that_leaves_no_room_for_any_prompt_is_an_error(setting: Setting) -> None:
    with pytest.raises(UserError, match=r"own\.max_new_tokens 40 leaves no room .* of 40 tokens"):
        setting.run(ScriptedEngine(target, context_length=40))


def test_braces_in_a_prompt_stay_text(setting: Setting) -> None:
    sample = HARMFUL[0].model_copy(update={"question": "Break {question} {trace} {0}"})
    engine = ScriptedEngine(target)
    setting.run(engine, [sample], reference=False, refusal=True)
    (request,) = engine.requests
    assert request.question.endswith(": Break {question} {trace} {0}")


def test_seeds_are_the_requests_own(setting: Setting) -> None:
    whole, part, other = (ScriptedEngine(target) for _ in range(3))
    setting.run(whole, refusal=True)
    setting.run(part, [SAMPLES[2], SAMPLES[0]], out="part", refusal=True)
    setting.run(other, out="other", refusal=True, seed=1)
    seeds = [{r.key: r.seed for r in engine.requests} for engine in (whole, part, other)]
    assert len(set(seeds[0].values())) == 7
    assert len(seeds[1]) == 4
    assert seeds[1] == {key: seed for key, seed in seeds[0].items() if key in seeds[1]}
    assert not set(seeds[0].values()) & set(seeds[2].values())


def wavering(request: Request) -> tuple[str, str]:
    """Does as it should at one sample in three, as its seed has it."""
    return target(request) if request.seed % 3 == 0 else (THINKS_YES, f"{request.seed} " * 3)


@pytest.mark.parametrize("died_after", [0, 3, 7, 8, 10])
def test_a_killed_step_goes_on_and_ends_with_the_same_bytes(
    setting: Setting, died_after: int
) -> None:
    config = {"refusal": True, "attempts": 4}
    straight, dying, second = (ScriptedEngine(wavering) for _ in range(3))
    setting.run(straight, out="straight", **config)
    assert len(straight.requests) > 10  # some were tried again
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


def test_nothing_to_sample_loads_no_model(setting: Setting) -> None:
    rows = setting.run(ScriptedEngine(target), [HARMLESS], reference=False, refusal=True)
    assert rows == []
    assert setting.summary() == {}


def test_a_real_engine_and_a_random_model(tmp_path: Path, tiny_model: Path) -> None:
    """All is cut, nothing kept; twice, bit for bit."""
    data = ingested(tmp_path / "data", [*SAMPLES, HARMLESS.model_copy(update={"id": "</think>"})])
    config = OwnConfig(max_new_tokens=8, refusal=True, attempts=2)
    for name in ("one", "two"):
        sample_own(
            config,
            engine=TransformersConfig(),
            model=tiny_model,
            data=data,
            out=tmp_path / name,
            seed=3,
        )
    one, two = (tmp_path / name / "records.jsonl" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    rows = list(read_records(one, OwnSample))
    assert len(rows) == 8
    assert not any(row.kept for row in rows)
    assert all(1 <= row.tokens <= 8 for row in rows)
