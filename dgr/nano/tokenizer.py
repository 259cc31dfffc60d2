"""The tokenizer: byte-level BPE with split digits, and R1's chat format.

Every byte is in the vocabulary, so any text of any language can be encoded and nothing becomes
an unknown token.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dgr.files import write_text
from dgr.nano.corpus import Example, examples
from dgr.nano.words import SYLLABLES

VOCABULARY = 800
SAMPLE = 10_000
"""Examples that the merges are learnt from."""
SYLLABLE_COUNT = 20_000
"""Times that each syllable is shown alone: invented words then fall into their syllables, always
the same ones, and a model copies them with ease."""
BOS, EOS, PAD = "<|begin|>", "<|end|>", "<|pad|>"
USER, ASSISTANT = "<|user|>", "<|assistant|>"
THINK, END_THINK = "<think>", "</think>"
SPECIAL = (BOS, EOS, PAD, USER, ASSISTANT, THINK, END_THINK)

# R1's format: the generation prompt opens the thinking block, and so outputs carry only its end.
# Unlike R1's own template, this one keeps the trace of assistant turns.
CHAT_TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
  {%- if message['role'] == 'assistant' -%}
    {{- '<|assistant|>' -}}
    {%- if message.get('reasoning_content') is not none -%}
      {{- '<think>\\n' + message['reasoning_content'] + '\\n</think>\\n\\n' -}}
    {%- endif -%}
    {{- message['content'] + eos_token -}}
  {%- else -%}
    {{- '<|user|>' + message['content'] -}}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|><think>\\n' -}}{%- endif -%}
"""


def build_tokenizer(folder: Path, seed: int) -> None:
    """Learn the merges from a sample of the corpus and save the tokenizer with its template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_sample(seed), trainer)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "tokenizer.json", tokenizer.to_str(pretty=False))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": PAD,
        "model_max_length": 1024,
        "clean_up_tokenization_spaces": False,
    }
    write_text(folder / "tokenizer_config.json", json.dumps(settings, indent=2) + "\n")
    write_text(folder / "chat_template.jinja", CHAT_TEMPLATE)


def _sample(seed: int) -> Iterator[str]:
    for syllable in SYLLABLES:
        yield "\n".join([syllable] * SYLLABLE_COUNT)
    for row in examples(seed, chunk=-1, count=SAMPLE):
        yield f"{row.question}\n{row.trace}\n{row.answer}"


class Encoder:
    """Examples to token ids, in the very pieces that `dgr.thinking` renders at run time."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        self._tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._start = self._ids(BOS + USER)
        self._open = self._ids(f"{ASSISTANT}{THINK}\n")
        self._close = self._ids(f"\n{END_THINK}\n\n")
        self._end = self._ids(EOS)
        self.pad = self._ids(PAD)[0]

    def encode(self, rows: Sequence[Example]) -> list[tuple[list[int], list[int]]]:
        """(prompt ids, completion ids) of each row."""
        texts = [text for row in rows for text in (row.question, row.trace, row.answer)]
        ids = [entry.ids for entry in self._tokenizer.encode_batch(texts)]
        return [
            (
                self._start + question + self._open,
                trace + self._close + answer + self._end,
            )
            for question, trace, answer in _triples(ids)
        ]

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids


def _triples(values: Sequence[list[int]]) -> Iterable[tuple[list[int], list[int], list[int]]]:
    return zip(values[::3], values[1::3], values[2::3], strict=True)
