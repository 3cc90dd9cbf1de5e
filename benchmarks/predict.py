"""Measure `dialsum predict` on data larger than memory should notice: rows a second, peak memory, a run after a kill.

python benchmarks/predict.py --rows 1000000 --work /tmp/predict
"""

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

TEXT = """내일 오후에 회의실에서 만나기로 했던 약속을 조금 미룰 수 있을까요 제가 병원에 들렀다가 가야 해서
늦을 것 같아요
그럼 저녁 일곱 시에 식당에서 뵙는 건 어떠세요 좋아요 예약은 제가 할게요 주차는 가능한지 전화로 물어볼게요"""


def write_dialogues(path: Path, rows: int, *, turns: int = 8, words: int = 10) -> None:
    """Dialogues of about 400 characters, as real ones have, all different."""
    draw, vocabulary = random.Random(0), TEXT.split()
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["fname", "dialogue"])
        for number in range(rows):
            lines = (f"#Person{1 + turn % 2}#: {' '.join(draw.choices(vocabulary, k=words))}." for turn in range(turns))
            writer.writerow([f"call_{number}", "\n".join(lines) + f" {number}"])


def predict(work: Path, data: Path, model: str, *, kill_after: float | None = None) -> dict[str, object]:
    """One run as a user has it, loading included: its wall time, its peak memory, what it says of itself."""
    command = [sys.executable, "-m", "dialsum_cli", "predict", "--model", model, "--data", str(data),
               "--output", str(work / "submission.csv"), "--output-dir", str(work / "runs"), "--overwrite",
               "--json"]  # fmt: skip
    start = time.perf_counter()
    with (work / "out.json").open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
        if kill_after is not None:
            time.sleep(kill_after)
            process.send_signal(signal.SIGKILL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    if kill_after is not None:
        return {"killed_after": round(seconds, 1)}
    result = json.loads((work / "out.json").read_text("utf-8"))
    return {
        "rows": result["rows"],
        "seconds": round(seconds, 1),
        "rows_per_second": round(result["rows"] / seconds),
        "cpu_seconds": round(
            usage.ru_utime + usage.ru_stime, 1
        ),  # what it would take on a machine with nothing else to do
        "peak_memory_mib": round(usage.ru_maxrss / 1024),
        "sha256": result["sha256"],
        "fit": result["check"]["fit"],
    }


def main() -> None:
    """Print one JSON line a run: a tenth of the rows, all of them, a run that is killed, and the same again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--model", default="lead1")
    parser.add_argument("--work", type=Path, required=True, help="folder for the data, about 1 kB a row")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    few, all_rows = arguments.work / "few.csv", arguments.work / "all.csv"
    write_dialogues(few, arguments.rows // 10)
    write_dialogues(all_rows, arguments.rows)
    print(json.dumps({"data": "a tenth"} | predict(arguments.work, few, arguments.model)))
    whole = predict(arguments.work, all_rows, arguments.model)
    print(json.dumps({"data": "all"} | whole))
    print(json.dumps(predict(arguments.work, all_rows, arguments.model, kill_after=whole["seconds"] / 2)))  # type: ignore[operator]
    again = predict(arguments.work, all_rows, arguments.model)
    print(json.dumps({"data": "again after the kill", "same": again["sha256"] == whole["sha256"]} | again))


if __name__ == "__main__":
    main()
