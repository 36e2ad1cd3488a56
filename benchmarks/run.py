"""`bin/bench [CASE ...]`: tsgan_jax compared with eager PyTorch on this machine's CPU.

A case is NAME:RESOLUTION:BATCH, where NAME is stylegan or dl_pix2pix (a training step), generate, or features (of
Inception, for the FID).  In each round both processes take one step while the other waits, in alternating order.  The
first step, which compiles, is reported separately and not compared.  The ratio is the median over the rounds of
(PyTorch's seconds / tsgan_jax's seconds), so a varying load affects both; above 1 tsgan_jax is faster.

set:RESOLUTION:COUNT is not compared with PyTorch: it makes a set, files included, and prints images a second, their
share of the networks' alone, and peak memory (benchmarks/sets.py).

PyTorch needs a separate environment: the interpreter named by TSGAN_BENCH_PYTHON, or .venv-bench.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
DEFAULT_CASES = ("stylegan:32:4", "dl_pix2pix:256:1", "generate:256:4", "features:128:8")
NAMES = ("stylegan", "dl_pix2pix", "generate", "features", "set")


class Worker:
    """A process that takes one step for each input line."""

    def __init__(self, command: list[str], case: list[str]) -> None:
        self._process = subprocess.Popen(
            [*command, *case], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.name = command[-1]
        self.parameters = int(self._answer()[1])

    def step(self) -> tuple[float, float]:
        """Seconds of one step, and the process's peak memory so far in MiB."""
        assert self._process.stdin is not None
        self._process.stdin.write("step\n")
        seconds, peak = self._answer()
        return float(seconds), float(peak)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> list[str]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"error: {self.name} ended with code {self._process.wait()}; its messages are above")
        return line.split()


@dataclass(frozen=True)
class Comparison:
    """One row of the table; seconds are medians over the rounds."""

    case: str
    torch_seconds: float
    jax_seconds: float
    ratio: float
    spread: tuple[float, float]  # smallest and largest ratio of a round
    first_seconds: float  # tsgan_jax's first step, with its compilation
    torch_mib: float
    jax_mib: float
    load: tuple[float, float]  # before and after, over one minute


def compare(case: str, torch_python: str, rounds: int) -> Comparison:
    """Run one case."""
    before = os.getloadavg()[0]
    torch = Worker([torch_python, str(HERE / "peer_torch.py")], case.split(":"))
    jax = Worker([sys.executable, "-m", "benchmarks.peer_jax"], case.split(":"))
    if torch.parameters != jax.parameters:
        sys.exit(f"error: {case}: PyTorch's networks have {torch.parameters} parameters, ours {jax.parameters}")
    torch.step()
    first, _ = jax.step()
    torch_times, jax_times, peaks = [], [], {}
    for i in range(rounds):
        for worker, times in ((torch, torch_times), (jax, jax_times))[:: 1 if i % 2 else -1]:
            seconds, peaks[worker] = worker.step()
            times.append(seconds)
    for worker in (torch, jax):
        worker.close()
    ratios = [a / b for a, b in zip(torch_times, jax_times, strict=True)]
    return Comparison(
        case,
        statistics.median(torch_times),
        statistics.median(jax_times),
        statistics.median(ratios),
        (min(ratios), max(ratios)),
        first,
        peaks[torch],
        peaks[jax],
        (before, os.getloadavg()[0]),
    )


def show(row: Comparison) -> None:
    """Print one row."""
    print(
        f"| {row.case} | {row.torch_seconds:.2f} | {row.jax_seconds:.2f} | {row.ratio:.2f} "
        f"({row.spread[0]:.2f} to {row.spread[1]:.2f}) | {row.first_seconds:.0f} "
        f"| {row.torch_mib:.0f} | {row.jax_mib:.0f} | {row.load[0]:.1f}, {row.load[1]:.1f} |",
        flush=True,
    )


def processor() -> str:
    """The CPU's name, if the system has it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(os.sched_getaffinity(0))} CPUs" if names else platform.processor() or platform.machine()


def case_name(text: str) -> str:
    """Check NAME:RESOLUTION:BATCH."""
    name, *sizes = text.split(":")
    if name not in NAMES or len(sizes) != 2 or not all(s.isdigit() and int(s) > 0 for s in sizes):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME:RESOLUTION:BATCH with NAME one of {', '.join(NAMES)}, for example {DEFAULT_CASES[0]}"
        )
    return text


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="bin/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", type=case_name, default=DEFAULT_CASES, metavar="CASE")
    parser.add_argument("--rounds", type=int, default=7, help="rounds after the first step (default 7)")
    parser.add_argument(
        "--roofline",
        action="store_true",
        help="print what every step costs and what two GPUs need for it; runs nothing",
    )
    arguments = parser.parse_args()
    compared = [case for case in arguments.cases if not case.startswith("set:")]
    for case in arguments.cases:
        if case not in compared:
            subprocess.run([sys.executable, "-m", "benchmarks.sets", *case.split(":")[1:]], check=True)
    if compared:
        compare_all(compared, arguments.rounds)


def compare_all(cases: Sequence[str], rounds: int) -> None:
    """Print the table of the cases that are compared with PyTorch."""
    torch_python = os.environ["TSGAN_BENCH_PYTHON"]
    torch_version = subprocess.run(
        [torch_python, "-c", "import torch; print(torch.__version__)"], capture_output=True, text=True, check=True
    ).stdout.strip()
    print(f"{processor()}; jax {version('jax')}, torch {torch_version}; {rounds} rounds, float32\n")
    print("| case | torch s | tsgan_jax s | ratio (range) | first step s | torch MiB | tsgan_jax MiB | load |")
    print("|---|---|---|---|---|---|---|---|")
    for case in cases:
        show(compare(case, torch_python, rounds))


if __name__ == "__main__":
    main()
