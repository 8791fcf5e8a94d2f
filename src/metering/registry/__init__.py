"""What an operator does: accounts, keys, payments, credit, and looking them up."""

from metering.registry.accounts import Accounts
from metering.registry.billing import Billing
from metering.registry.change import Change

__all__ = ["Accounts", "Billing", "Change"]
