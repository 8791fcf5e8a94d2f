"""How keys look in Redis, and which of them lie together."""

from metering.errors import ConfigurationError

__all__ = ["Keys", "require_text", "tagged"]


def require_text(*names: str) -> None:
    """Refuse what cannot be sent, before it spoils what is sent together with it.

    Raises:
        ConfigurationError: A name has half a surrogate pair in it.
    """
    for name in names:
        if name.isascii():
            continue
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ConfigurationError(
                f"{name!r} has half a surrogate pair in it, which no key, hold or"
                " account may have in Redis. Take it out."
            ) from None


def tagged(key: str) -> tuple[str, str]:
    """Return the hash tag of a demand's key, and the key with that tag in braces.

    The tag is what is in its first braces, or else all of it. Keys of one tag are in
    one slot of a cluster, so they can be decided over together.
    """
    start = key.find("{")
    end = key.find("}", start + 1)
    if 0 <= start < end - 1:
        return key[start + 1 : end], key
    return key, f"{{{key}}}"


class Keys:
    """Names of keys, by what is kept there.

    Args:
        prefix: What they all begin with, before a colon.

    Raises:
        ConfigurationError: The prefix has braces, which would be the tag of all keys,
            or an "@", which marks holds.
    """

    def __init__(self, prefix: str) -> None:
        if not prefix or {*"{}@"} & {*prefix}:
            raise ConfigurationError(
                f'prefix {prefix!r} is empty or has one of "{{}}@" in it. Use a plain'
                ' word, such as "metering".'
            )
        self.due = f"{prefix}:due:"
        """Before the key of a rate: the instant at which it is whole again."""
        self.spent = f"{prefix}:spent:"
        """Before the key of a budget: what it has spent."""
        self._holds = f"{prefix}:holds:{{"
        self._done = f"{prefix}:done:{{"
        self._version = f"{prefix}:version:{{"

    def holds(self, tag: str) -> str:
        """Where all holds of a tag are."""
        return f"{self._holds}{tag}}}"

    def done(self, tag: str, hold_id: str) -> str:
        """What is there while a hold is remembered as settled."""
        return f"{self._done}{tag}}}:{hold_id}"

    def version(self, account_id: str) -> str:
        """Where the version of an account is announced."""
        return f"{self._version}{account_id}}}"
