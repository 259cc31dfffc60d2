"""Sample the target itself."""

from components.own.component import own

__all__ = ["own"]
