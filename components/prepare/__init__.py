"""Make what the cells of a study share."""

from components.prepare.component import prepare

__all__ = ["prepare"]
