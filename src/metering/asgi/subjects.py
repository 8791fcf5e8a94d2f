"""Of whom a limit may be: what a function or the body of a request says."""

from collections.abc import Callable

import msgspec
from starlette.types import Scope

from metering.dialects.dialect import Members

__all__ = ["FromBody", "Subject"]


class FromBody:
    """A member at the top of the JSON body, such as OpenAI's `user`.

    Args:
        member: Its name. A call without it, or with null there, is not limited.
    """

    def __init__(self, member: str) -> None:
        self.member = member

    def of(self, members: Members) -> str | None:
        """Return its value as text: a string as it is, else as JSON."""
        raw = members.get(self.member)
        if raw is None or bytes(raw) == b"null":
            return None
        value = msgspec.json.decode(raw)
        return value if isinstance(value, str) else bytes(raw).decode()


Subject = Callable[[Scope], str | None] | FromBody
"""Returns whose limit a request counts towards, such as its IP address."""
