"""Wait for all that cells share."""

from components.gather.component import gather

__all__ = ["gather"]
