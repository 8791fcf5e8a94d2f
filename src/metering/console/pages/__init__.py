"""Pages that people look at, written on the server; the API decides what they show."""
