"""The config of the arms."""

from typing import Literal, get_args

from pydantic import Field, field_validator

from dgr.settings import Settings

Arm = Literal["vanilla", "dgr", "dgr-drop", "vanilla-length-matched", "self-generated"]
ARMS: tuple[str, ...] = get_args(Arm)


class ArmsConfig(Settings):
    """Which arms are trained, each with the same budget."""

    arms: tuple[Arm, ...] = Field(default=("vanilla", "dgr"), min_length=1)
    """`vanilla`: the external set as it is. `dgr`: refined, the original where that failed.
    `dgr-drop`: refined, rows dropped where that failed. `vanilla-length-matched`: the external
    set cut to the lengths of the refined one. `self-generated`: the target's own refusals, and its
    own answers to the harmless prompts. Harmless rows are rewritten as all others are."""
    harmless_mix: float = Field(default=0.0, ge=0, le=10, allow_inf_nan=False)
    """Rows of the harmless mix, as a share of the rows of the data set; the same rows in every
    arm."""

    @field_validator("arms")
    @classmethod
    def _named_once(cls, arms: tuple[Arm, ...]) -> tuple[Arm, ...]:
        if len(set(arms)) < len(arms):
            raise ValueError("an arm is named twice")
        return arms

    @property
    def refined(self) -> bool:
        """Whether any of the arms needs refined samples."""
        return any(map(needs_refinement, self.arms))


def needs_refinement(arm: str) -> bool:
    """Whether the arm's rows come from refined samples."""
    return arm in ("dgr", "dgr-drop", "vanilla-length-matched")
