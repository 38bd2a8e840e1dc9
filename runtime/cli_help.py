"""`--help=PART`: one group of a command's flags, or one flag."""

from __future__ import annotations

import argparse
import difflib

from ..errors import InvalidRequestError
from . import cli_others

_UNNAMED = ("positional arguments", "options")  # argparse's own


def part(parser: argparse.ArgumentParser, name: str) -> str:
    """The help of a group, of a flag by any of its spellings, or of what others call them. Raises
    InvalidRequestError with the nearest name."""
    formatter = parser._get_formatter()
    groups = {str(group.title): group for group in parser._action_groups if group._group_actions}
    flags = {
        flag.lstrip("-"): action
        for flag, action in parser._option_string_actions.items()
        if action.help is not argparse.SUPPRESS
    }
    if name == cli_others.NAME and parser.get_default(cli_others.NAME) is not None:
        return cli_others.told() + "\n"
    if name == "all":
        return parser.format_help()
    if name in groups:
        formatter.start_section(name)
        formatter.add_arguments(groups[name]._group_actions)
    elif name.lstrip("-") in flags:
        formatter.start_section(parser.prog)
        formatter.add_arguments([flags[name.lstrip("-")]])
    else:
        others = [cli_others.NAME] if parser.get_default(cli_others.NAME) is not None else []
        own = [title for title in groups if title not in _UNNAMED] + [*others, "all"]
        names = [*own, *flags]
        near = difflib.get_close_matches(name, names, n=1)
        raise InvalidRequestError(
            expected=f"one of {', '.join(own)}, or a flag",
            got=repr(name),
            where="--help",
            hint=f"Did you mean {near[0]}?" if near else None,
        )
    formatter.end_section()
    return formatter.format_help()
