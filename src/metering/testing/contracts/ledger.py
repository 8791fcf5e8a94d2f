"""What a ledger promises: a class of tests that any backend can run.

```python
class TestMyLedger(LedgerContract):
    @pytest.fixture
    def ledger(self):
        with closing(MyLedger(tiers=PLAN)) as ledger:
            yield ledger
```
"""

from metering.testing.contracts.accounts import AccountStoreContract
from metering.testing.contracts.books import BooksContract
from metering.testing.contracts.correcting import CorrectingContract
from metering.testing.contracts.days import DaysContract
from metering.testing.contracts.funding import FundingContract
from metering.testing.contracts.history import HistoryContract
from metering.testing.contracts.invoicing import InvoicingContract
from metering.testing.contracts.listing import ListingContract
from metering.testing.contracts.posting import PostingContract
from metering.testing.contracts.prices import PriceStoreContract
from metering.testing.contracts.reading import ReadingContract
from metering.testing.contracts.samples import PLAN
from metering.testing.contracts.sessions import SessionsContract
from metering.testing.contracts.taking_back import TakingBackContract

__all__ = [
    "PLAN",
    "AccountStoreContract",
    "LedgerContract",
    "LedgerReaderContract",
    "LedgerWriterContract",
    "PriceStoreContract",
]


class LedgerWriterContract(
    PostingContract, FundingContract, BooksContract, TakingBackContract
):
    """Events, payments and credit, and the books of them."""


class LedgerReaderContract(ReadingContract, DaysContract):
    """Periods, credit, events, totals and days."""


class LedgerContract(
    AccountStoreContract,
    PriceStoreContract,
    LedgerWriterContract,
    LedgerReaderContract,
    InvoicingContract,
    CorrectingContract,
    HistoryContract,
    ListingContract,
    SessionsContract,
):
    """All that is kept in one database.

    A third party gives the fixture `ledger`: an empty ledger made with `PLAN`.
    """
