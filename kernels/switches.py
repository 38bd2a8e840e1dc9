"""Variables of the environment that turn something on or off."""

from __future__ import annotations

import os

from ..errors import InvalidRequestError


def switch(name: str) -> bool | None:
    """Whether the environment says 1 or 0; None where it says nothing. Raises InvalidRequestError
    for all else: what somebody has asked for is never taken as unset."""
    given = os.environ.get(name, "")
    if given not in ("", "0", "1"):
        raise InvalidRequestError(
            expected="1 or 0, or the variable unset",
            got=repr(given),
            where=f"the environment's {name}",
        )
    return given == "1" if given else None
