"""Python types as grammars: a type's JSON Schema, and values of it from JSON text.

`schema_of` reads a type through msgspec's own inspection (and pydantic models through their
`model_json_schema`), and says what the decoder takes: objects are closed, fields without a default
are required. `value_of` is its inverse on texts of that schema.

What msgspec cannot decode, or what a grammar cannot keep to, is a GrammarError that names the type
and the path of the field. Values whose own code rejects them (`__post_init__`, validators) fail in
`value_of`, for no grammar knows that code.

A function stands for its arguments (python_annotations).

As JSON: a set is an array (repeats fall together), bytes are base64, a timedelta is an ISO 8601
duration of days and time, a Decimal is a number. Fractions of seconds have at most six digits.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

import msgspec
from msgspec import inspect as ms

from ..errors import GrammarError
from .python_annotations import fields_of, readable

Schema = dict[str, Any]
_Record = ms.DataclassType | ms.TypedDictType | ms.StructType | ms.NamedTupleType
_LISTED = (ms.LiteralType, ms.EnumType, ms.BoolType)
"""Types whose values differ where their JSON texts do."""

_MICROSECONDS = r"^[^.]*(\.[0-9]{1,6}([^0-9.].*)?)?$"
_SECONDS = r"[0-9]{1,6}(\.[0-9]{1,6})?S"
_CLOCK = rf"T([0-9]{{1,6}}H([0-9]{{1,6}}M)?({_SECONDS})?|[0-9]{{1,6}}M({_SECONDS})?|{_SECONDS})"
_DURATION = rf"^-?P([0-9]{{1,6}}D({_CLOCK})?|{_CLOCK})$"
_BASE64 = r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_INTEGER_KEY = r"^(0|-?[1-9][0-9]{0,17})$"


def schema_of(tp: Any) -> Schema:
    """The JSON Schema of a Python type, recursive types through `$defs`.

    Raises GrammarError for a type without an exact schema; `where` is the path of the field, as in
    `Person.tags[]`.
    """
    reader = _Reader()
    tp = readable(tp)
    info = _info(tp)
    schema = reader.schema(info, _name(tp))
    return {**schema, "$defs": reader.definitions} if reader.definitions else schema


def _info(tp: Any) -> ms.Type:
    try:
        return ms.type_info(tp)
    except (TypeError, NameError, ValueError) as error:
        raise _unsupported(str(error), _failing_path(tp)) from error


def value_of(tp: Any, text: str) -> Any:
    """The value of type `tp` that a JSON text stands for; of a function, its arguments by name.

    Raises GrammarError if the text is no JSON, or the type (or its own validation) rejects it.
    """
    tp = readable(tp)
    adapter = _adapter(tp)
    try:
        if adapter is not None:
            return adapter.validate_json(text)
        return msgspec.json.decode(text.encode(), type=tp, dec_hook=_decode_custom)
    except (ValueError, msgspec.MsgspecError) as error:
        raise GrammarError(
            f"the text is no {_name(tp)}: {error}", expected=_name(tp), got=_short(text)
        ) from error


# -- pydantic --------------------------------------------------------------------------------------


def _adapter(tp: Any) -> Any:
    """pydantic's TypeAdapter for its models and dataclasses, None for other types.

    pydantic is never imported for the sake of other types.
    """
    if not isinstance(tp, type) or not hasattr(tp, "__pydantic_core_schema__"):
        return None
    return importlib.import_module("pydantic").TypeAdapter(tp)


def _pydantic_schema(adapter: Any, template: str) -> Schema:
    """The adapter's schema with closed objects, decimals as numbers only, and sets as arrays in
    which repeats fall together."""
    base = importlib.import_module("pydantic.json_schema").GenerateJsonSchema

    def decimal_schema(self: Any, schema: Any) -> Schema:
        both: Schema = base.decimal_schema(self, schema)
        numbers = [part for part in both.get("anyOf", ()) if part.get("type") == "number"]
        return numbers[0] if numbers else both

    def set_schema(self: Any, schema: Any) -> Schema:
        array: Schema = base.set_schema(self, schema)
        if array.get("minItems", 0) <= 1:
            array.pop("uniqueItems", None)
        return array

    made = {"decimal_schema": decimal_schema, "set_schema": set_schema}
    generator = type("Generated", (base,), made | {"frozenset_schema": set_schema})
    closed: Schema = _closed(adapter.json_schema(ref_template=template, schema_generator=generator))
    return closed


def _decode_custom(tp: type, value: Any) -> Any:
    adapter = _adapter(tp)
    if adapter is None:
        raise GrammarError(f"values of {tp.__name__} cannot be decoded", where=tp.__name__)
    return adapter.validate_python(value)


def _closed(schema: Any) -> Any:
    """A pydantic schema with its objects closed: surplus members would be dropped or refused."""
    if not isinstance(schema, dict):
        return schema
    found = dict(schema)
    for keyword in ("properties", "$defs"):
        if isinstance(found.get(keyword), dict):
            found[keyword] = {name: _closed(part) for name, part in found[keyword].items()}
    for keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
        if isinstance(found.get(keyword), list):
            found[keyword] = [_closed(part) for part in found[keyword]]
    for keyword in ("items", "additionalProperties"):
        if keyword in found:
            found[keyword] = _closed(found[keyword])
    if "properties" in found and found.get("type") == "object":
        found.setdefault("additionalProperties", False)
    return found


# -- everything else -------------------------------------------------------------------------------


class _Reader:
    """Schemas of msgspec's type descriptions; named types go to `definitions`, once each."""

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {}
        self._names: dict[Any, str] = {}

    def schema(self, info: ms.Type, path: str) -> Schema:
        if isinstance(info, ms.Metadata):
            return self.schema(info.type, path)
        read = _READERS.get(type(info))
        if read is None:
            raise _unsupported(_name(getattr(info, "cls", type(info))), path)
        return read(self, info, path)

    def named(self, cls: Any, make: Callable[[], Schema]) -> Schema:
        """A reference to the definition of `cls`, made if it is new."""
        name = self._names.get(cls)
        if name is None:
            base = name = _name(cls)
            count = 1
            while name in self.definitions:
                count += 1
                name = f"{base}_{count}"
            self._names[cls] = name
            self.definitions[name] = {}
            self.definitions[name] = make()
        return {"$ref": "#/$defs/" + name.replace("~", "~0").replace("/", "~1")}

    # -- scalars

    def number(self, info: ms.IntType | ms.FloatType, _: str) -> Schema:
        schema: Schema = {"type": "integer" if isinstance(info, ms.IntType) else "number"}
        for keyword, bound in (
            ("minimum", info.ge),
            ("exclusiveMinimum", info.gt),
            ("maximum", info.le),
            ("exclusiveMaximum", info.lt),
            ("multipleOf", info.multiple_of),
        ):
            if bound is not None:
                schema[keyword] = bound
        return schema

    def string(self, info: ms.StrType, _: str) -> Schema:
        schema: Schema = {"type": "string"}
        if info.pattern is not None:
            schema["pattern"] = info.pattern
        return schema | _lengths(info, "minLength", "maxLength")

    def raw(self, info: ms.BytesType, path: str) -> Schema:
        if info.min_length is not None or info.max_length is not None:
            raise _unsupported("bytes with a length", path)
        return {"type": "string", "pattern": _BASE64}

    def moment(self, info: ms.DateTimeType | ms.TimeType, _: str) -> Schema:
        name = "date-time" if isinstance(info, ms.DateTimeType) else "time"
        if info.tz is False:
            name = f"naive-{name}"
        return {"type": "string", "format": name, "pattern": _MICROSECONDS}

    def choice(self, info: ms.LiteralType, _: str) -> Schema:
        return _enum(info.values)

    def enumeration(self, info: ms.EnumType, _: str) -> Schema:
        return self.named(info.cls, lambda: _enum([member.value for member in info.cls]))

    # -- containers

    def items(self, info: ms.ListType | ms.VarTupleType, path: str) -> Schema:
        schema = {"type": "array", "items": self.schema(info.item_type, f"{path}[]")}
        return schema | _lengths(info, "minItems", "maxItems")

    def distinct(self, info: ms.SetType | ms.FrozenSetType, path: str) -> Schema:
        unique: Schema = {}
        if info.min_length is not None and info.min_length > 1:
            if not isinstance(info.item_type, _LISTED):
                raise _unsupported("a set of at least two items", path)
            unique = {"uniqueItems": True}
        schema = {"type": "array", "items": self.schema(info.item_type, f"{path}[]")} | unique
        return schema | _lengths(info, "minItems", "maxItems")

    def row(self, info: ms.TupleType, path: str) -> Schema:
        items = [self.schema(item, f"{path}[{i}]") for i, item in enumerate(info.item_types)]
        return _row(items, len(items))

    def mapping(self, info: ms.DictType, path: str) -> Schema:
        schema: Schema = {"type": "object"}
        value = self.schema(info.value_type, f"{path}[value]")
        if value:
            schema["additionalProperties"] = value
        key = info.key_type.type if isinstance(info.key_type, ms.Metadata) else info.key_type
        if isinstance(key, ms.IntType):
            if any(bound is not None for bound in (key.ge, key.gt, key.le, key.lt)):
                raise _unsupported("a dict with bounded integers as keys", path)
            schema["propertyNames"] = {"pattern": _INTEGER_KEY}
        elif isinstance(key, ms.FloatType):
            raise _unsupported("a dict with floats as keys", path)
        elif not isinstance(key, ms.AnyType) and key != ms.StrType():
            schema["propertyNames"] = self.schema(key, f"{path}[key]")
        return schema | _lengths(info, "minProperties", "maxProperties")

    def union(self, info: ms.UnionType, path: str) -> Schema:
        return {"anyOf": [self.schema(part, path) for part in info.types]}

    # -- classes

    def record(self, info: ms.DataclassType | ms.TypedDictType, path: str) -> Schema:
        adapter = _adapter(info.cls)
        if adapter is not None:
            return self.pydantic(info.cls, adapter)
        return self.named(info.cls, lambda: self._object(info, path, {}))

    def structure(self, info: ms.StructType, path: str) -> Schema:
        tag: dict[str, Schema] = {}
        if info.tag is not None:
            tag = {info.tag_field or "type": {"const": info.tag}}
        if info.array_like:
            return self.named(info.cls, lambda: self._array(info, path, list(tag.values())))
        return self.named(info.cls, lambda: self._object(info, path, tag))

    def tuple_record(self, info: ms.NamedTupleType, path: str) -> Schema:
        return self.named(info.cls, lambda: self._array(info, path, []))

    def custom(self, info: ms.CustomType, path: str) -> Schema:
        adapter = _adapter(info.cls)
        if adapter is None:
            raise _unsupported(_name(info.cls), path)
        return self.pydantic(info.cls, adapter)

    def pydantic(self, cls: type, adapter: Any) -> Schema:
        def make() -> Schema:
            template = f"#/$defs/{_name(cls)}.{{model}}"
            schema: Schema = _pydantic_schema(adapter, template)
            for name, part in schema.pop("$defs", {}).items():
                self.definitions[f"{_name(cls)}.{name}"] = part
            return schema

        return self.named(cls, make)

    def _fields(self, info: _Record, path: str) -> dict[str, Schema]:
        """The schemas of a class's fields, as it declares them (msgspec sorts those of a TypedDict
        by name), with the constraints that msgspec passes over."""
        declared = fields_of(info.cls)
        place = {name: number for number, name in enumerate(declared)}
        found: dict[str, Schema] = {}
        for field in sorted(info.fields, key=lambda field: place.get(field.name, 0)):
            other = declared.get(field.name)
            read = field.type if other is None else _info(other)
            found[field.encode_name] = self.schema(read, f"{path}.{field.name}")
        return found

    def _object(self, info: _Record, path: str, tag: dict[str, Schema]) -> Schema:
        properties = tag | self._fields(info, path)
        required = [*tag, *(field.encode_name for field in info.fields if field.required)]
        schema = {"type": "object", "properties": properties, "additionalProperties": False}
        return schema | {"required": required}

    def _array(self, info: _Record, path: str, tag: list[Schema]) -> Schema:
        required = sum(field.required for field in info.fields)
        return _row([*tag, *self._fields(info, path).values()], len(tag) + required)


_READERS: dict[type[ms.Type], Callable[[_Reader, Any, str], Schema]] = {
    ms.AnyType: lambda _reader, _info, _path: {},
    ms.NoneType: lambda _reader, _info, _path: {"type": "null"},
    ms.BoolType: lambda _reader, _info, _path: {"type": "boolean"},
    ms.DecimalType: lambda _reader, _info, _path: {"type": "number"},
    ms.UUIDType: lambda _reader, _info, _path: {"type": "string", "format": "uuid"},
    ms.DateType: lambda _reader, _info, _path: {"type": "string", "format": "date"},
    ms.TimeDeltaType: lambda _reader, _info, _path: {"type": "string", "pattern": _DURATION},
    ms.IntType: _Reader.number,
    ms.FloatType: _Reader.number,
    ms.StrType: _Reader.string,
    ms.BytesType: _Reader.raw,
    ms.DateTimeType: _Reader.moment,
    ms.TimeType: _Reader.moment,
    ms.LiteralType: _Reader.choice,
    ms.EnumType: _Reader.enumeration,
    ms.ListType: _Reader.items,
    ms.VarTupleType: _Reader.items,
    ms.SetType: _Reader.distinct,
    ms.FrozenSetType: _Reader.distinct,
    ms.TupleType: _Reader.row,
    ms.DictType: _Reader.mapping,
    ms.UnionType: _Reader.union,
    ms.DataclassType: _Reader.record,
    ms.TypedDictType: _Reader.record,
    ms.StructType: _Reader.structure,
    ms.NamedTupleType: _Reader.tuple_record,
    ms.CustomType: _Reader.custom,
}


def _row(items: list[Schema], required: int) -> Schema:
    return {"type": "array", "prefixItems": items, "items": False, "minItems": required}


def _enum(values: Sequence[Any]) -> Schema:
    """The constants with their types beside them, so that integers are written without `.0`."""
    types: dict[str, None] = {}
    for value in values:
        kinds = ((type(None), "null"), (bool, "boolean"), (int, "integer"), (str, "string"))
        types[next(name for kind, name in kinds if isinstance(value, kind))] = None
    return {"type": list(types), "enum": list(values)}


def _lengths(info: Any, low: str, high: str) -> Schema:
    schema: Schema = {}
    if info.min_length is not None:
        schema[low] = info.min_length
    if info.max_length is not None:
        schema[high] = info.max_length
    return schema


# -- names and errors ------------------------------------------------------------------------------


def _unsupported(what: str, path: str) -> GrammarError:
    return GrammarError(
        f"the type has no JSON form that can be enforced: {what}",
        where=path,
        hint="Use scalars, containers, dataclasses, msgspec Structs or pydantic models",
    )


def _failing_path(tp: Any) -> str:
    """The path of the innermost field whose own type msgspec does not take."""
    path = _name(tp)
    seen: set[Any] = set()
    while True:
        try:
            hints = get_type_hints(tp, include_extras=True) if isinstance(tp, type) else {}
        except (TypeError, NameError):
            return path
        for name, hint in hints.items():
            if id(hint) in seen:
                continue
            seen.add(id(hint))
            try:
                ms.type_info(hint)
            except (TypeError, NameError, ValueError):
                path, tp = f"{path}.{name}", hint
                break
        else:
            return path


def _name(tp: Any) -> str:
    if hasattr(tp, "__origin__") or not hasattr(tp, "__name__"):
        return str(tp).replace("typing.", "")
    return str(tp.__name__)


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
