"""How a command ends: 0 where all is well."""

__all__ = ["FAILED", "FOUND", "READER_GONE"]

FOUND = 1
"""It looked for faults and found some."""

FAILED = 2
"""It could not do its work: arguments, plan, or a store that does not answer."""

READER_GONE = 141
"""Who read its answer had enough, as `head` has: what a shell says of SIGPIPE."""
