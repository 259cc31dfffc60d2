"""The config of the arms."""

from typing import Literal, get_args

from pydantic import Field, field_validator

from dgr.records import Component
from dgr.settings import Settings

Arm = Literal["vanilla", "dgr", "dgr-drop", "vanilla-length-matched", "self-generated"]
ARMS: tuple[str, ...] = get_args(Arm)


class Rows(Settings):
    """Which rows an arm is made of, whatever the arm: the same prompts and the same mix for all."""

    harmless_mix: float = Field(default=0.0, ge=0, le=10, allow_inf_nan=False)
    """Rows of the harmless mix, as a share of the chosen rows of the data set; the same rows in
    every arm."""
    rows: int | None = Field(default=None, ge=1)
    """At most so many rows of the data set; None: all. Of one draw, more rows hold the fewer."""
    draw: int = Field(default=0, ge=0)
    """Which rows they are: a number that is hashed with the seed."""
    benign_share: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)
    """Share of the chosen rows whose request is harmless; None: as they are drawn."""
    without: tuple[str, ...] = ()
    """Harm categories that are held out."""
    refined_share: float = Field(default=1.0, ge=0, le=1, allow_inf_nan=False)
    """Share of the rows that a refined arm takes refined; the others are the original ones."""
    refined_parts: tuple[Component, ...] = Field(default=tuple(Component), min_length=1)
    """The parts of a row that a refined arm takes from refinement."""


class ArmsConfig(Rows):
    """Which arms are trained, each with the same budget."""

    arms: tuple[Arm, ...] = Field(default=("vanilla", "dgr"), min_length=1)
    """`vanilla`: the external set as it is. `dgr`: refined, the original where that failed.
    `dgr-drop`: refined, rows dropped where that failed. `vanilla-length-matched`: the external
    set cut to the lengths of the refined one. `self-generated`: the target's own refusals, and its
    own answers to the harmless prompts. Harmless rows are rewritten as all others are."""

    @field_validator("arms")
    @classmethod
    def _named_once(cls, arms: tuple[Arm, ...]) -> tuple[Arm, ...]:
        if len(set(arms)) < len(arms):
            raise ValueError("an arm is named twice")
        return arms

    @property
    def chosen(self) -> Rows:
        """Which rows the arms are made of."""
        return Rows.model_validate(self.model_dump(include=set(Rows.model_fields)))

    @property
    def refined(self) -> bool:
        """Whether any of the arms needs refined samples."""
        return any(map(needs_refinement, self.arms))


def needs_refinement(arm: str) -> bool:
    """Whether the arm's rows come from refined samples."""
    return arm in ("dgr", "dgr-drop", "vanilla-length-matched")
