"""What libraries would do when they are imported, and are kept from."""

from __future__ import annotations

import importlib
import os
import ssl
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from exporter.hidden import hidden, no_authorities

if TYPE_CHECKING:
    from pathlib import Path


def test_a_hidden_package_is_not_found_until_it_is_shown_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within, importing it fails as if it were not installed; afterwards it is as before."""
    (tmp_path / "made_up_package.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    with hidden("made_up_package"), pytest.raises(ModuleNotFoundError):
        importlib.import_module("made_up_package")
    module = importlib.import_module("made_up_package")
    with hidden("made_up_package"):
        assert importlib.import_module("made_up_package") is module
    monkeypatch.delitem(sys.modules, "made_up_package")


@pytest.mark.parametrize("before", [None, "/some/where"])
def test_authorities_are_not_found_until_afterwards(
    before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within, a new context trusts nobody; afterwards the environment is as it was."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    if before is not None:
        monkeypatch.setenv("SSL_CERT_FILE", before)
    with no_authorities():
        assert ssl.create_default_context().cert_store_stats()["x509_ca"] == 0
    assert os.environ.get("SSL_CERT_FILE") == before
    assert "SSL_CERT_DIR" not in os.environ


@pytest.mark.parametrize("module", ["running", "discovering", "checking", "consulting", "inquiry"])
def test_a_command_starts_without_what_it_does_not_use(module: str) -> None:
    """The libraries of progress bars, object stores and listings are not imported at first."""
    unused = {"rich", "obstore", "pygments", "ijson"}
    told = subprocess.run(
        [sys.executable, "-c", f"import exporter.{module}, sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert unused.isdisjoint(told.stdout.split())
