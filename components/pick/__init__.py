"""Take one evaluation out of those that were made together."""

from components.pick.component import pick

__all__ = ["pick"]
