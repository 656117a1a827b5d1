"""Manifests loaded from text, and how they are refused."""

from __future__ import annotations

import io
from typing import Any

import pytest

from exporter.errors import ManifestError
from exporter.loader import Manifest, open_manifest
from exporter.model import Conversation, Direction, Redaction

HEAD = "version: 1\ndefaults: {account_id: ws-1, project_id: P-1}\nconversations:\n"


def opened(content: bytes | str, form: str | None = None) -> Manifest:
    raw = content.encode() if isinstance(content, str) else content
    return open_manifest("-", format=form, stdin=io.BytesIO(raw))


def loaded(content: bytes | str, form: str | None = None) -> list[Conversation]:
    with opened(content, form) as manifest:
        return list(manifest.conversations())


def refusal(content: bytes | str, form: str | None = None) -> ManifestError:
    with pytest.raises(ManifestError) as caught:
        loaded(content, form)
    assert caught.value.exit_code == 2
    return caught.value


ENTRY = '{"id":"C","account_id":"a","project_id":"p"}\n'


def expected(entry: dict[str, Any]) -> Conversation:
    directions, redaction = entry.get("directions"), entry.get("redaction")
    return Conversation(
        entry["account_id"],
        entry["project_id"],
        entry["id"],
        started_at=entry.get("started_at"),
        directions=tuple(dict.fromkeys(map(Direction, directions))) if directions else None,
        redaction=tuple(dict.fromkeys(map(Redaction, redaction))) if redaction else None,
    )
