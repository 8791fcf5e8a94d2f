"""INSERT with ON CONFLICT, which SQLite and PostgreSQL write alike.

SQLAlchemy has a construct for each. PostgreSQL's knows all that SQLite's knows, so that
either compiler takes it; the contract of ledgers runs every use of it on both.
"""

from sqlalchemy.dialects.postgresql import insert

__all__ = ["insert"]
