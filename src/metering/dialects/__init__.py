"""Wire dialects: bytes in, facts out. One file each; `registry` is the table of them."""
