"""Thinking formats and chat templates: questions, traces and answers to tokens and back."""

from dgr.thinking.chat import ChatFormat, load_chat
from dgr.thinking.formats import FORMATS, R1, S1, Parsed, ThinkingFormat

__all__ = ["FORMATS", "R1", "S1", "ChatFormat", "Parsed", "ThinkingFormat", "load_chat"]
