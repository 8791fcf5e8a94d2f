"""What a request gives its model to read whose tokens its bytes do not bound.

A URL is a few bytes, and so may be an image: a plain one of 2 kB can be 16,000 tokens.
A file's text is compressed, silence in a recording too. Such content is held for at the
model's context length, and its own bytes count for nothing beside that.
"""

__all__ = ["Unbounded"]


class Unbounded:
    """Gathers such content of one request.

    Attributes:
        found: Whether there is any.
        sent_bytes: How many bytes of the request it is itself, at most.
    """

    __slots__ = ("found", "sent_bytes")

    def __init__(self) -> None:
        self.found = False
        self.sent_bytes = 0

    def add(self, content: object = None) -> None:
        """Take one piece: a text, or an object that has it in one of its members.

        Args:
            content: What is in its place: itself, or a name by which it is found.
        """
        self.found = True
        texts = content.values() if isinstance(content, dict) else (content,)
        self.sent_bytes += sum(len(text) for text in texts if isinstance(text, str))
