"""After a signal a command ends at once: threads and exit handlers of libraries are not waited for."""

import signal
import subprocess
import sys
import time

import pytest

PROGRAM = """
import atexit, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a script has put in the background
from tsgan_jax.cli._command import ending, program
from tsgan_jax.files import locked

def work():
    atexit.register(time.sleep, 60)
    threading.Thread(target=time.sleep, args=(60,)).start()
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("cleaned")  # into a buffer: must be flushed
    return 0

program(lambda: ending(work, "run it again"))
"""


@pytest.mark.parametrize(("signum", "code", "word"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "int")])
def test_a_signal_ends_a_command_at_once_and_cleaned_up(signum, code, word):
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    started = time.monotonic()
    process.send_signal(signum)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert time.monotonic() - started < 10  # well below a second on an idle machine
    assert out == "cleaned\n" and word in err and "run it again" in err
