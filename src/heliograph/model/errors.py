"""The one error tree.

::

    HelioError
    ├── PeerError                 the other side is at fault; told to it, never with a stack trace
    │   ├── MalformedError        bytes that are not what the protocol says            400
    │   ├── UnauthorizedError     no credentials, or wrong ones                        401
    │   ├── ForbiddenError        known, but has no right                              403
    │   ├── NotFoundError         no such channel, reader, title                       404
    │   │   └── GoneError         it was there, and was ended on purpose               410
    │   ├── WrongStateError       right request, wrong moment                          455
    │   ├── UnsupportedError      understood, cannot be done (codec, transport)        415
    │   ├── IncompatibleError     nothing in common with what the peer can do          406
    │   ├── PreconditionError     asked for a state of things that is past         412/428
    │   ├── ConflictError         somebody else holds it                               409
    │   ├── TooLargeError         above a stated limit                                 413
    │   └── BusyError             a budget is spent; try again later                   503
    │       └── TooManyError      one peer asks too often or holds too much            429
    ├── SettingsError             a setting is wrong; says which and where
    ├── ResourceError             the machine refuses (port in use, disk full)         503
    │   └── AwayError             the database is away, and may come back              503
    └── RemoteError               a server we called failed, refused or fell silent    502
        └── UnreachableError      nobody was there to be asked: nothing was done       502

Every error carries ``status``, the HTTP-like code to send where a protocol needs one (a
protocol with other numbers maps it), and ``subject``, the id of what failed.
"""


class HelioError(Exception):
    """Root of every error raised on purpose."""

    status: int = 500

    def __init__(self, message: str, *, subject: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.subject = subject


class PeerError(HelioError):
    """The other side sent or asked something that cannot be honoured."""

    status = 400


class MalformedError(PeerError):
    """Bytes that do not follow the protocol.

    ``protocol`` names it (``"rtp"``, ``"sdp"``); ``offset`` is the byte or line at fault, if known.
    """

    status = 400

    def __init__(self, protocol: str, reason: str, *, offset: int | None = None) -> None:
        where = "" if offset is None else f" at {offset}"
        super().__init__(f"malformed {protocol}{where}: {reason}", subject=protocol)
        self.protocol = protocol
        self.reason = reason
        self.offset = offset


class UnauthorizedError(PeerError):
    """No credentials were shown, or wrong ones."""

    status = 401


class ForbiddenError(PeerError):
    """The peer is known but has no right to this."""

    status = 403


class NotFoundError(PeerError):
    """What was asked for does not exist."""

    status = 404


class GoneError(NotFoundError):
    """It existed and somebody with the right to do so has ended it; asking again is no use."""

    status = 410


class WrongStateError(PeerError):
    """The request is valid, but not in this state."""

    status = 455


class UnsupportedError(PeerError):
    """Understood, and cannot be done here."""

    status = 415


class IncompatibleError(PeerError):
    """What is there and what the peer can do have nothing in common."""

    status = 406


class PreconditionError(PeerError):
    """The request names a state of things that is past, or none where one is needed."""

    def __init__(self, message: str, status: int = 412) -> None:
        """``status``: 412 for a wrong one, 428 for none (RFC 6585 section 3)."""
        super().__init__(message)
        self.status = status


class ConflictError(PeerError):
    """Somebody else holds what was asked for."""

    status = 409


class TooLargeError(PeerError):
    """Above a stated limit."""

    status = 413


class BusyError(PeerError):
    """A budget is spent. ``retry_after`` is in seconds."""

    status = 503

    def __init__(
        self, message: str, *, subject: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message, subject=subject)
        self.retry_after = retry_after


class TooManyError(BusyError):
    """This peer asks too often, or holds too much already; others are served (RFC 6585, 429)."""

    status = 429


class SettingsError(HelioError):
    """A setting is wrong; the message says which one, and where it was set."""


class ResourceError(HelioError):
    """The machine refused: a port in use, a full disk, no descriptors left."""

    status = 503


class AwayError(ResourceError):
    """What is needed, the database, cannot be reached now: later it may, without being changed."""


class RemoteError(HelioError):
    """A server we called failed, refused us or fell silent."""

    status = 502


class UnreachableError(RemoteError):
    """Nobody was there to be asked, so nothing was done: asking somebody else does no harm."""
