"""Judges: does a text refuse or comply? Shared by refinement, self-generation and evaluation."""
