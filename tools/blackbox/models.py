"""The small model of random weights that stands beside the embedded one."""

from __future__ import annotations

import json
from pathlib import Path

import tokenizers
import torch
import transformers
from tokenizers import decoders, models, pre_tokenizers, processors

CONTEXT = 16_384
SPECIAL = ["<s>", "</s>", "<|user|>", "<|end|>"]
MERGES = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n"), ("e", "r"), ("o", "n"), ("a", "n")]
# As ChatML's, with this tokenizer's own tokens, and tool calls like Hermes'.
TEMPLATE = """\
{{ bos_token }}
{%- if enable_thinking %}Think first.
{% endif %}
{%- for tool in tools or [] %}{{ tool | tojson }}
{% endfor %}
{%- for message in messages %}<|user|>{{ message.role }}
{{ message.content or '' }}
{%- for call in message.tool_calls or [] %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>
{%- endfor %}<|end|>
{%- endfor %}
{%- if add_generation_prompt %}<|user|>assistant
{% endif %}"""


def save_random(folder: Path) -> Path:
    """A Llama of two layers. Every token is about as likely as any other, and the end of a text
    never the likeliest."""
    folder.mkdir(exist_ok=True)
    raw = _tokenizer()
    raw.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "add_bos_token": True,
        "clean_up_tokenization_spaces": False,
        "model_max_length": CONTEXT,
        "chat_template": TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=raw.get_vocab_size(),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=CONTEXT,
            bos_token_id=1,
            eos_token_id=2,
        )
    )
    with torch.no_grad():
        model.lm_head.weight[2] = 0
    model.save_pretrained(folder)
    return folder


def _tokenizer() -> tokenizers.Tokenizer:
    """Bytes and a few words. Token 0 is plain text, and 1 begins a text, as peers' tests have it of
    the models that they ask for."""
    letters = sorted(set(pre_tokenizers.ByteLevel.alphabet()) - {"!"})
    joined = ["".join(pair) for pair in MERGES]
    vocabulary = {token: id for id, token in enumerate(["!", *SPECIAL, *letters, *joined])}
    raw = tokenizers.Tokenizer(models.BPE(vocabulary, MERGES))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens(SPECIAL)
    raw.post_processor = processors.TemplateProcessing("<s> $0", None, [("<s>", 1)])
    return raw
