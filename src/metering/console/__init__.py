"""What a person or a program is shown of accounts, over HTTP, apart from calls."""
