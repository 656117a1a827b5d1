"""What object stores and `obstore` say, in our words: the only place where their errors are read.

An answer has an HTTP status and mostly a code (`SlowDown`, `AuthenticationFailed`); the code says
more. A store's own text is shown only where nothing better is known: it may hold anything.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from obstore import exceptions

from exporter.errors import DestinationAwayError, DestinationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>([A-Za-z0-9.]{1,80})</Code>")
_MESSAGE: Final = re.compile(r"<Message>([^<]{1,200})")
_QUERY: Final = re.compile(r"(?<=\S)\?[^\s\"')>]+")  # of a URL: it may be signed
_SHOWN: Final = 200  # characters of a text that nobody foresaw


class _Words(NamedTuple):
    """What is wrong, and what to do about it.

    `is_away`: it says nothing about the content of what was to be read.
    """

    what: str
    hint: str
    is_away: bool = True


_CREDENTIALS: Final = _Words(
    "the store refuses the credentials",
    "Check the access key and the secret, or the role that this machine has; for temporary ones"
    " the session token, too.",
)
_EXPIRED: Final = _Words(
    "the credentials have expired",
    "Get new ones and run again: what is archived is skipped.",
)
_NO_BUCKET: Final = _Words(
    "the bucket does not exist",
    "Check its name, the region and the endpoint. exporter never creates a bucket.",
)
_REGION: Final = _Words(
    "the bucket is in another region, or behind another endpoint",
    "Set AWS_REGION or object_store.region to the bucket's region.",
)
_CLOCK: Final = _Words(
    "this machine's clock differs too much from the store's",
    "Set the clock (NTP), then run again.",
)
_BUSY: Final = _Words(
    "the store asks to slow down, and went on asking for object_store.retry_timeout",
    "Lower limits.concurrency, or run again later: what is archived is skipped.",
)
_AWAY: Final = _Words(
    "the store failed again and again",
    "Run again when it is well: what is archived is skipped.",
)
_CHECKSUM: Final = _Words(
    "the store received other bytes than were sent: the checksum does not match",
    "Something between this machine and the store changes what is sent, or its memory is faulty."
    " Nothing was stored.",
    is_away=False,
)
_FORBIDDEN: Final = _Words(
    "the store does not allow it",
    "docs/object-stores.md lists the permissions that are needed.",
)
_ENCRYPTION: Final = _Words(
    "the store cannot use the encryption key",
    "Check object_store.kms_key_id and the key's policy.",
)
_SETTING: Final = _Words(
    "the store refuses what the settings ask for",
    "Check storage_class, tags, encryption and lock_mode of object_store.",
    is_away=False,
)
_COLD: Final = _Words(
    "the object is in a storage class that cannot be read at once",
    "Restore it first; verify --quick compares checksums without reading.",
)
_CONFLICT: Final = _Words(
    "somebody else was writing the same object all the time",
    "Let one run at a time write to this archive.",
)
_IMMUTABLE: Final = _Words(
    "the store keeps it from being replaced",
    "A retention policy or a legal hold may apply to recordings only: manifests and the holder's"
    " object are replaced.",
)
_QUOTA: Final = _Words(
    "the store is full, or its quota is used up",
    "Free some space, or raise the quota, and run again.",
)
_CONDITIONS: Final = _Words(
    "the store does not know conditional writes",
    "Nothing would keep two runs from overwriting each other there: use a store that honours"
    " If-None-Match and If-Match.",
)
_NO_ANSWER: Final = _Words(
    "the store does not answer",
    "Check the endpoint, the network and the proxy.",
)
_NO_CREDENTIALS: Final = _Words(
    "there are no credentials for the store",
    "Set the store's usual environment variables (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, …);"
    " docs/object-stores.md lists them.",
)
_NO_ACCOUNT: Final = _Words(
    "the storage account is not known",
    "Set AZURE_STORAGE_ACCOUNT_NAME.",
)
_CERTIFICATE: Final = _Words(
    "the store's certificate is not trusted",
    "Name the PEM file of its authority: object_store.ca_file.",
)
_PLAIN_HTTP: Final = _Words(
    "the endpoint is plain http, which is refused for other machines",
    "Use https, or set object_store.allow_insecure_http: true if the network is private.",
)

_BUSY_WRITING: Final = ("ConditionalRequestConflict", "OperationAborted")
_NOT_REPLACED: Final = ("BlobImmutableDueToPolicy", "BlobImmutableDueToLegalHold")

_BY_CODE: Final[Mapping[str, _Words]] = {
    **dict.fromkeys(
        (
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "InvalidToken",
            "InvalidSecurity",
            "AuthenticationFailed",
            "InvalidAuthenticationInfo",
            "AuthenticationRequired",
        ),
        _CREDENTIALS,
    ),
    **dict.fromkeys(("ExpiredToken", "TokenRefreshRequired", "RequestExpired"), _EXPIRED),
    **dict.fromkeys(("NoSuchBucket", "ContainerNotFound", "InvalidBucketName"), _NO_BUCKET),
    **dict.fromkeys(
        ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"),
        _REGION,
    ),
    "RequestTimeTooSkewed": _CLOCK,
    **dict.fromkeys(
        (
            "SlowDown",
            "ServerBusy",
            "TooManyRequests",
            "ThrottlingException",
            "RequestLimitExceeded",
        ),
        _BUSY,
    ),
    **dict.fromkeys(
        (
            "BadDigest",
            "InvalidDigest",
            "XAmzContentSHA256Mismatch",
            "XAmzContentChecksumMismatch",
            "Md5Mismatch",
        ),
        _CHECKSUM,
    ),
    **dict.fromkeys(("QuotaExceeded", "XMinioStorageFull", "InsufficientStorage"), _QUOTA),
    **dict.fromkeys(
        ("InvalidStorageClass", "InvalidTag", "InvalidArgument", "InvalidRequest", "MalformedXML"),
        _SETTING,
    ),
    "NotImplemented": _CONDITIONS,
    **dict.fromkeys(("InvalidObjectState", "BlobArchived", "BlobBeingRehydrated"), _COLD),
    **dict.fromkeys(_BUSY_WRITING, _CONFLICT),
    **dict.fromkeys(_NOT_REPLACED, _IMMUTABLE),
}
_BY_STATUS: Final[Mapping[int, _Words]] = {
    301: _REGION,
    307: _REGION,
    401: _CREDENTIALS,
    403: _FORBIDDEN,
    404: _NO_BUCKET,
    429: _BUSY,
    501: _CONDITIONS,
    503: _BUSY,
    507: _QUOTA,
}
_BY_TEXT: Final = (
    # The role that the machine may have is asked for as the last resort.
    ("http://169.254.169.254/", _NO_CREDENTIALS),
    ("http://metadata.google.internal/", _NO_CREDENTIALS),
    ("Account must be specified", _NO_ACCOUNT),
    ("source: BadScheme", _PLAIN_HTTP),
    ("redirect without LOCATION", _REGION),
    ("invalid peer certificate", _CERTIFICATE),
    ("<Code>KMS.", _ENCRYPTION),
)

_BROKEN: Final = ("Error performing", "HTTP error: ")  # before an answer, and within one

_BY_CLASS: Final = (
    (exceptions.UnauthenticatedError, _CREDENTIALS),
    (exceptions.PermissionDeniedError, _FORBIDDEN),
    (PermissionError, _FORBIDDEN),
    (exceptions.NotSupportedError, _CONDITIONS),
    (NotImplementedError, _CONDITIONS),
)

FOREIGN: Final = (exceptions.BaseError, OSError, ValueError, NotImplementedError)
"""Whatever `obstore` raises."""


def status_of(error: BaseException) -> int | None:
    """The HTTP status of the store's answer; None where there was none."""
    match = _STATUS.search(str(error))
    return int(match[1]) if match else None


def code_of(error: BaseException) -> str | None:
    """The store's own word for what is wrong; None where it said none."""
    match = _CODE.search(str(error))
    return match[1] if match else None


def is_missing(error: BaseException) -> bool:
    """There is no such object; a missing bucket is another matter."""
    return isinstance(error, FileNotFoundError) and _BY_CODE.get(code_of(error) or "") is None


def is_conflict(error: BaseException) -> bool:
    """Another request for the same object was under way: this one may be made again."""
    return code_of(error) in _BUSY_WRITING


def is_condition(error: BaseException) -> bool:
    """What the request depended on is not so; of an error that `obstore` takes for one of these."""
    return code_of(error) not in {*_BUSY_WRITING, *_NOT_REPLACED}


def is_no_answer(error: BaseException) -> bool:
    """The connection broke: what was asked for may have been done or not."""
    return (
        isinstance(error, (exceptions.GenericError, OSError))
        and not isinstance(error, FileNotFoundError)
        and status_of(error) is None
        and _in_words(error) is _NO_ANSWER
    )


def destination_error(error: BaseException, what: str, verb: str) -> DestinationError:
    """An error of `obstore` in our words.

    Args:
        error: of one of the classes in `FOREIGN`.
        what: the archive or object, as people name it.
        verb: what was to be done with it: `read`, `write`.
    """
    words = _in_words(error)
    said = () if words is _NO_CREDENTIALS else (status_of(error), code_of(error))
    details = " ".join(str(each) for each in said if each)
    shown = f"{words.what} ({details})" if details else words.what
    kind = DestinationAwayError if words.is_away else DestinationError
    return kind(f"cannot {verb} {what}: {shown}", hint=words.hint)


def _in_words(error: BaseException) -> _Words:
    text, status = str(error), status_of(error)
    return (
        next((words for part, words in _BY_TEXT if part in text), None)
        or _BY_CODE.get(code_of(error) or "")
        or _BY_STATUS.get(status or 0)
        or (_AWAY if status is not None and status >= 500 else None)  # noqa: PLR2004 (server's)
        or next((words for kind, words in _BY_CLASS if isinstance(error, kind)), None)
        or (_NO_ANSWER if status is None and any(part in text for part in _BROKEN) else None)
        or _as_it_is(text)
    )


def _as_it_is(text: str) -> _Words:
    said = _MESSAGE.search(text)
    shown = said[1] if said else " ".join(_QUERY.sub("", text).split())
    return _Words(shown[:_SHOWN], "", is_away=False)


@contextlib.contextmanager
def translated(what: str, *, verb: str = "write", missing_is_fine: bool = False) -> Iterator[None]:
    """Errors of `obstore` become ours, with advice.

    Raises:
        FileNotFoundError: there is no such object, where the caller asks for that.
        DestinationError: everything else.
    """
    try:
        yield
    except FOREIGN as error:
        if missing_is_fine and is_missing(error):
            raise FileNotFoundError(what) from None
        raise destination_error(error, what, verb) from None
