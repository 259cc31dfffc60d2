"""What a run asks of a cluster, and whether the cluster's pods can reach what the run names."""

from dgr.cluster.config import ClusterConfig, TrainJobConfig

__all__ = ["ClusterConfig", "TrainJobConfig"]
