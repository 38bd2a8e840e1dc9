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


def _template(call: str) -> str:
    return _BODY.replace("CALL", call)


_JSON = "{{ arguments | tojson }}"
_DEEPSEEK = (
    "{{ '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>BEFORE' + name + 'MIDDLE' + arguments"
    " + 'AFTER<｜tool▁call▁end｜><｜tool▁calls▁end｜>' }}"
)
TEMPLATES = {
    "hermes": _template(
        '<tool_call>\n{"name": "{{ name }}", "arguments": ' + _JSON + "}\n</tool_call>"
    ),
    "qwen3-coder": _template(
        "<tool_call>\n<function={{ name }}>\n"
        "{%- for key, value in arguments.items() -%}"
        "{{ '\\n<parameter=' + key + '>\\n' }}"
        "{{ value if value is string else value | tojson }}{{ '\\n</parameter>\\n' }}"
        "{%- endfor -%}</function>\n</tool_call>"
    ),
    "glm-4.5": _template(
        "<tool_call>{{ name }}\n"
        "{%- for key, value in arguments.items() -%}"
        "{{ '\\n<arg_key>' + key + '</arg_key>\\n<arg_value>' }}"
        "{{ value if value is string else value | tojson }}</arg_value>\n"
        "{%- endfor -%}{{ '\\n' }}</tool_call>"
    ),
    "llama3": _template('{"name": "{{ name }}", "parameters": ' + _JSON + "}"),
    "mistral": _template("[TOOL_CALLS] [{{ call.function | tojson }}]"),
    "mistral-v11": _template("[TOOL_CALLS]{{ name }}[ARGS]" + _JSON),
    "deepseek-v3": _template(
        _DEEPSEEK.replace("BEFORE", "function<｜tool▁sep｜>")
        .replace("MIDDLE", "\\n```json\\n")
        .replace("AFTER", "\\n```")
    ),
    "deepseek-v3.1": _template(
        _DEEPSEEK.replace("BEFORE", "").replace("MIDDLE", "<｜tool▁sep｜>").replace("AFTER", "")
    ),
}
