"""The gate: from evaluation records and a policy to a decision. It fails closed."""

from dgr.gate.config import GatePolicy, RulePolicy, SuitePolicy
from dgr.gate.decide import ArmVerdict, Rule, decide
from dgr.gate.step import Decision, gate

__all__ = [
    "ArmVerdict",
    "Decision",
    "GatePolicy",
    "Rule",
    "RulePolicy",
    "SuitePolicy",
    "decide",
    "gate",
]
