"""String formats that are enforced, as regular terms over decoded strings.

    date-time date time duration   RFC 3339 and its appendix A. Months have their days and years
                                   their leap days; leap seconds and the year 0000 are not written.
    naive-time naive-date-time     the same without an offset (not in the specification)
    email                          RFC 5321 mailboxes, ASCII
    idn-email                      RFC 6531 mailboxes, the domain in ASCII (others as `xn--` labels)
    hostname                       RFC 1123; labels with `--` in third place (IDNA) are not written
    ipv4 ipv6 uuid                 RFC 2673, RFC 4291, RFC 9562
    uri uri-reference              RFC 3986
    iri iri-reference              RFC 3987
    uri-template                   RFC 6570, without the operators it reserves
    json-pointer                   RFC 6901
    relative-json-pointer          draft-bhutton-relative-json-pointer-00, without index changes

A complement is taken of `WIDER` terms, which have what is not written too: what is valid and left
out above is no more written where a schema negates the format.

The specification's other formats are in `REFUSED_FORMATS`: to assert them is refused by name.
Formats that it does not know (`int32`, `byte`, `password`, ...) are annotations, as it says; the
places where a format binds nothing are listed in `GrammarIR.annotated`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from . import ir
from .regex import regex_regular

_DAY = (
    r"-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_YEAR = r"(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_FOURTH = r"(?:0[48]|[2468][048]|[13579][26])"  # two digits, more than 00, that 4 divides
_DATE = rf"{_YEAR}{_DAY}|(?:[0-9]{{2}}{_FOURTH}|{_FOURTH}00)-02-29"
_WIDE_DATE = rf"[0-9]{{4}}{_DAY}|(?:[0-9]{{2}}{_FOURTH}|(?:00|{_FOURTH})00)-02-29"
_NAIVE_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?"
_OFFSET = r"(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
_TIME = _NAIVE_TIME + _OFFSET
_LEAP_TIME = rf"(?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?{_OFFSET}"
_CLOCK = r"(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S)"
_CALENDAR = r"(?:[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)"
_DURATION = rf"P(?:[0-9]+W|T{_CLOCK}|{_CALENDAR}(?:T{_CLOCK})?)"
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = rf"{_LABEL}(?:\.{_LABEL})*"
_INSIDE = "[A-Za-z0-9-]"
_THIRD = (
    rf"(?:[A-Za-z0-9](?:{_INSIDE}{{0,59}}[A-Za-z0-9])?"
    rf"|-[A-Za-z0-9](?:{_INSIDE}{{0,58}}[A-Za-z0-9])?)"
)
_PLAIN_LABEL = rf"[A-Za-z0-9](?:[A-Za-z0-9]|{_INSIDE}{_THIRD})?"  # without `--` in third place
_UUID = r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"
_POINTER = r"(?:/(?:[^~/]|~[01])*)*"
_RELATIVE_POINTER = rf"(?:0|[1-9][0-9]*)(?:#|{_POINTER})"


def _ranges(*pairs: tuple[int, int]) -> str:
    return "".join(f"{chr(low)}-{chr(high)}" for low, high in pairs)


_PLANES = ((plane << 16, (plane << 16) + 0xFFFD) for plane in range(1, 14))
_UCS = _ranges((0xA0, 0xD7FF), (0xF900, 0xFDCF), (0xFDF0, 0xFFEF), *_PLANES, (0xE1000, 0xEFFFD))
"""RFC 3987's `ucschar`, for a character class."""
_PRIVATE = _ranges((0xE000, 0xF8FF), (0xF0000, 0xFFFFD), (0x100000, 0x10FFFD))


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


def _uri(*, reference: bool, more: str = "", in_query: str = "") -> str:
    """more, in_query: characters that URIs lack and IRIs have."""
    encoded = r"%[0-9A-Fa-f]{2}"
    ascii = r"A-Za-z0-9._~!$&'()*+,;=\-"
    plain = ascii + more
    char = rf"(?:[{plain}:@]|{encoded})"
    user = rf"(?:[{plain}:]|{encoded})*"
    name = rf"(?:[{plain}]|{encoded})*"
    future = rf"[Vv][0-9A-Fa-f]+\.[{ascii}:]+"
    host = rf"(?:\[(?:{_ipv6()}|{future})\]|{name})"
    authority = rf"(?:{user}@)?{host}(?::[0-9]*)?"
    path = rf"(?:/{char}*)*"
    rooted = rf"/(?:{char}+(?:/{char}*)*)?"
    tail = rf"(?:\?(?:{char}|[/?{in_query}])*)?(?:#(?:{char}|[/?])*)?"
    absolute = (
        rf"[A-Za-z][A-Za-z0-9+.-]*:(?://{authority}{path}|{rooted}|{char}+(?:/{char}*)*|){tail}"
    )
    if not reference:
        return absolute
    first = rf"(?:[{plain}@]|{encoded})+"
    relative = rf"(?://{authority}{path}|{rooted}|{first}(?:/{char}*)*|){tail}"
    return rf"{absolute}|{relative}"


def _iri(*, reference: bool) -> str:
    return _uri(reference=reference, more=_UCS, in_query=_PRIVATE)


def _uri_template(operators: str = "+#./;?&") -> str:
    encoded = r"%[0-9A-Fa-f]{2}"
    literal = rf"[!#$&-;=?-\[\]_a-z~{_UCS}{_PRIVATE}]|{encoded}"
    char = rf"(?:[A-Za-z0-9_]|{encoded})"
    variable = rf"{char}(?:\.?{char})*(?::[1-9][0-9]{{0,3}}|\*)?"
    return rf"(?:{literal}|\{{[{operators}]?{variable}(?:,{variable})*\}})*"


def _email(more: str = "") -> str:
    atom = rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~{more}-]+"
    quoted = rf'"(?:[ !#-\[\]-~{more}]|\\[ -~])*"'
    literal = rf"\[(?:{_IPV4}|IPv6:(?:{_ipv6()}))\]"
    return rf"(?:{atom}(?:\.{atom})*|{quoted})@(?:{_HOST}|{literal})"


def _term(pattern: str) -> ir.Regular:
    return regex_regular(pattern, ascii=True)


def _hostname() -> ir.Regular:
    names = _term(rf"{_PLAIN_LABEL}(?:\.{_PLAIN_LABEL})*")
    return ir.And((names, _term(r"[A-Za-z0-9.-]{1,253}")))


FORMATS: dict[str, Callable[[], ir.Regular]] = {
    "date": lambda: _term(_DATE),
    "time": lambda: _term(_TIME),
    "date-time": lambda: _term(rf"(?:{_DATE})[Tt]{_TIME}"),
    "naive-time": lambda: _term(_NAIVE_TIME),
    "naive-date-time": lambda: _term(rf"(?:{_DATE})[Tt]{_NAIVE_TIME}"),
    "duration": lambda: _term(_DURATION),
    "email": lambda: _term(_email()),
    "idn-email": lambda: _term(_email(_ranges((0x80, 0x10FFFF)))),
    "hostname": _hostname,
    "ipv4": lambda: _term(_IPV4),
    "ipv6": lambda: _term(_ipv6()),
    "uri": lambda: _term(_uri(reference=False)),
    "uri-reference": lambda: _term(_uri(reference=True)),
    "iri": lambda: _term(_iri(reference=False)),
    "iri-reference": lambda: _term(_iri(reference=True)),
    "uri-template": lambda: _term(_uri_template()),
    "uuid": lambda: _term(_UUID),
    "json-pointer": lambda: _term(_POINTER),
    "relative-json-pointer": lambda: _term(_RELATIVE_POINTER),
}
"""Builders by name; `format_term` calls each once."""

WIDER: dict[str, Callable[[], ir.Regular]] = {
    "date": lambda: _term(_WIDE_DATE),
    "time": lambda: _term(_LEAP_TIME),
    "date-time": lambda: _term(rf"(?:{_WIDE_DATE})[Tt]{_LEAP_TIME}"),
    "hostname": lambda: _term(_HOST),
    "idn-email": lambda: _term(r"(?s:.+@.+)"),
    "uri-template": lambda: _term(_uri_template("+#./;?&=,!@|")),
    "relative-json-pointer": lambda: _term(
        rf"(?:0|[1-9][0-9]*)(?:[+-](?:0|[1-9][0-9]*))?(?:#|{_POINTER})"
    ),
}
"""Where `FORMATS` leaves something out, a term without gaps."""

REFUSED_FORMATS = {
    "idn-hostname": 'Use "hostname", or format="annotate"',
    "regex": 'Use a `pattern`, or format="annotate"',
}
"""Formats of the specification that no regular term tells; the hints say what to use."""


@cache
def format_term(name: str, *, wide: bool = False) -> ir.Regular:
    """The strings of a format in `FORMATS`; wide: at least all of them, to be excluded."""
    return (WIDER.get(name, FORMATS[name]) if wide else FORMATS[name])()
