"""What an operator does: accounts, keys, payments, credit, and looking them up."""

from metering.registry.accounts import Accounts
from metering.registry.billing import Billing
from metering.registry.change import Change
from metering.registry.corrections import Corrections
from metering.registry.repricing import Repriced

__all__ = ["Accounts", "Billing", "Change", "Corrections", "Repriced"]
