"""Structured logs on standard error: dotted event names plus fields, without secrets."""

from __future__ import annotations

import logging
import re
import sys
from typing import TYPE_CHECKING, Any, TextIO

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping

_MASK = "***"
# International numbers as calls carry them. Identifiers, times and sizes have no leading plus.
_TELEPHONE = re.compile(r"(?<![\w+])\+\d(?:[ ().-]?\d){6,14}(?!\w)")
_SECRET_FIELDS = re.compile(r"(?:^|[_-])(?:api[_-]?key|key|token|secret|password|authorization)$")
_SECRET_IN_TEXT = re.compile(
    r"(?i)(x-api-key|authorization|api[_-]?key|token|password)([\"']?\s*[:=]\s*[\"']?)"
    r"(?:bearer\s+)?[^\s\"',;&]+"
)


class Redactor:
    """A structlog processor that masks keys and telephone numbers wherever they stand."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = {secret for secret in secrets if secret}

    def add(self, secret: str) -> None:
        """Mask this text from now on."""
        self._secrets.add(secret)

    def text(self, text: str) -> str:
        """`text` with everything secret masked."""
        for secret in self._secrets:
            text = text.replace(secret, _MASK)
        text = _SECRET_IN_TEXT.sub(rf"\1\2{_MASK}", text)
        return _TELEPHONE.sub(_MASK, text)

    def __call__(
        self, _logger: object, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Mask an event's fields."""
        for name, value in event.items():
            event[name] = _MASK if _SECRET_FIELDS.search(name) else self._clean(value)
        return event

    def _clean(self, value: object) -> object:
        match value:
            case str():
                return self.text(str(value))
            case dict():
                return {
                    key: _MASK if _SECRET_FIELDS.search(str(key)) else self._clean(item)
                    for key, item in value.items()
                }
            case list() | tuple() | set():
                return [self._clean(item) for item in value]
            case None | bool() | int() | float():
                return value
            case _:
                return self.text(str(value))


def configure(*, json: bool, level: str, redactor: Redactor, stream: TextIO | None = None) -> None:
    """Send structlog's events to `stream` (standard error) as JSON lines or for people."""
    stream = stream or sys.stderr
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
            structlog.processors.format_exc_info,  # before the redactor, which reads it too
            redactor,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
