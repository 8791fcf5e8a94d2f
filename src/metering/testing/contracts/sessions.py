"""What a ledger promises of who is signed in to the console."""

from msgspec.structs import replace

from metering.stores import Ledger, Session
from metering.testing.contracts.samples import at, key_of, open_account

__all__ = ["SessionsContract"]

_NOON_NS = at("2026-01-15T12:00")
_HOUR_NS = 3600 * 10**9
_OPERATOR = Session(
    token_hash="of-operator",
    account_id=None,
    credential="operator:fingerprint",
    created_ns=_NOON_NS,
    expires_ns=_NOON_NS + _HOUR_NS,
)


class SessionsContract:
    """Runs on the fixture `ledger`."""

    def test_a_session_is_found_until_it_expires(self, ledger: Ledger) -> None:
        """To the nanosecond, and by its own hash alone."""
        sessions = ledger.sessions
        sessions.begin(_OPERATOR, at_most=2)

        assert _OPERATOR == sessions.find(
            "of-operator", now_ns=_OPERATOR.expires_ns - 1
        )
        assert sessions.find("of-operator", now_ns=_OPERATOR.expires_ns) is None
        assert sessions.find("of-nobody", now_ns=_NOON_NS) is None

    def test_a_session_that_was_ended_is_over(self, ledger: Ledger) -> None:
        """Ended twice is ended; another one goes on."""
        sessions = ledger.sessions
        sessions.begin(_OPERATOR, at_most=2)
        sessions.begin(replace(_OPERATOR, token_hash="other"), at_most=2)

        for _ in range(2):
            sessions.end("of-operator")

        assert sessions.find("of-operator", now_ns=_NOON_NS) is None
        assert sessions.find("other", now_ns=_NOON_NS) is not None

    def test_a_session_is_over_with_its_key(self, ledger: Ledger) -> None:
        """A key that is revoked shows nothing any more; nor does one nobody issued."""
        open_account(ledger)
        key = key_of("acme")
        ledger.add_key(key)
        own = replace(_OPERATOR, account_id="acme", credential=key.id)
        ghost = replace(own, token_hash="of-ghost", credential="no-such-key")
        ledger.sessions.begin(own, at_most=2)
        ledger.sessions.begin(ghost, at_most=2)
        before = ledger.sessions.find("of-operator", now_ns=_NOON_NS)

        ledger.revoke_key(key.id, now_ns=_NOON_NS)

        assert own == before
        assert ledger.sessions.find("of-operator", now_ns=_NOON_NS) is None
        assert ledger.sessions.find("of-ghost", now_ns=_NOON_NS) is None

    def test_a_credential_has_so_many_sessions_at_most(self, ledger: Ledger) -> None:
        """The oldest leaves first; those of another credential stay."""
        sessions = ledger.sessions
        sessions.begin(replace(_OPERATOR, credential="another"), at_most=2)
        for number in range(4):
            begun = replace(
                _OPERATOR, token_hash=f"of-{number}", created_ns=_NOON_NS + number
            )
            sessions.begin(begun, at_most=2)

        names = ["of-operator", *(f"of-{number}" for number in range(4))]
        assert ["of-operator", "of-2", "of-3"] == [
            name for name in names if sessions.find(name, now_ns=_NOON_NS)
        ]

    def test_what_has_expired_is_forgotten(self, ledger: Ledger) -> None:
        """With the next that begins, so that the table holds no more than is in use."""
        sessions = ledger.sessions
        sessions.begin(_OPERATOR, at_most=2)
        later_ns = _OPERATOR.expires_ns
        later = replace(
            _OPERATOR,
            token_hash="later",
            created_ns=later_ns,
            expires_ns=later_ns + _HOUR_NS,
        )
        sessions.begin(later, at_most=2)

        assert sessions.find("of-operator", now_ns=_NOON_NS) is None
        assert later == sessions.find("later", now_ns=later_ns)
