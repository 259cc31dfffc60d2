import pytest

from dgr.arms.rows import cut, dgr, dgr_drop, harmless_mix, length_matched, self_generated, vanilla
from dgr.errors import UserError
from dgr.records import (
    Finish,
    Origin,
    OwnPurpose,
    OwnSample,
    RefinedSample,
    Refinement,
    Sample,
)

LONG = "First one. Second one is longer! A third? The end."


def sample(name: str = "s", harmful: bool | None = True, trace: str = LONG) -> Sample:
    return Sample(id=name, question=f"Q {name}", trace=trace, answer="No. Never.", harmful=harmful)


def refined(trace: str | None, answer: str | None, base: Sample | None = None) -> RefinedSample:
    base = base or sample()
    return RefinedSample(
        sample=base,
        trace=Refinement(original=base.trace, text=trace, candidates=1, tokens=1),
        answer=Refinement(original=base.answer, text=answer, candidates=1, tokens=1),
    )


def own(name: str, purpose: OwnPurpose, kept: bool = True) -> OwnSample:
    return OwnSample(
        id=name,
        purpose=purpose,
        question=f"Q {name}",
        trace=f"own {purpose.value} trace",
        answer="own answer",
        finish=Finish.STOP,
        tokens=3,
        kept=kept,
    )


def test_vanilla_is_the_external_set_as_it_is() -> None:
    rows = vanilla([sample("a"), sample("b", harmful=False)])
    assert [(row.id, row.trace, row.answer) for row in rows] == [
        ("a", LONG, "No. Never."),
        ("b", LONG, "No. Never."),
    ]
    assert {row.origin for row in rows} == {Origin.EXTERNAL}
    assert [row.harmful for row in rows] == [True, False]


@pytest.mark.parametrize(
    ("trace", "answer", "expected", "origin"),
    [
        ("t", "a", ("t", "a"), Origin.REFINED),
        (None, "a", (LONG, "a"), Origin.MIXED),
        ("t", None, ("t", "No. Never."), Origin.MIXED),
        (None, None, (LONG, "No. Never."), Origin.EXTERNAL),
    ],
)
def test_dgr_falls_back_part_by_part_and_dgr_drop_drops_the_row(
    trace: str | None, answer: str | None, expected: tuple[str, str], origin: Origin
) -> None:
    row = refined(trace, answer)
    (found,) = dgr([row])
    assert ((found.trace, found.answer), found.origin) == (expected, origin)
    assert dgr_drop([row]) == ([found] if origin is Origin.REFINED else [])


def test_a_part_without_text_is_no_fallback() -> None:
    base = sample(trace="")
    (row,) = dgr_drop([refined("", "a", base)])
    assert (row.trace, row.answer, row.origin) == ("", "a", Origin.REFINED)
    (row,) = dgr([refined("", None, base)])
    assert row.origin is Origin.EXTERNAL


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (1000, LONG),
        (len(LONG), LONG),
        (len(LONG) - 1, "First one. Second one is longer! A third?"),
        (20, "First one."),
        (3, "First one."),
        (0, "First one."),
    ],
)
def test_texts_are_cut_at_sentence_ends(length: int, expected: str) -> None:
    assert cut(LONG, length) == expected
    assert length < len("First one.") or len(cut(LONG, length)) <= length


def test_line_ends_are_sentence_ends_and_nothing_is_nothing() -> None:
    assert cut("one\ntwo\n\nthree", 9) == "one\ntwo"
    assert cut("", 5) == ""


def test_length_matched_is_original_text_in_the_refined_length() -> None:
    rows = length_matched([refined("x" * 33, "No!"), refined(None, "y" * 500)])
    assert rows[0].trace == "First one. Second one is longer!"
    assert rows[0].answer == "No."
    assert (rows[1].trace, rows[1].answer) == (LONG, "No. Never.")
    assert {row.origin for row in rows} == {Origin.EXTERNAL}


def test_self_generated_takes_kept_refusals_and_harmless_answers() -> None:
    samples = [sample("bad"), sample("unsafe"), sample("good", harmful=False)]
    samples += [sample("unknown", harmful=None)]
    rows = self_generated(
        samples,
        [
            *(own(one.id, OwnPurpose.REFERENCE) for one in samples),
            own("bad", OwnPurpose.REFUSAL),
            own("unsafe", OwnPurpose.REFUSAL, kept=False),
            own("unknown", OwnPurpose.REFUSAL, kept=False),
            own("0/x", OwnPurpose.MIX),
        ],
    )
    assert [(row.id, row.trace) for row in rows] == [
        ("good", "own reference trace"),
        ("bad", "own refusal trace"),
    ]
    assert {(row.role, row.origin) for row in rows} == {("safety", Origin.OWN)}


def test_self_generated_never_trains_on_compliance_for_want_of_refusals() -> None:
    references = [own("bad", OwnPurpose.REFERENCE)]
    for harmful in (True, None):
        with pytest.raises(UserError, match=r"set own\.refusal: true"):
            self_generated([sample("bad", harmful=harmful)], references)
    assert len(self_generated([sample("bad", harmful=False)], references)) == 1
    asked = [*references, own("other", OwnPurpose.REFUSAL)]
    samples = [sample("bad", harmful=None), sample("other")]
    assert [row.id for row in self_generated(samples, asked)] == ["other"]


def test_the_mix_is_a_seeded_choice_of_kept_rows() -> None:
    rows = [own(f"0/{n}", OwnPurpose.MIX, kept=n % 2 == 0) for n in range(40)]
    rows += [own("s", OwnPurpose.REFERENCE)]
    first, again = harmless_mix(rows, 8, seed=1), harmless_mix(rows, 8, seed=1)
    assert first == again != harmless_mix(rows, 8, seed=2)
    assert len({row.id for row in first}) == 8
    assert all(int(row.id.removeprefix("mix/0/")) % 2 == 0 for row in first)
    assert {row.role for row in first} == {"mix"}
    assert harmless_mix(rows, 0, seed=1) == []
    with pytest.raises(UserError, match="asks for 21 rows and 20 are there"):
        harmless_mix(rows, 21, seed=1)
