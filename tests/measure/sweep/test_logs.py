"""What a log says of why a point failed, with torchrun's own account left out."""

import pytest

from walltime.measure.sweep.logs import cause, last_lines

PLACE = "00:55:48.349000 27390 torch/distributed/elastic/multiprocessing/api.py:1028]"
AGENT = f"""W1122 {PLACE} Sending process 7 closing signal SIGTERM
E1122 {PLACE} failed (exitcode: CODE) local_rank: 1 (pid: 27476) of binary: python
Traceback (most recent call last):
  File "run.py", line 1032, in <module>
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
Failures:
  host      : localhost
============================================================
"""
BANNER = (
    "*****\nSetting OMP_NUM_THREADS environment variable for each process to be 1 in default, to avoid ...\n*****\n"
)
TRACEBACK = (
    '[rank1]: Traceback (most recent call last):\n[rank1]:   File "x.py", line 1\n[rank1]: RuntimeError: no more\n'
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ""),
        ("one\ntwo\n\n", "two"),
        (BANNER, ""),
        (BANNER + TRACEBACK + AGENT.replace("CODE", "1"), "local rank 1 exit code 1: RuntimeError: no more"),
        (BANNER + TRACEBACK + AGENT.replace("CODE", "-9"), "local rank 1 killed by SIGKILL"),
        (BANNER + AGENT.replace("CODE", "3"), "local rank 1 exit code 3"),
        ("walltime: tp=3 does not divide.\n" * 2 + AGENT.replace("CODE", "2"), "tp=3 does not divide."),
        ("\xff\0 bytes that are no text", "\ufffd\0 bytes that are no text"),
        ("x" * 100_000, "x" * 300),
    ],
)
def test_the_cause(tmp_path, text, said):
    log = tmp_path / "log"
    log.write_bytes(text.encode("latin-1"))
    lines = last_lines(log)
    assert cause(lines) == said
    assert len(lines) <= 12
    assert not any("host" in line for line in lines)


def test_no_log_says_nothing(tmp_path):
    assert last_lines(tmp_path / "nowhere") == []
