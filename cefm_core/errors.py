"""The few ways in which work can go wrong, each with its own remedy.

A bad *item* is a row in the rejects table; a bad *run* raises. Nothing else belongs here.
"""


class CefmError(Exception):
    """Base of every error that CEFM raises on purpose; its text is written for the person who runs it."""


class ConfigurationError(CefmError):
    """A setting, weight file, store or server is unusable; raised in preflight, before the first image."""


class BadItemError(CefmError):
    """One item cannot be processed; it becomes a reject row and the batch goes on.

    Args:
        code: Documented reason code in snake_case, e.g. ``truncated``.
        message: What is wrong with this item and what would mend it.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class IntegrityError(CefmError):
    """A stored object is missing or its bytes are not those its reference promises."""


class StoreError(CefmError):
    """The store does not answer, refuses, or has no room; what was asked of it may be asked again."""


class GateFailedError(CefmError):
    """A table failed the data-quality gate between two stages; the run stops with exit code 3."""


class ConflictError(CefmError):
    """Another run published first; this one stops without having changed anything."""
