"""Structured logs on standard error: dotted event names plus fields, without secrets."""

from __future__ import annotations

import logging
import re
import sys
from json import dumps
from typing import TYPE_CHECKING, Any, TextIO, cast
from urllib.parse import quote

from exporter.hidden import hidden

# Structlog imports rich, where there is any, for traces in colour that are not used here. It takes
# a tenth of a second, which a run of one recording would notice.
with hidden("rich"):
    import structlog

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping

_MASK = "***"
# International numbers as calls carry them: sizes and times have no leading plus, and where one
# stands inside an identifier, a word, a `.`, `-` or `@` is before it.
_TELEPHONE = re.compile(r"(?<![\w.@+-])\+\d(?:[ ().-]{0,2}\d){6,14}(?!\d)")
_NAMES = r"(?:api[_-]?key|token|secret|password|authorization)"
_SECRET_FIELDS = re.compile(
    rf"(?:^|[_-]|(?-i:(?<=[a-z])(?=[A-Z])))(?:{_NAMES}|key)$", re.IGNORECASE
)
_VALUE = r"(?:(?:bearer|basic|token)\s+)?[^\s\"',;&]+"
_SECRETS_IN_TEXT = (
    # `x-api-key: …` and the like, but not the name of a variable before a colon
    re.compile(rf"((?<![\w-])(?:x-)?{_NAMES}[\"']?\s*[:=]\s*[\"']?){_VALUE}", re.IGNORECASE),
    # `POLYAI_API_KEY=…`
    re.compile(rf"({_NAMES}=[\"']?){_VALUE}", re.IGNORECASE),
)
# Fields of ours that name a thing by its identifiers, which may look like a number or a secret.
_IDENTIFIER_FIELDS = frozenset({"account_id", "conversation_id", "path", "project_id", "recording"})


def get_logger() -> Any:  # noqa: ANN401 (structlog's own word for it)
    """As structlog's, for the modules that a command imports first: see above."""
    return structlog.get_logger()


class Redactor:
    """A structlog processor that masks keys and telephone numbers wherever they stand."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: list[str] = []
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str) -> None:
        """Mask this text from now on, also where it is quoted as Python, JSON or URLs do."""
        if secret:
            forms = {secret, repr(secret)[1:-1], dumps(secret)[1:-1], quote(secret, safe="")}
            # Longest first: a secret may be the beginning of another one.
            self._secrets = sorted({*self._secrets, *forms}, key=len, reverse=True)

    def text(self, text: str) -> str:
        """`text` with everything secret masked."""
        text = self._without_secrets(text)
        for pattern in _SECRETS_IN_TEXT:
            text = pattern.sub(rf"\1{_MASK}", text)
        return _TELEPHONE.sub(_MASK, text)

    def __call__(
        self, _logger: object, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Mask an event's fields."""
        for name, value in event.items():
            if name in _IDENTIFIER_FIELDS and isinstance(value, str):
                event[name] = self._without_secrets(value)
            else:
                event[name] = self._field(name, value)
        return event

    def _without_secrets(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, _MASK)
        return text

    def _field(self, name: str, value: object) -> object:
        if _SECRET_FIELDS.search(name) and value is not None:
            return _MASK
        match value:
            case None | bool() | int() | float():
                return value
            case str():
                return self.text(str(value))
            case dict():
                return {
                    self.text(str(key)): self._field(str(key), item) for key, item in value.items()
                }
            case list() | tuple() | set() | frozenset():
                return [self._field("", item) for item in value]
            case _:
                return self.text(str(value))


class _StandardError:
    """Standard error as it is when written to: a progress bar takes its place for a while."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()

    def isatty(self) -> bool:
        return sys.stderr.isatty()


def _without_nothing(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Fields that are not known are left out."""
    return {name: value for name, value in event.items() if value is not None}


def configure(*, json: bool, level: str, redactor: Redactor, stream: TextIO | None = None) -> None:
    """Send structlog's events to `stream` (standard error) as JSON lines or for people."""
    stream = stream or cast("TextIO", _StandardError())
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if json
        else structlog.dev.ConsoleRenderer(
            colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _without_nothing,
            structlog.processors.format_exc_info,  # before the redactor, which reads it too
            redactor,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
