"""How long planning a clean-up of a large cache takes, and how much memory, beside scan_cache_dir alone."""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from huggingface_hub import constants, scan_cache_dir

from dialsum_cli.caches.plan import Wishes, make_plan

RESULT = Path(__file__).parent / "results" / "caches.json"
BAR = 1.3
REPOSITORIES = 100


def furnish(hub: Path, files: int) -> None:
    """Lay out repositories with that many files in all, each a blob and a link to it; a tenth is in two revisions."""
    each = files // REPOSITORIES
    for number in range(REPOSITORIES):
        folder = hub / f"models--owner--model-{number}"
        (folder / "blobs").mkdir(parents=True)
        (folder / "refs").mkdir()
        for revision, share in enumerate((each * 10 // 11, each - each * 10 // 11)):
            commit = f"{number * 2 + revision:040x}"
            (folder / "refs" / f"branch-{revision}").write_text(commit)
            snapshot = folder / "snapshots" / commit
            snapshot.mkdir(parents=True)
            for part in range(share):
                blob = folder / "blobs" / f"{part:064x}"
                if revision == 0:
                    blob.write_bytes(b"x")
                (snapshot / f"{part}.bin").symlink_to(f"../../blobs/{blob.name}")


def measure(task: Callable[[], object]) -> dict[str, float]:
    """Seconds of a task, and the process's peak memory in MiB after it."""
    start = perf_counter()
    task()
    return {"seconds": perf_counter() - start, "mebibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> None:
    """Make a cache, measure both in processes of their own by turns, keep the best of each, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", choices=("scan", "plan"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        hub = constants.HF_HUB_CACHE
        scan, plan = lambda: scan_cache_dir(hub), lambda: make_plan(Wishes(caches=("hub", "leftovers")))
        print(json.dumps(measure(scan if arguments.measure == "scan" else plan)))
        return
    with tempfile.TemporaryDirectory() as folder:
        hub = Path(folder) / "hub"
        furnish(hub, arguments.files)
        environment = {**os.environ, "HF_HUB_CACHE": str(hub)}
        seen: dict[str, list[dict[str, float]]] = {"scan": [], "plan": []}
        for _ in range(arguments.rounds):
            for what, measurements in seen.items():
                command = [sys.executable, __file__, "--measure", what]
                done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
                measurements.append(json.loads(done.stdout))
    best = {what: {unit: min(each[unit] for each in found) for unit in found[0]} for what, found in seen.items()}
    ratios = {unit: best["plan"][unit] / best["scan"][unit] for unit in best["scan"]}
    result = {"files": arguments.files, "scan_cache_dir": best["scan"], "plan": best["plan"], "ratio": ratios}
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    sys.exit(any(ratio > BAR for ratio in ratios.values()))


if __name__ == "__main__":
    main()
