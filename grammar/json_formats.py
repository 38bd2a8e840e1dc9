"""String formats that are enforced exactly, as regular terms over decoded strings.

    date-time date time duration   RFC 3339 and its appendix A. Months have their days and years
                                   their leap days; leap seconds and the year 0000 are not written.
    naive-time naive-date-time     the same without an offset (not in the specification)
    email                          RFC 5321 mailboxes, ASCII
    hostname                       RFC 1123; labels with `--` in third place (IDNA) are not written
    ipv4 ipv6 uuid                 RFC 2673, RFC 4291, RFC 9562
    uri uri-reference              RFC 3986
    json-pointer                   RFC 6901

Every other format is an annotation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from . import ir
from .regex import regex_regular

_YEAR_DAY = (
    r"[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    r"|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29"
)
_NAIVE_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?"
_TIME = rf"{_NAIVE_TIME}(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
_CLOCK = r"(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S)"
_CALENDAR = r"(?:[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)"
_DURATION = rf"P(?:[0-9]+W|T{_CLOCK}|{_CALENDAR}(?:T{_CLOCK})?)"
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = rf"{_LABEL}(?:\.{_LABEL})*"
_UUID = r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"
_POINTER = r"(?:/(?:[^~/]|~[01])*)*"


def _ipv6() -> str:
    group = r"[0-9A-Fa-f]{1,4}"
    last = rf"(?:{group}:{group}|{_IPV4})"
    forms = [rf"(?:{group}:){{6}}{last}", rf"::(?:{group}:){{5}}{last}"]
    for before in range(5):
        head = rf"(?:{group}(?::{group}){{0,{before}}})?" if before else rf"(?:{group})?"
        after = 4 - before
        forms.append(rf"{head}::(?:{group}:){{{after}}}{last}")
    forms.append(rf"(?:{group}(?::{group}){{0,5}})?::{group}")
    forms.append(rf"(?:{group}(?::{group}){{0,6}})?::")
    return "|".join(forms)


def _uri(*, reference: bool) -> str:
    encoded = r"%[0-9A-Fa-f]{2}"
    plain = r"A-Za-z0-9._~!$&'()*+,;=\-"
    char = rf"(?:[{plain}:@]|{encoded})"
    user = rf"(?:[{plain}:]|{encoded})*"
    name = rf"(?:[{plain}]|{encoded})*"
    future = rf"[Vv][0-9A-Fa-f]+\.[{plain}:]+"
    host = rf"(?:\[(?:{_ipv6()}|{future})\]|{name})"
    authority = rf"(?:{user}@)?{host}(?::[0-9]*)?"
    path = rf"(?:/{char}*)*"
    rooted = rf"/(?:{char}+(?:/{char}*)*)?"
    tail = rf"(?:\?(?:{char}|[/?])*)?(?:#(?:{char}|[/?])*)?"
    absolute = (
        rf"[A-Za-z][A-Za-z0-9+.-]*:(?://{authority}{path}|{rooted}|{char}+(?:/{char}*)*|){tail}"
    )
    if not reference:
        return absolute
    first = rf"(?:[{plain}@]|{encoded})+"
    relative = rf"(?://{authority}{path}|{rooted}|{first}(?:/{char}*)*|){tail}"
    return rf"{absolute}|{relative}"


def _email() -> str:
    atom = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
    quoted = r'"(?:[ !#-\[\]-~]|\\[ -~])*"'
    literal = rf"\[(?:{_IPV4}|IPv6:(?:{_ipv6()}))\]"
    return rf"(?:{atom}(?:\.{atom})*|{quoted})@(?:{_HOST}|{literal})"


def _term(pattern: str) -> ir.Regular:
    return regex_regular(pattern, ascii=True)


def _date() -> ir.Regular:
    return ir.And((_term(_YEAR_DAY), ir.Not(_term(r"0000-[0-9-]*"))))


def _hostname() -> ir.Regular:
    idna = ir.Not(_term(r"(?:[A-Za-z0-9.-]*\.)?[A-Za-z0-9-]{2}--[A-Za-z0-9.-]*"))
    return ir.And((_term(_HOST), _term(r"[A-Za-z0-9.-]{1,253}"), idna))


FORMATS: dict[str, Callable[[], ir.Regular]] = {
    "date": _date,
    "time": lambda: _term(_TIME),
    "date-time": lambda: ir.Cat((_date(), _term(rf"[Tt]{_TIME}"))),
    "naive-time": lambda: _term(_NAIVE_TIME),
    "naive-date-time": lambda: ir.Cat((_date(), _term(rf"[Tt]{_NAIVE_TIME}"))),
    "duration": lambda: _term(_DURATION),
    "email": lambda: _term(_email()),
    "hostname": _hostname,
    "ipv4": lambda: _term(_IPV4),
    "ipv6": lambda: _term(_ipv6()),
    "uri": lambda: _term(_uri(reference=False)),
    "uri-reference": lambda: _term(_uri(reference=True)),
    "uuid": lambda: _term(_UUID),
    "json-pointer": lambda: _term(_POINTER),
}
"""Builders by name; `format_term` calls each once."""


@cache
def format_term(name: str) -> ir.Regular:
    """The strings of a format in `FORMATS`."""
    return FORMATS[name]()
