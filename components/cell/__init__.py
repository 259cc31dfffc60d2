"""Train and evaluate one cell of a study."""

from components.cell.component import cell

__all__ = ["cell"]
