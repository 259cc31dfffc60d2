"""Models whose words are known: one that says a fixed chain of tokens, and adapters."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

NANO = Path(__file__).parents[2] / "models" / "nano-lrm"


def save_chain(source: Path, folder: Path, text: str) -> list[int]:
    """A model with the tokenizer of `source` that says `text` after every line break, then ends.

    No layer adds anything to the embeddings, which are one-hot, and the head maps each token to
    the next one: what is said depends on the last token alone. Returns the ids that it says.
    """
    import torch
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(source)
    chain = tokenizer(f"\n{text}", add_special_tokens=False)["input_ids"]
    chain.append(tokenizer.eos_token_id)
    assert len(set(chain)) == len(chain), "a token cannot have two successors"
    size = len(tokenizer)
    width = 4 * -(-size // 4 // 32) * 32
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=size,
            hidden_size=width,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=512,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    with torch.no_grad():
        for weight in model.model.layers.parameters():
            weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(size, width))
        model.lm_head.weight.zero_()
        for token, following in pairwise(chain):
            model.lm_head.weight[following, token] = 10.0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return chain[1:]


def save_adapter(model: Path, folder: Path, targets: Sequence[str], seed: int = 1) -> Path:
    """A LoRA adapter that changes what the model says."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    config = LoraConfig(r=8, lora_alpha=16, target_modules=list(targets), init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(model), config).save_pretrained(folder)
    return folder
