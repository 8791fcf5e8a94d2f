"""A simulated platform, laws that share it out, and what each of them achieves."""
