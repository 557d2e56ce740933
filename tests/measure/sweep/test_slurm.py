"""Scripts for Slurm: the text that submitit writes, and what a table ``[slurm]`` may say."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from walltime.measure.sweep import slurm as module
from walltime.measure.sweep.flags import Flag
from walltime.measure.sweep.folder import Folder
from walltime.measure.sweep.points import Point
from walltime.measure.sweep.slurm import scripts, slurm_of
from walltime.measure.sweep.sweep_file import read_sweep
from walltime.problems import BadInput, MissingExtra

FLAGS = {name: Flag(name, "whole", f"--{name.replace('_', '-')}") for name in ("batch", "dp")}
FLAGS["device"] = Flag("device", "text", "--device")
TABLE = {
    "gpus_per_node": 8,
    "partition": "gpu",
    "time": "30min",
    "cpus_per_task": 12,
    "python": "python",
    "setup": ["module load cuda"],
    "sbatch": {"reservation": "benchmarks", "exclusive": True},
}
SCRIPT = """#!/bin/bash

# Parameters
#SBATCH --cpus-per-task=12
#SBATCH --exclusive
#SBATCH --gpus-per-node=8
#SBATCH --job-name=walltime-abc123
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --open-mode=append
#SBATCH --output=/sweeps/S/logs/%j_0_log.out
#SBATCH --partition=gpu
#SBATCH --reservation=benchmarks
#SBATCH --signal=USR2@90
#SBATCH --time=32

# setup
[ -e /sweeps/S/results/abc123.json ] && exit 0  # measured already
module load cuda
export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_PORT=$((10000 + SLURM_JOB_ID % 20000))

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /sweeps/S/logs/%j_%t_log.out --kill-on-bad-exit=1 --cpus-per-task=12 \
python -m walltime measure train llama-3.1-8b --batch=32 --dp=16 --result=/sweeps/S/results/abc123.json
"""
PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "run_a_sweep.md"
FOLDER = Folder(Path("/sweeps/S"))


def point(num_gpus, point_id="abc123", **options):
    resolved = {"model": "llama-3.1-8b", "batch": 2 * num_gpus, "dp": num_gpus, **options}
    return Point(point_id, num_gpus, resolved, tables=("weak",))


def table(**changed):
    return slurm_of({**TABLE, **changed}, 60.0, Path("S.toml"))


def test_the_script_of_a_point():
    pytest.importorskip("submitit")
    texts, left_out = scripts([point(16)], FLAGS, FOLDER, table())
    assert left_out == []
    assert texts["abc123.sbatch"] == SCRIPT
    assert texts["submit.sh"] == '#!/bin/bash\nset -e\ncd "$(dirname "$0")"\nsbatch abc123.sbatch\n'
    for text in texts.values():
        subprocess.run(["bash", "-n"], input=text, text=True, check=True)


def test_less_than_a_node_asks_for_what_it_needs_and_cpus_for_no_gpus():
    pytest.importorskip("submitit")
    asked = [point(4, "few"), point(4, "cpus", device="cpu"), point(12, "odd")]
    texts, left_out = scripts(asked, FLAGS, FOLDER, table())
    assert list(texts) == ["few.sbatch", "cpus.sbatch", "submit.sh"]
    for text in (texts["few.sbatch"], texts["cpus.sbatch"]):
        assert "--nodes=1\n#SBATCH --ntasks-per-node=4\n" in text
    assert "--gpus-per-node=4" in texts["few.sbatch"]
    assert "gpus-per-node" not in texts["cpus.sbatch"]
    assert [(each.point_id, each.reason) for each in left_out] == [
        ("odd", "gpus=12 does not fill nodes of gpus_per_node=8.")
    ]


def test_the_time_of_a_job_is_that_of_a_point_unless_it_is_said():
    assert table().time_s == 1800
    assert slurm_of({"gpus_per_node": 4}, 60.0, Path("S.toml")).time_s == 60


def test_without_submitit_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    monkeypatch.setitem(sys.modules, "submitit.slurm.slurm", None)
    with pytest.raises(MissingExtra, match="sbatch scripts are written through submitit: pip install"):
        scripts([point(8)], FLAGS, FOLDER, table())
    assert module.INSTALL == "pip install 'walltime[slurm]'"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"partitions": "x"}, "unknown field 'partitions'. Did you mean 'partition'?"),
        ({"gpus_per_node": "8"}, "gpus_per_node='8' must be a whole number"),
        ({"time": "30"}, "time='30' has no unit"),
        ({"partition": 3}, "partition=3 must be text"),
        ({"setup": "module load cuda"}, "setup='module load cuda' must be a list of texts"),
        ({"sbatch": ["x"]}, "sbatch=.* must be a table"),
        ({"cpus_per_task": 0}, "cpus_per_task=0 must be a whole number of at least 1"),
    ],
)
def test_what_is_wrong_with_the_table_is_said(changed, said):
    with pytest.raises(BadInput, match=f"S.toml: slurm.*{said}"):
        table(**changed)


def test_the_size_of_a_node_must_be_said():
    with pytest.raises(BadInput, match="gpus_per_node is not given"):
        slurm_of({}, 60.0, Path("S.toml"))


def test_the_script_runs_its_point_once(tmp_path, file, monkeypatch):
    """With stand-ins for srun and scontrol, and a Python that shows what it was told."""
    pytest.importorskip("submitit")
    told = tmp_path / "told"
    file("scontrol", "#!/bin/bash\necho node7\necho node8\n").chmod(0o755)
    file("srun", '#!/bin/bash\nwhile [ "$1" != python ]; do shift; done\nshift\nexec showing "$@"\n').chmod(0o755)
    file("showing", f'#!/bin/bash\necho "$MASTER_ADDR $MASTER_PORT $*" >> {told}\ntouch "${{@: -1}}"\n').chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "20042")
    folder = Folder(tmp_path / "S")
    folder.make()
    texts, _ = scripts([point(16)], FLAGS, folder, table(setup=[]))
    script = texts["abc123.sbatch"].replace("--result=", "")  # so that the last argument is the file
    for _ in range(2):
        subprocess.run(["bash", "-e"], input=script, text=True, check=True)
    result = folder.result("abc123")
    assert told.read_text().splitlines() == [
        f"node7 10042 -m walltime measure train llama-3.1-8b --batch=32 --dp=16 {result}"
    ]


def test_the_example_of_the_documentation(file):
    """The page's other example is run by the tests of the documentation."""
    blocks = re.findall(
        r"^```toml\n# large.toml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    sweep = read_sweep(file("large.toml", blocks[0]), {"seq_len": Flag("seq_len", "whole", "--seq-len")})
    read = slurm_of(sweep.slurm, sweep.timeout_s, sweep.path)
    assert (read.gpus_per_node, read.time_s, read.parameters) == (8, 1200, {"partition": "gpu"})
