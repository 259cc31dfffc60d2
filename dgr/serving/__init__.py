"""Serving: how a model is deployed, and the questions that a fresh server must answer rightly.

found = ask_all(url, "nano", probes(config, suites), config.probes)
found.problems                                              # empty: the server may stay
"""

from dgr.serving.asking import ask_all
from dgr.serving.config import ProbePolicy, ServingConfig
from dgr.serving.probes import Probe, ProbeReport, probes

__all__ = ["Probe", "ProbePolicy", "ProbeReport", "ServingConfig", "ask_all", "probes"]
