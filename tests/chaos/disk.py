"""A disk that can be full for a moment.

Purpose: a memory file system of its own for the servers' data, made smaller than what it holds. Guarantees: no memory
is used to fill it; unmounted at the end, also after a killed predecessor. Never: without root.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

#: Bytes; far more than a run of half an hour writes.
SIZE = 6 << 30
PAGE = 4096


class SmallDisk:
    """Mounted at `path`."""

    def __init__(self, path: Path) -> None:
        """Raises OSError when it can't be mounted or made smaller."""
        self.path = path
        path.mkdir(mode=0o755)
        _mount("-t", "tmpfs", "-o", f"size={SIZE},mode=0755", "freshet-chaos", str(path))
        try:
            self.fill()
            self.free()
        except OSError:
            self.close()
            raise

    def fill(self) -> None:
        """Not another page fits."""
        for spare in (1, 64, 1024):  # pages: it grows while it is asked
            facts = os.statvfs(self.path)
            used = (facts.f_blocks - facts.f_bfree) * facts.f_frsize
            try:
                _mount("-o", f"remount,size={used + spare * PAGE}", str(self.path))
            except OSError:
                if spare == 1024:
                    raise
            else:
                return

    def free(self) -> None:
        """There is room again."""
        _mount("-o", f"remount,size={SIZE}", str(self.path))

    def close(self) -> None:
        """Unmount it; whoever is still in it keeps it until it ends."""
        subprocess.run(["umount", "--lazy", str(self.path)], capture_output=True, check=False)


def mounted_disk(path: Path) -> SmallDisk | None:
    """A small disk, or None where it can't be had."""
    if os.geteuid() != 0:
        return None
    try:
        return SmallDisk(path)
    except OSError:
        return None


def forget_dead() -> None:
    """Unmount what a killed predecessor left: its process id is in the path."""
    for path, pid in re.findall(r"^freshet-chaos (\S*freshet-chaos-(\d+)-\S+) ", _mounts(), re.MULTILINE):
        if not Path(f"/proc/{pid}").exists():
            subprocess.run(["umount", "--lazy", path], capture_output=True, check=False)


def _mounts() -> str:
    try:
        return Path("/proc/mounts").read_text()
    except OSError:
        return ""


def _mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"mount {' '.join(words)}: {done.stderr.strip()}")
