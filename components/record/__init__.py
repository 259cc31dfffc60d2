"""Record the run in MLflow, whatever the verdict."""

from components.record.component import record

__all__ = ["record"]
