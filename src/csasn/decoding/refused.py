"""A file that cannot be used, and why: a stable code and a reason for people."""


class RefusedPicture(Exception):  # noqa: N818 - a refusal is an entry of the ledger, not an error of the program
    """A file that cannot be used: `code` is stable and goes into the ledger, `reason` is for people."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason

    def __reduce__(self) -> tuple[type["RefusedPicture"], tuple[str, str]]:
        """Both words travel between processes."""
        return type(self), (self.code, self.reason)
