"""Find the champion that the candidate has to be compared with."""

from components.champion.component import champion

__all__ = ["champion"]
