"""What each store promises, as classes of tests that any backend can run."""
