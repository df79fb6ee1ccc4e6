"""Why a request gets no answer."""


class RefusedError(Exception):
    """A request that gets no answer but why not. status: of HTTP."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status, self.message = status, message


class GoneError(RefusedError):
    """The client went away before its request was complete: nobody reads the answer, the log counts it."""

    def __init__(self) -> None:
        super().__init__(499, "the client went away")


class BusyError(RefusedError):
    """Come back later. retry: after so many seconds."""

    def __init__(self, status: int, message: str, retry: int = 1):
        super().__init__(status, message)
        self.retry = retry
