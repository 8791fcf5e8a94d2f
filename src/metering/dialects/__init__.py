"""Wire dialects: bytes in, facts out. One file each, and `registry`, their table."""
