"""A point that takes milliseconds: ``fake_point.py BEHAVIOUR RESULT`` behaves so, and writes what a point writes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def write(path, status="ok"):
    row = {"model_name": "fake", "step_time_s": "0.5", "tokens_per_s_per_gpu": "100", "status": status}
    content = {"row": row, "environment": {"device": "none"}, "result": {"step_times_s": [0.5, 0.5]}}
    part = path.with_name(path.name + ".writing")
    part.write_text(json.dumps(content))
    part.rename(path)
    with (path.parents[1] / "finished.log").open("a") as log:
        log.write(path.stem + "\n")


def stubborn(*, leave_the_group):
    """Start a process that does not answer SIGTERM, and whose parent is soon gone."""
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(300)"
    )
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", code], stdout=subprocess.PIPE, start_new_session=leave_the_group
    )
    child.stdout.readline()
    return child


def main(behaviour, path):
    match behaviour:
        case "ok":
            write(path)
        case "oom":
            write(path, "oom")
        case "slow":
            time.sleep(0.02)
            write(path)
        case "fail":
            print("something went wrong", file=sys.stderr)
            sys.exit(7)
        case "fail once":
            first = not (path.parent / "tried").exists()
            (path.parent / "tried").touch()
            sys.exit(1) if first else write(path)
        case "refuse":
            print("walltime: tp=3 does not divide num_heads=8.", file=sys.stderr)
            sys.exit(2)
        case "nothing":
            pass
        case "garbage":
            path.write_text('{"row": {"status": ')
        case "fail after":
            write(path)
            sys.exit(1)
        case "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        case "leave behind":
            stubborn(leave_the_group=True)
            write(path)
        case "hang":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            stubborn(leave_the_group=True)
            stubborn(leave_the_group=False)
            path.with_suffix(".hangs").touch()
            time.sleep(300)
        case "ranks":
            ranks = [stubborn(leave_the_group=True) for _ in range(2)]
            path.with_suffix(".ranks").write_text(" ".join(str(rank.pid) for rank in ranks))
            while all(rank.poll() is None for rank in ranks):
                time.sleep(0.01)
            print("rank died", file=sys.stderr)
            sys.exit(1)


main(sys.argv[1], Path(sys.argv[2]))
