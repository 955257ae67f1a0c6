"""Small file systems that can be filled up: a disk that is full is full in earnest."""

import ctypes
import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

_NEW_MOUNTS = 0x20000
"""CLONE_NEWNS of unshare(2)."""
_MOUNT, _UMOUNT = "/bin/mount", "/bin/umount"
_BALLAST = ".ballast"
_PIECE = 1024 * 1024


@functools.cache
def may_mount() -> bool:
    """Whether this process can mount file systems of its own."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as folder:
        try:
            probe = Disk(Path(folder), 1)
            probe.mount()
            probe.unmount()
        except (OSError, subprocess.SubprocessError):
            return False
    return True


def keep_mounts_private() -> None:
    """Let what this process mounts be seen by itself and its children alone; it is gone with the last of them.

    Does nothing where that is not allowed. To be called before there are threads.
    """
    if sys.platform == "linux" and os.geteuid() == 0 and ctypes.CDLL(None).unshare(_NEW_MOUNTS) == 0:
        subprocess.run([_MOUNT, "--make-rprivate", "/"], check=False, capture_output=True)


class Disk:
    """A file system in memory, of a size of its own."""

    def __init__(self, folder: Path, mebibytes: int) -> None:
        self.folder = folder
        self._mebibytes = mebibytes
        self._mounted = False

    def mount(self) -> None:
        """Put it in its place."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        options = f"size={self._mebibytes}m,mode=0700"
        subprocess.run(
            [_MOUNT, "-t", "tmpfs", "-o", options, "stagedoor", str(self.folder)], check=True, capture_output=True
        )
        self._mounted = True

    def unmount(self) -> None:
        """Take it away, with all that is on it."""
        if self._mounted:
            subprocess.run([_UMOUNT, "--lazy", str(self.folder)], check=False, capture_output=True)
            self._mounted = False

    def fill(self) -> None:
        """Leave no room on it."""
        with (self.folder / _BALLAST).open("ab") as ballast:
            for size in (_PIECE, 4096):
                try:
                    while True:
                        os.posix_fallocate(ballast.fileno(), ballast.seek(0, os.SEEK_END), size)
                except OSError:
                    continue

    def empty(self) -> None:
        """Let there be room again."""
        (self.folder / _BALLAST).unlink(missing_ok=True)
