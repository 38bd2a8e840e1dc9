"""JSON Schema to grammar: every text of the grammar is a JSON text the schema accepts.

The default dialect is draft 2020-12; the older spellings (`definitions`, `items` lists,
`dependencies`, boolean `exclusiveMinimum`) are read as their drafts mean them. What cannot be
enforced exactly is refused by name, with the JSON pointer of the keyword. `lenient` drops such
keywords instead and lists their pointers in `GrammarIR.dropped`.

The way: json_document finds subschemas, json_keywords and json_applicators read keywords into
clauses, json_logic combines clauses, json_build turns them into terms and rules.

Exact means: a text of the grammar decodes to a value the schema accepts, and every value the schema
accepts has a text in the grammar, written canonically (json_strings, json_numerals, json_objects
say what that is).
"""

from __future__ import annotations

from typing import Any

from ..errors import GrammarError
from . import ir
from .json_build import Builder
from .json_document import Document
from .json_logic import Logic
from .json_prune import prune
from .json_scopes import plain
from .json_text import Layout, read
from .spec import GrammarSpec


def json_schema_ir(schema: Any, spec: GrammarSpec) -> ir.GrammarIR:
    """The grammar of the JSON texts that `schema` (a dict, a bool, or JSON text) accepts.

    Raises GrammarError, with a JSON pointer in `where`, for a schema that is wrong, that no value
    satisfies, or that cannot be enforced exactly.
    """
    if isinstance(schema, str | bytes):
        schema = read(schema, "#")
    if not isinstance(schema, dict | bool):
        raise GrammarError(
            expected="a JSON Schema: an object or a boolean", got=type(schema).__name__, where="#"
        )
    try:
        return _grammar(schema, spec)
    except GrammarError as error:
        raise GrammarError(
            error.message,
            expected=error.expected,
            got=error.got,
            where=plain(error.where or "#"),
            hint=error.hint,
        ) from None
    except RecursionError:
        raise GrammarError("the schema nests too deeply", where="#") from None


def _grammar(schema: dict[str, Any] | bool, spec: GrammarSpec) -> ir.GrammarIR:
    logic = Logic(
        Document(schema, spec.registry),
        assert_formats=spec.format == "assert",
        ascii=spec.ascii,
        lenient=spec.lenient,
    )
    layout = Layout(spec.whitespace, ascii=spec.ascii)
    build = Builder(logic, layout, any_order=spec.property_order == "any")
    start = build.value(logic.reference("#"))
    build.run()
    rules = prune({"start": start, **build.rules}, build.places)
    dropped = dict.fromkeys(map(plain, logic.dropped))
    annotated = (place for place in map(plain, logic.annotated) if place not in dropped)
    return ir.GrammarIR(rules, "start", tuple(dropped), tuple(dict.fromkeys(annotated)))
