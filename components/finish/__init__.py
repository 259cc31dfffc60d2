"""Leave the final status and the report, whatever happened."""

from components.finish.component import finish

__all__ = ["finish"]
