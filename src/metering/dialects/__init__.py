"""Wire dialects: bytes in, facts out. One file each, and `known`, their table."""
