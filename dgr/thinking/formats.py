"""The two ways in which reasoning models mark their trace.

R1 and its kin write `<think>`, the trace, `</think>`, the answer. s1.1 writes
`<|im_start|>think`, the trace, `<|im_start|>answer`, the answer (arXiv 2501.19393).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Parsed:
    """A model's output in its parts. Without an end of the thinking block all of it is trace."""

    trace: str
    answer: str
    closed: bool


@dataclass(frozen=True)
class ThinkingFormat:
    """The tags around a trace, and the white space that models put between tag and text."""

    name: str
    open_tag: str
    close_tag: str
    after_close: str

    @property
    def opening(self) -> str:
        return f"{self.open_tag}\n"

    @property
    def closing(self) -> str:
        return f"\n{self.close_tag}{self.after_close}"

    def split(self, output: str) -> Parsed:
        """Parse what a model generated after (or including) the opening tag.

        The first closing tag ends the trace; later ones belong to the answer. Templates that
        pre-open the block leave outputs with a closing tag alone.
        """
        before, tag, after = output.partition(self.close_tag)
        trace = before.strip()
        trace = trace.removeprefix(self.open_tag.strip()).strip()
        return Parsed(trace=trace, answer=after.strip(), closed=bool(tag))


R1 = ThinkingFormat("r1", "<think>", "</think>", "\n\n")
S1 = ThinkingFormat("s1", "<|im_start|>think", "<|im_start|>answer", "\n")
FORMATS = {form.name: form for form in (R1, S1)}


def detect(template: str) -> ThinkingFormat:
    """The format that a chat template speaks of; R1's when it speaks of none.

    s1.1 uses the template of the model under it, so it is recognised only where a template
    names its tags: set `thinking: s1` otherwise.
    """
    return S1 if S1.open_tag in template else R1
