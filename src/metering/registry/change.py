"""How a change of an account reaches every worker."""

from metering.accounts import Account, ApiKey
from metering.errors import StorageError
from metering.log import Log
from metering.stores import AccountVersions
from metering.tiers import TierResolver

__all__ = ["Change"]

_log = Log()


class Change:
    """Tells every worker that an account has changed.

    Args:
        resolver: Forgets what this process knows of it.
        versions: Where other processes see it.
    """

    def __init__(self, resolver: TierResolver, versions: AccountVersions) -> None:
        self._resolver = resolver
        self._versions = versions

    async def tell(self, account: Account) -> None:
        """Make the next call of *account* see it as it is now."""
        self._resolver.forget(account.id)
        try:
            await self._versions.announce(account.id, account.version)
        except StorageError as error:
            # The change stands. Other processes see it when what they know is too old.
            _log.error("change_not_told", account=account.id, error=str(error))

    async def tell_key(self, key: ApiKey) -> None:
        """Make the next call with *key* see it as it is now."""
        await self._resolver.forget_key(key.hash)
