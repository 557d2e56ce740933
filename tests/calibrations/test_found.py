"""Calibrations are found like the catalog's records: by id, alias and path; none shadows the catalog, none is stale."""

import datetime
import os

import msgspec
import pytest

from walltime import hardware
from walltime.catalog import (
    AcceleratorRecord,
    ClusterRecord,
    EfficiencyRecord,
    NetworkRecord,
    parameter_set,
    sources,
)
from walltime.catalog.calibrations import (
    broken_calibrations,
    calibration_files,
    calibration_record,
    calibrations,
    check_calibration_id,
    kin_of,
    read_calibration,
    registered,
)
from walltime.catalog.fitted import fitted_ids, kernels_record, links_record
from walltime.catalog.ownership import purchases
from walltime.catalog.power import board_limit_w, draws, node_of
from walltime.catalog.prices import list_prices
from walltime.problems import BadInput

from .machines import CPU_NAME, cpu, gpu, written

KINDS = {
    AcceleratorRecord: "accelerator",
    ClusterRecord: "cluster",
    EfficiencyRecord: "efficiency",
    NetworkRecord: "network",
}
DATASHEETS = parameter_set("datasheet")


def test_a_file_is_read_as_it_was_written(keep):
    assert read_calibration(keep(gpu())) == gpu()
    assert read_calibration(keep(cpu())) == cpu()


@pytest.mark.parametrize("kind", KINDS)
def test_its_records_stand_beside_the_datasheets(keep, kind):
    keep(cpu())
    own = getattr(cpu(), KINDS[kind])
    assert DATASHEETS.find(kind, "my-cpu") == DATASHEETS.get(kind, "my-cpu") == own
    assert "my-cpu" in DATASHEETS.names(kind)
    assert DATASHEETS.find_own(kind, "my-cpu") is None
    assert "my-cpu" not in DATASHEETS.ids(kind)


def test_it_is_found_by_what_its_device_is_called(keep):
    keep(cpu(), gpu())
    assert DATASHEETS.get(AcceleratorRecord, CPU_NAME.upper()).id == "my-cpu"
    assert DATASHEETS.get(ClusterRecord, "NVIDIA Made-up H100").id == "my-h100"
    assert DATASHEETS.get(AcceleratorRecord, gpu().accelerator.name).id == "h100-sxm", "the catalog's name is its own"


def test_two_of_one_device_are_told_apart_by_id(keep):
    keep(cpu(), cpu("other-cpu"))
    with pytest.raises(BadInput, match=r"several calibrations are called .* Valid: the id of one: my-cpu, oth"):
        DATASHEETS.get(AcceleratorRecord, CPU_NAME)


def test_fitted_numbers_are_its_own(keep):
    keep(cpu())
    assert kernels_record("my-cpu") == cpu().kernels
    assert links_record("my-cpu") == cpu().links
    assert "my-cpu" not in fitted_ids("kernels")


def test_other_parameter_sets_have_none(keep):
    keep(cpu())
    assert parameter_set("Erdil2024").find(ClusterRecord, "my-cpu") is None


def test_prices_and_nodes_are_those_of_what_it_is_based_on(keep):
    keep(gpu(), cpu())
    assert kin_of("my-h100") == "h100-sxm"
    assert list_prices("my-h100") == list_prices("h100-sxm") != []
    assert purchases("my-h100") == purchases("h100-sxm") != []
    assert node_of("my-h100") == node_of("h100-sxm") is not None
    assert (list_prices("my-cpu"), purchases("my-cpu"), node_of("my-cpu")) == ([], [], None)


def test_its_draws_are_those_measured_then_those_of_what_it_is_based_on(keep):
    keep(gpu(), cpu())
    own, usual = draws("my-h100"), draws("h100-sxm")
    assert own.idle.value == 0.1
    assert own._replace(idle=usual.idle) == usual
    assert board_limit_w("my-h100") == board_limit_w("h100-sxm")
    assert board_limit_w("my-cpu") is None


def test_a_limit_that_it_does_not_say_is_that_of_what_it_is_based_on(keep):
    own = gpu()
    keep(msgspec.structs.replace(own, accelerator=msgspec.structs.replace(own.accelerator, power_w=None)))
    assert board_limit_w("my-h100") == board_limit_w("h100-sxm")


def test_a_number_of_it_resolves_to_the_calibration(keep):
    keep(cpu())
    source = sources()[cpu().kernels.matmul["fp32"].source]
    assert str(source) == "walltime measure (2026). measured by walltime 0.6.0 on 2026-07-01, calibration my-cpu."
    assert "nvidia2024h200" in sources()


def test_a_path_is_an_id(keep, tmp_path):
    path = str(written(tmp_path, cpu()))
    found = calibration_record(path)
    assert found is not None
    assert (found.id, found.cluster.network, found.kernels.accelerator) == (path, path, path)
    assert found.version == cpu().version
    assert DATASHEETS.get(ClusterRecord, path).accelerator == path
    assert calibration_record("my-cpu") is None, "it is not in the user's folder"


def test_a_file_written_anew_is_read_anew(keep):
    """In place, of the same length, within the same tick of the file system's clock."""
    path = keep(cpu(peak=4e10))
    assert DATASHEETS.get(AcceleratorRecord, "my-cpu").peak_flop_per_s["fp32"].value == 4e10
    version = cpu().version
    before = path.stat()
    keep(cpu(peak=5e10))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert DATASHEETS.get(AcceleratorRecord, "my-cpu").peak_flop_per_s["fp32"].value == 5e10
    assert calibration_record("my-cpu").version != version
    path.unlink()
    assert DATASHEETS.find(AcceleratorRecord, "my-cpu") is None


def test_a_draft_is_found_while_it_is_fitted_and_comes_before_its_file(keep):
    keep(cpu(peak=4e10))
    with registered(cpu(peak=9e10)):
        with registered(cpu(peak=1e11)):
            assert DATASHEETS.get(AcceleratorRecord, "my-cpu").peak_flop_per_s["fp32"].value == 1e11
        assert DATASHEETS.get(AcceleratorRecord, "my-cpu").peak_flop_per_s["fp32"].value == 9e10
    assert DATASHEETS.get(AcceleratorRecord, "my-cpu").peak_flop_per_s["fp32"].value == 4e10


def test_the_catalogs_own_are_found_without_a_look_at_calibrations(keep, monkeypatch):
    def never(*_):
        raise AssertionError("looked for calibrations")

    for name in ("_file_of", "calibration_files", "read_calibration"):
        monkeypatch.setattr(f"walltime.catalog.calibrations.{name}", never)
    assert hardware.cluster("h100").id == "h100-sxm"
    assert kernels_record("h100-sxm").accelerator == "h100-sxm"
    assert draws("h100-sxm").idle
    assert kin_of("h200") == "h200"


def with_line(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def changed(old, new):
    return lambda path: with_line(path, old, new)


BROKEN = {
    "not TOML": (lambda path: path.write_text("id = "), "not valid TOML"),
    "not text": (lambda path: path.write_bytes(b"\xff\xfe"), "not a UTF-8 text file"),
    "empty": (lambda path: path.write_text(""), "missing required field `schema`"),
    "a field of no meaning": (lambda path: path.write_text(path.read_text() + "x = 1\n"), "unknown field `x`"),
    "text for a number": (changed('"value" = 40000000000.0', '"value" = "fast"'), "must be true or false or a number"),
    "another id": (changed('id = "my-cpu"', 'id = "other"'), r"every record is of 'other', not of my-cpu"),
    "no bandwidth": (changed('"bytes_per_s" = { "value" = 1000000000.0', '"bytes_per_s" = { "value" = 0'), "above 0"),
    "a negative latency": (changed('"latency_s" = { "value" = 0.0001', '"latency_s" = { "value" = -1'), "latency_s=-1"),
    "an endless peak": (changed('"value" = 40000000000.0', '"value" = inf'), r"peak_flop_per_s\.fp32=inf is not poss"),
    "no number": (changed('"host_layer_s" = 0.002', '"host_layer_s" = nan'), r"stack\.pytorch\.host_layer_s=nan"),
    "a misspelt number": (changed('"sustained"', '"sustainde"'), "in chip 'sustainde'. Did you mean 'sustained'"),
    "an unknown base": (changed('based_on = ""', 'based_on = "h100"'), "unknown accelerator in based_on 'h100'"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused_where_it_is_named_and_nowhere_else(keep, case):
    damage, said = BROKEN[case]
    path = keep(gpu(), cpu())
    damage(path)
    with pytest.raises(BadInput, match=said) as refused:
        DATASHEETS.find(ClusterRecord, "my-cpu")
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)
    assert broken_calibrations() == {path: str(refused.value)}
    assert [own.id for own in calibrations()] == ["my-h100"]
    assert DATASHEETS.get(ClusterRecord, "my-h100").id == "my-h100"
    assert DATASHEETS.find(ClusterRecord, "unheard-of") is None
    assert "my-cpu" not in sources()


def test_a_file_is_called_as_its_machine(keep):
    path = keep(cpu())
    path.rename(path.with_name("renamed.toml"))
    with pytest.raises(BadInput, match=r"renamed\.toml: its id is 'my-cpu'\. Valid: 'renamed', as the file is"):
        calibration_record("renamed")


@pytest.mark.parametrize("name", ["h100-sxm", "h100", "selene", "nvlink4-ndr400"])
def test_none_shadows_the_catalog(keep, name):
    path = keep(gpu(name))
    with pytest.raises(BadInput, match=rf"id='{name}' is the catalog's\. Valid: another name, .* my-{name}\.$"):
        read_calibration(path)
    assert list(broken_calibrations()) == [path]
    for kind in (ClusterRecord, AcceleratorRecord):
        found = DATASHEETS.find_own(kind, name)
        assert DATASHEETS.find(kind, name) == found or found is None


def test_one_that_walltime_ships_is_the_catalogs(keep, tmp_path):
    mine = keep(cpu(peak=5e10))
    shipped = written(tmp_path / "shipped", cpu(peak=4e10))
    assert calibration_files() == {"my-cpu": shipped}
    assert calibration_record("my-cpu") == cpu(peak=4e10)
    with pytest.raises(BadInput, match=r"id='my-cpu' is the catalog's"):
        check_calibration_id("my-cpu")
    assert list(broken_calibrations()) == [mine]


def test_a_folder_and_a_missing_folder_are_no_calibrations(keep, monkeypatch):
    (keep() / "folder.toml").mkdir()
    assert calibration_record("folder") is None
    assert list(broken_calibrations()) == [keep() / "folder.toml"]
    monkeypatch.setenv("WALLTIME_CALIBRATIONS", str(keep() / "nowhere"))
    assert calibration_files().keys() <= {own.id for own in calibrations()}
    assert calibration_record("../my-cpu") is None


def test_the_version_is_of_the_content():
    own = cpu()
    later = msgspec.structs.replace(own, origin=msgspec.structs.replace(own.origin, date=datetime.date(2026, 8, 1)))
    versions = {own.version, later.version, cpu(peak=5e10).version, own.called("x").version}
    assert len(versions) == 3
    assert own.identity == {"id": "my-cpu", "version": own.version, "date": "2026-07-01", "based_on": None}


def test_all_records_are_of_one_machine():
    own = gpu()
    with pytest.raises(ValueError, match="every record is of 'my-h100', not of other"):
        msgspec.structs.replace(own, network=msgspec.structs.replace(own.network, id="other"))
