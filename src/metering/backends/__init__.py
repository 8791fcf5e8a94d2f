"""Stores: where limits and the ledger are kept, one way a module."""
