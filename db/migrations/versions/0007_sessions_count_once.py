"""Services of one session count as one open call: what is open is counted anew."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_CALL_OR_SESSION = "coalesce(c.switch || ':' || c.session, h.call_id)"


def upgrade() -> None:
    """Apply. Only accounts with sessions of several services change."""
    _count(_CALL_OR_SESSION)


def downgrade() -> None:
    """Undo: each service is a call again."""
    _count("h.call_id")


def _count(what: str) -> None:
    open_calls = (
        f"(SELECT count(DISTINCT {what}) FROM holds h LEFT JOIN calls c ON c.call_id = h.call_id "
        "WHERE h.account_id = accounts.account_id)"
    )
    op.execute(f"UPDATE accounts SET open_calls = {open_calls} WHERE open_calls > 0")
