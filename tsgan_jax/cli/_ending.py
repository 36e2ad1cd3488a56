"""How commands end: with a message and an exit code, never with a traceback for a mistake of the user's."""

import errno
import signal
import sys
from collections.abc import Callable
from typing import Any

from tsgan_jax.errors import UserError

OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR}
"""What the place of a file is to blame for, and the user can change."""


def ending(work: Callable[[], int], afterwards: str) -> int:
    """The exit code of `work()`: 2 for a UserError or a disk that refuses, 130 after Ctrl-C.  SIGTERM exits with 143.

    afterwards: what an interrupted user is told, "run the command again to ...".
    """

    def terminate(signum: int, frame: Any) -> None:
        print(f"terminated; {afterwards}", file=sys.stderr)
        sys.exit(128 + signum)

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        return work()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in OF_THE_DISK:
            raise
        place = f"{error.filename}: " if error.filename else ""
        print(f"error: {place}{error.strerror}; check the disk and permissions, then {afterwards}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted; {afterwards}", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
