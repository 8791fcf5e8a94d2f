"""What becomes of a call that was served to its end and never told what it used."""

from typing import Literal

from metering.log import Log

__all__ = ["MissingPolicy", "MissingUsage"]

MissingPolicy = Literal["estimate", "fail", "free"]
"""`estimate`: charged for what was counted. `fail`: charged what was held, and set
apart for whoever looks into it. `free`: not charged."""

_log = Log()


class MissingUsage:
    """The operator's policy, and whom it was told of.

    Args:
        policy: What becomes of such a call.

    Attributes:
        policy: The same.
    """

    __slots__ = ("_told", "policy")

    def __init__(self, policy: MissingPolicy = "estimate") -> None:
        self.policy: MissingPolicy = policy
        self._told: set[str] = set()  # at most the names in the price book

    def tell(self, model: str) -> None:
        """Log, once a model, that its app does not tell what calls use.

        Args:
            model: Its name in the price book, which bounds how many are remembered.
        """
        if model not in self._told:
            self._told.add(model)
            _log.warning("usage_missing", model=model, policy=self.policy)
