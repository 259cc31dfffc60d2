"""Record a study in MLflow."""

from components.track.component import track

__all__ = ["track"]
