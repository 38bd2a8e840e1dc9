"""Chat templates that write tool calls as known families of models do, and little else."""

from __future__ import annotations

_BODY = """
{%- for tool in tools or [] -%}
{{ tool.function.name }}
{%- endfor -%}
{%- for message in messages -%}
{{ message.role if message.role == 'tool' else '' }}{{ message.content or '' }}
{%- for call in message.tool_calls or [] -%}
{%- set name = call['function']['name'] -%}
{%- set arguments = call['function']['arguments'] -%}
CALL
{%- endfor -%}
{%- endfor -%}
"""


def _template(call: str, note: str = "") -> str:
    return note + _BODY.replace("CALL", call)


_JSON = "{{ arguments | tojson }}"
_DEEPSEEK = (
    "{{ '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>BEFORE' + name + 'MIDDLE' + arguments"
    " + 'AFTER<｜tool▁call▁end｜><｜tool▁calls▁end｜>' }}"
)
TEMPLATES = {
    "hermes": _template(
        '<tool_call>\n{"name": "{{ name }}", "arguments": ' + _JSON + "}\n</tool_call>"
    ),
    "llama3": _template('{"name": "{{ name }}", "parameters": ' + _JSON + "}", "{# ipython #}"),
    "mistral": _template("[TOOL_CALLS] [{{ call.function | tojson }}]"),
    "deepseek-v3": _template(
        _DEEPSEEK.replace("BEFORE", "function<｜tool▁sep｜>")
        .replace("MIDDLE", "\\n```json\\n")
        .replace("AFTER", "\\n```")
    ),
    "deepseek-v3.1": _template(
        _DEEPSEEK.replace("BEFORE", "").replace("MIDDLE", "<｜tool▁sep｜>").replace("AFTER", "")
    ),
}
