"""bin/verify: whether files are as they were written; changes nothing."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tsgan_jax.cli._command import ending, parser_of, program

_EPILOG = """\
PATH is a run directory, a generated set, packed networks, a folder of prepared slices, a LUNA16 tree, or a file of
VGG-19's or Inception's weights.  Checkpoints, sets and networks are compared with the hashes written beside them,
prepared slices by their records' checksums; scans are judged as bin/prepare judges them.
Exit codes: 0 all is well, 1 something is damaged, 2 refused with a message.

examples: bin/verify runs/luna16
          bin/verify /data/LUNA16 --json
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    parser = parser_of("verify", __doc__, _EPILOG)
    parser.add_argument("path", type=Path, metavar="PATH")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    arguments = parser.parse_args(argv)
    return ending(lambda: _run(arguments.path, arguments.json), "run the command again")


def _run(path: Path, as_json: bool) -> int:
    from tsgan_jax.experiment.verify import verify

    found = []
    for finding in verify(path):
        found.append(finding)
        if not as_json:
            print(f"{finding.status:8} {finding.path}: {finding.note}", flush=True)
    if as_json:
        print(json.dumps([asdict(finding) for finding in found], indent=1))
    else:
        counts = (f"{sum(one.status == name for one in found)} {name}" for name in ("ok", "warning", "damaged"))
        print(f"{path}: {', '.join(counts)}")
    return int(any(finding.status == "damaged" for finding in found))


if __name__ == "__main__":
    program(main)
