"""What is known, and who says so: the files of ``data/`` as checked records.

The catalog knows no physics. Every record keeps its numbers together with their provenance; the rooms below
(`walltime.hardware`, `walltime.limits`) take plain floats out of them.
"""

from walltime.catalog.loader import (
    DATASHEET,
    ParameterSet,
    data_root,
    data_version,
    erdil2024_root,
    parameter_set,
    parameter_sets,
    read_toml,
)
from walltime.catalog.schema import (
    AcceleratorRecord,
    ClusterRecord,
    EfficiencyRecord,
    LevelRecord,
    ModelRecord,
    NetworkRecord,
    Number,
    StudyRecord,
)
from walltime.catalog.sources import Source, sources

__all__ = [
    "DATASHEET",
    "AcceleratorRecord",
    "ClusterRecord",
    "EfficiencyRecord",
    "LevelRecord",
    "ModelRecord",
    "NetworkRecord",
    "Number",
    "ParameterSet",
    "Source",
    "StudyRecord",
    "data_root",
    "data_version",
    "erdil2024_root",
    "parameter_set",
    "parameter_sets",
    "read_toml",
    "sources",
]
