"""bin/studio: a local page to draw and paint masks, see their CT at once, and save pairs as a set."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from tsgan_jax.cli._command import add_networks, ending, networks_folder, parser_of, program, whole

_EPILOG = """\
It prints an address for your browser; the token in it is the key, and is new each time.  Only this machine can reach
it unless --host says otherwise; then whoever has the address can use it, and the way to it is not encrypted.
Ctrl-C ends it.  Exit codes: 0 ended, 2 refused with a message.

example: bin/studio --network luna16-128 --out mine
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    parser = parser_of("studio", __doc__, _EPILOG)
    add_networks(parser)
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="default: 127.0.0.1, this machine alone")
    parser.add_argument("--port", type=whole(below=2**16), default=0, metavar="P", help="default: 0, any that is free")
    parser.add_argument(
        "--out", type=Path, default=Path("studio_set"), metavar="SET", help="set to save pairs to; default: studio_set"
    )
    arguments = parser.parse_args(argv)
    return ending(lambda: _run(arguments), "run the command again; saved pairs are kept")


def _run(arguments: argparse.Namespace) -> int:
    from tsgan_jax.config.reading import run_config

    run = networks_folder(arguments)
    run_config(run)  # or say what is wrong before the networks are loaded
    print(f"studio     loading the networks of {run.name}", flush=True)
    from tsgan_jax.generation.networks import load_run
    from tsgan_jax.studio.answers import Studio
    from tsgan_jax.studio.server import Server
    from tsgan_jax.train.devices import keep_compiled

    keep_compiled()
    studio = Studio(load_run(run), run.name, run, arguments.out)
    with Server(studio, arguments.host, arguments.port) as server:
        studio.compile()
        print(f"open       {server.url}\npairs      {arguments.out}\nCtrl-C ends it", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("ended")
    return 0


if __name__ == "__main__":
    program(main)
