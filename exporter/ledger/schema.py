"""The ledger's tables."""

from __future__ import annotations

from typing import Final

VERSION: Final = 1
APPLICATION_ID: Final = 0x504F4C59  # lets `file` and others tell our database from others

TABLES: Final = """
CREATE TABLE projects (
    id INTEGER PRIMARY KEY,
    account_id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    folded INTEGER NOT NULL,           -- the first project that differs from this by case only
    UNIQUE (account_id, project_id)
) STRICT;
CREATE TABLE conversations (
    id INTEGER PRIMARY KEY,
    project INTEGER NOT NULL REFERENCES projects,
    folded_project INTEGER NOT NULL,
    conversation_id TEXT NOT NULL COLLATE NOCASE,
    collides INTEGER NOT NULL,         -- 1: only case tells it from an earlier one: refused
    started_at TEXT
) STRICT;
CREATE INDEX conversations_by_name ON conversations (folded_project, conversation_id);
CREATE TABLE recordings (              -- what is archived: whole, verified files
    conversation INTEGER NOT NULL REFERENCES conversations,
    variant TEXT NOT NULL,             -- such as combined.redacted
    path TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    sha256 BLOB NOT NULL,
    codec TEXT NOT NULL,
    sample_rate INTEGER NOT NULL,
    channels INTEGER NOT NULL,
    bits_per_sample INTEGER NOT NULL,
    duration_seconds REAL NOT NULL,
    fetched_at TEXT NOT NULL,
    correlation_id TEXT,
    PRIMARY KEY (conversation, variant)
) STRICT, WITHOUT ROWID;
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL UNIQUE,
    started_at TEXT NOT NULL,
    finished_at TEXT,
    status TEXT,                       -- NULL while it runs, and for ever if it was killed
    exit_code INTEGER,
    conversations INTEGER NOT NULL DEFAULT 0,
    duplicates INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE outcomes (
    seq INTEGER PRIMARY KEY,           -- grows in the order of the manifest
    run INTEGER NOT NULL REFERENCES runs,
    conversation INTEGER NOT NULL REFERENCES conversations,
    variant TEXT NOT NULL,
    decision TEXT NOT NULL,
    status TEXT,                       -- NULL: planned and not done
    attempts INTEGER NOT NULL DEFAULT 0,
    error_kind TEXT,
    error_message TEXT,
    http_status INTEGER,
    error_code TEXT,
    correlation_id TEXT,
    UNIQUE (run, conversation, variant)
) STRICT;
"""
