"""What else a call may be paid by: the length of audio, and pictures."""  # noqa: INP001 - Alembic loads it by path

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the two leaves; what was posted before used none of either."""
    for leaf in ("audio_ms", "images"):
        column = sa.Column(leaf, _INT, nullable=False, server_default="0")
        op.add_column("usage_events", column)
