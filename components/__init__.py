"""One Kubeflow Pipelines component a step: a thin face over one call into the library."""
