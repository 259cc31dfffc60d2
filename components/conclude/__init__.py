"""Say what the cells of a study say together."""

from components.conclude.component import conclude

__all__ = ["conclude"]
