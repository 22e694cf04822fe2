"""The previous release: the last state before the newest migration, taken from the git history where there is one."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tieout.store.revision import MIGRATIONS, newest
from tieout.store.upgrading import COMPATIBLE_SINCE

ROOT = Path(__file__).resolve().parents[2]


def _git(*arguments: str) -> bytes:
    done = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", *arguments], cwd=ROOT, capture_output=True, check=False
    )
    return done.stdout if done.returncode == 0 else b""


def previous_source(folder: Path) -> Path:
    """The `src` of the previous release, unpacked there. Skips the test where the history does not have it, or
    where the present tables do not let it work on beside them."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("the previous release: not a git checkout")
    (migration,) = MIGRATIONS.glob(f"versions/{newest()}_*.py")
    path = migration.relative_to(ROOT).as_posix()
    added = _git("log", "-1", "--diff-filter=A", "--format=%H", "--", path).decode().strip()
    archive = _git("archive", f"{added}^", "src") if added else b""
    if not archive:
        pytest.skip(f"the previous release: the history does not reach back to before {migration.name}")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
    source = folder / "src"
    revisions = sorted(
        one.name[:4] for one in (source / "tieout/store/migrations/versions").glob("[0-9]*.py")
    )
    if revisions[-1] < COMPATIBLE_SINCE:
        pytest.skip(
            f"the previous release ({revisions[-1]}) must stop first: tables from {COMPATIBLE_SINCE} on"
        )
    assert revisions[-1] < newest()
    return source
