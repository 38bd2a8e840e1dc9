"""Which of the peers' tests do not apply here, and why. Everything else must pass.

A reason is one of a kind: what the test wants is another model's (its texts, its wits, its token
counts), or another program's inside (flags, routes and internals of its own), or the very contrary
of OpenAI's API, or something that this server refuses by name.
"""

from __future__ import annotations

import fnmatch
from typing import NamedTuple


class Verdict(NamedTuple):
    """tests: a pattern of node ids, in which `[` stands for itself. model: the one on which it does
    not apply; "*": any."""

    suite: str
    tests: str
    reason: str
    model: str = "*"


_GOLDEN = "another model's: its texts and token counts are written into the test"
_ROUTE = "a route of this program's own"
_FLAG = "a flag of this program's own"
_WITS = "needs a model's wits"
_RANDOM_TEXT = "needs a model's wits: which tool fits a question"
_STORED = "stored completions: nothing is stored here"

OPENAI = (
    Verdict(
        "openai",
        "*_with_all_params_overload_*",
        "sends all there is at once, with values made for a mock (best_of 0, a bias for the token "
        "`foo`, max_tokens 0 beside max_completion_tokens, audio): a server of models refuses them",
    ),
    Verdict("openai", "*Completions::test_method_list*", _STORED),
    Verdict("openai", "*/chat/completions/test_messages.py::*", _STORED),
    *(
        Verdict("openai", f"tests/api_resources/chat/*_{what}[*", _STORED)
        for what in ("retrieve", "update", "list", "delete")
    ),
    Verdict("openai", "*Models::*_delete[*", "deletes a fine-tuned model: none is made here"),
    Verdict(
        "openai", "*::test_path_params_*", "ends inside the client: no request reaches a server"
    ),
    Verdict(
        "openai",
        "*Embeddings::test_method_create_with_all_params[*",
        "cuts vectors to 1 dimension, which needs a model trained for it; refused by name",
    ),
    *(
        Verdict(
            "openai",
            f"*Embeddings::*_create[{strict}]",
            "the client asks for base64, and its strict mode then refuses a string: only a mock "
            "passes, which answers numbers all the same",
        )
        for strict in ("strict", "aiohttp")
    ),
)

_CHAT = "unit/test_chat_completion.py::"
_TOOLS = "unit/test_tool_call.py::"
LLAMA = (
    Verdict("llama.cpp", f"{_CHAT}test_chat_completion[*", _GOLDEN),
    Verdict("llama.cpp", f"{_CHAT}test_chat_completion_cached_tokens", _GOLDEN),
    Verdict("llama.cpp", f"{_CHAT}test_chat_completion_stream[*", _GOLDEN),
    Verdict("llama.cpp", f"{_CHAT}test_chat_completion_with_openai_library", _GOLDEN),
    *(
        Verdict(
            "llama.cpp",
            f"{_CHAT}{name}",
            f"{_FLAG}: --verbose adds the rendered prompt to an answer",
        )
        for name in (
            "test_chat_template",
            "test_chat_template_assistant_prefill[*",
            "test_chat_template_continue_final_message_vllm_compat",
            "test_verbose_debug",
        )
    ),
    Verdict("llama.cpp", f"{_CHAT}test_apply_chat_template", f"{_ROUTE}: /apply-template"),
    Verdict(
        "llama.cpp",
        f"{_CHAT}test_chat_completions_token_count",
        f"{_ROUTE}: /chat/completions/input_tokens; here /tokenize counts a chat",
    ),
    Verdict(
        "llama.cpp",
        f"{_CHAT}test_invalid_chat_completion_req[messages7]",
        "wants two messages of the assistant refused: this program's own rule, by which the last "
        "one is the beginning of the answer",
    ),
    Verdict(
        "llama.cpp",
        f"{_CHAT}test_chat_completion_with_timings_per_token",
        "this program's own `timings`; refused by name",
    ),
    Verdict(
        "llama.cpp",
        f"{_CHAT}test_return_progress[*",
        "this program's own events of its batches; refused by name",
    ),
    Verdict(
        "llama.cpp",
        f"{_CHAT}test_chat_completions_multiple_choices",
        "this program's inside: `id_slot` names one of its slots; refused by name",
    ),
    Verdict(
        "llama.cpp",
        f"{_CHAT}test_context_size_exceeded*",
        "this program's own form of the error; ours is OpenAI's, with a 400 too",
    ),
    Verdict(
        "llama.cpp",
        "unit/test_stream.py::*",
        f"{_ROUTE}: its router loads models, and keeps streams to be taken up again (/v1/stream)",
    ),
    Verdict(
        "llama.cpp",
        f"{_CHAT}test_completion_with_response_format[response_format1-*",
        f"{_WITS}: among the first 10 tokens must be a digit, a quote or a blank",
        "random",
    ),
    *(
        Verdict(
            "llama.cpp",
            f"{_CHAT}{name}",
            "joins the texts of tokens, not their bytes; the random model's characters are of "
            "several tokens",
            "random",
        )
        for name in ("test_logprobs", "test_logprobs_stream")
    ),
    Verdict("llama.cpp", f"{_TOOLS}test_hello_world[*", f"{_WITS}: it writes Python"),
    Verdict(
        "llama.cpp", f"{_TOOLS}test_calc_result[*", f"{_WITS}: it reads a number and rounds it"
    ),
    Verdict("llama.cpp", f"{_TOOLS}test_thoughts[*", f"{_WITS}: the wording of sums and thoughts"),
    Verdict("llama.cpp", f"{_TOOLS}test_weather[*", _RANDOM_TEXT, "random"),
    *(
        Verdict(
            "llama.cpp",
            f"{_TOOLS}test_completion_without_tool_call_*-tools{number}-None-*",
            f"{_WITS}: it may call the tool, and must not want to",
            "sprig",
        )
        for number in (1, 4, 7)
    ),
    Verdict(
        "llama.cpp",
        "unit/test_tokenize.py::test_tokenize_with_bos",
        "wants a tokenizer that begins a text with token 1; Sprig's begins it with nothing",
        "sprig",
    ),
)

_V_CHAT = "*/chat_completion/test_chat.py::"
_V_COMPLETION = "*/completion/test_completion.py::"
_V_CALLS = "*/test_completion_with_function_calling.py::"
_LORA = "adapters (LoRA) are not built yet"
_WORDING = "the wording of an error; ours is another, with a 400 too"
_UNFINISHED = "needs a model that goes on from a plain text; Sprig's ends at once"
_FINISH = (
    "wants finish_reason in the chunk of the last text; in OpenAI's streams, and in llama.cpp's "
    "tests of them, it has a chunk of its own"
)
VLLM = (
    Verdict("vllm", f"{_V_CHAT}*[zephyr-lora]", _LORA),
    Verdict("vllm", f"{_V_CHAT}test_single_chat_session[*", _GOLDEN),
    Verdict("vllm", f"{_V_CHAT}test_chat_streaming[*", _FINISH),
    Verdict("vllm", f"{_V_CHAT}test_chat_completion_stream_options[*", _FINISH),
    Verdict(
        "vllm",
        f"{_V_CHAT}test_more_than_one_prompt_logprobs_chat[*",
        f"{_WITS}: the prompt's fourth token must be the likeliest",
        "random",
    ),
    Verdict("vllm", f"{_V_CHAT}test_response_format_json_object", f"{_WITS}: 1+1"),
    Verdict("vllm", f"{_V_CHAT}test_response_format_json_schema", f"{_WITS}: 1+1"),
    Verdict("vllm", f"{_V_CHAT}test_complex_message_content", f"{_WITS}: 1+1"),
    Verdict(
        "vllm",
        f"{_V_CHAT}test_extra_fields_allowed",
        "wants an unknown field of a message dropped in silence; refused by name",
    ),
    Verdict(
        "vllm",
        f"{_V_CHAT}test_custom_role",
        "a role that no chat template knows; refused by name",
    ),
    Verdict("vllm", f"{_V_CHAT}test_long_seed", _WORDING),
    Verdict("vllm", f"{_V_CHAT}test_invocations", f"{_ROUTE}: /invocations"),
    Verdict(
        "vllm",
        "*test_kv_transfer_*",
        "this program's inside: token ids that one of its servers hands to another",
    ),
    Verdict("vllm", "*test_per_request_metrics_*", f"{_FLAG}: --enable-per-request-metrics"),
    Verdict(
        "vllm",
        "*test_chat_session_with_echo_and_continue_final_message[test_case0]",
        "`echo` of a chat; refused by name",
    ),
    Verdict("vllm", "*test_chat_echo.py::test_prompt_logprobs", f"{_FLAG}: --max-logprobs 151936"),
    Verdict("vllm", "*test_chat_echo.py::test_top_logprobs", f"{_FLAG}: --max-logprobs 151936"),
    Verdict(
        "vllm",
        f"{_V_CALLS}test_function_tool_use[*",
        "needs a chat template that reads `enable_thinking`",
        "sprig",
    ),
    Verdict(
        "vllm",
        f"{_V_CALLS}test_no_args_tool_call[*",
        "needs a chat template that reads `enable_thinking`",
        "sprig",
    ),
    Verdict(
        "vllm", f"{_V_CALLS}test_function_tool_use[watermarked-*", f"{_FLAG}: --watermark-config"
    ),
    Verdict("vllm", f"{_V_CALLS}test_function_tool_use[*-auto-*", _RANDOM_TEXT),
    Verdict("vllm", f"{_V_CALLS}test_function_tool_use[plain-True-*", "needs a model that reasons"),
    Verdict(
        "vllm",
        f"{_V_CALLS}test_named_tool_use",
        f"{_WITS}: asked again for other values, it must choose others",
    ),
    Verdict(
        "vllm",
        "*test_chat_with_enable_force_include_usage",
        f"{_FLAG}: --enable-force-include-usage",
    ),
    Verdict("vllm", f"{_V_COMPLETION}test_single_completion[*", _GOLDEN),
    Verdict(
        "vllm",
        f"{_V_COMPLETION}test_completion_truncation_side_*",
        "`truncate_prompt_tokens` and `return_token_ids`; refused by name",
    ),
    Verdict(
        "vllm",
        f"{_V_COMPLETION}test_logprob_token_ids*",
        "`logprob_token_ids` and `allowed_token_ids`; refused by name",
    ),
    Verdict("vllm", f"{_V_COMPLETION}test_batch_completions[*", "beam search; refused by name"),
    *(
        Verdict("vllm", f"{_V_COMPLETION}{name}[*", _UNFINISHED, "sprig")
        for name in (
            "test_completion_streaming",
            "test_parallel_no_streaming",
            "test_parallel_streaming",
        )
    ),
    Verdict(
        "vllm",
        f"{_V_COMPLETION}test_echo_logprob_completion[*",
        "wants token 0 to be text; Sprig's is special",
        "sprig",
    ),
    Verdict("vllm", "*test_prompt_validation.py::test_empty_prompt", _WORDING),
    Verdict("vllm", "*test_prompt_validation.py::test_out_of_vocab_token_ids", _WORDING),
    Verdict("vllm", "*::test_load_prompt_embeds[*", "calls vLLM's own code: embed_utils"),
    Verdict("vllm", "*::test_metrics_exist[*-multimodal]", "needs a model that reads images"),
    Verdict(
        "vllm",
        "*::test_metrics_counts[*-text]",
        "wants a prompt of ten tokens computed again each time it is asked: this program caches "
        "blocks of 16 tokens; here a prompt is cached to its last token. And ten tokens of each "
        "answer: both models end some before",
    ),
    Verdict("vllm", "*::test_show_version", f"{_ROUTE}: vLLM's version"),
    Verdict("vllm", "*::test_server_load[*", f"{_FLAG}: --enable-server-load-tracking"),
    Verdict("vllm", "*::test_tokenizer_info_*", f"{_FLAG}: --enable-tokenizer-info-endpoint"),
    *(
        Verdict(
            "vllm", f"*::{name}[*", "wants a context of 8,192 tokens; Sprig's is 2,048", "sprig"
        )
        for name in (
            "test_tokenize_completions",
            "test_tokenize_chat",
            "test_tokenize_chat_with_tools",
            "test_tokenize_with_return_token_strs",
        )
    ),
)
VERDICTS = (*OPENAI, *LLAMA, *VLLM)


def reason_against(suite: str, model: str, test: str) -> str | None:
    """Why a test does not apply; None if it does."""
    for verdict in VERDICTS:
        if verdict.suite != suite or verdict.model not in ("*", model):
            continue
        if fnmatch.fnmatchcase(test, verdict.tests.replace("[", "[[]")):
            return verdict.reason
    return None
