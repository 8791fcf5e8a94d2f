"""The JSON API: what it is asked, what it answers, and who does it."""
