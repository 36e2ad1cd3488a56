"""How commands end: with a message and an exit code, never with a traceback for a mistake of the user's."""

import signal
import sys
from collections.abc import Callable
from typing import Any

from tsgan_jax.errors import UserError


def ending(work: Callable[[], int], afterwards: str) -> int:
    """The exit code of `work()`; 2 for a UserError, 130 after Ctrl-C, 143 (by SystemExit) after SIGTERM.

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
    except KeyboardInterrupt:
        print(f"interrupted; {afterwards}", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
