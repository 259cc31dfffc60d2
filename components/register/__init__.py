"""Register the candidate that passed."""

from components.register.component import register

__all__ = ["register"]
