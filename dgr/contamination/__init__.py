"""Contamination: questions of an evaluation that a model was trained on, word for word or nearly.

An evaluation question is found in a training set as an `exact` copy, as a `normalised` one (same
words, whatever the case and the signs), or as a `near` one: the Jaccard similarity of the two
texts' word triples reaches a limit. MinHash (Broder, SEQUENCES 1997) proposes near copies, and each
is counted by its true similarity, so none is found that is not there.
"""

from dgr.contamination.figures import Copy, contamination
from dgr.contamination.index import Found, Index

__all__ = ["Copy", "Found", "Index", "contamination"]
