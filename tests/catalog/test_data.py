"""The files of data/: each loads, each number has a source, and the numbers agree with each other."""

import csv
import re
import shutil
from dataclasses import fields

import msgspec
import pytest

from walltime.catalog import (
    AcceleratorRecord,
    ClusterRecord,
    EfficiencyRecord,
    ModelRecord,
    NetworkRecord,
    Number,
    ParameterSet,
    StudyRecord,
    data_root,
    data_version,
    loader,
    parameter_set,
    parameter_sets,
    read_toml,
)
from walltime.catalog.accuracy import accuracy_record
from walltime.catalog.failures import failures_record
from walltime.catalog.fitted import (
    cpu_priors_record,
    fitted_ids,
    kernels_record,
    links_record,
    memory_record,
    passes_record,
    training_record,
)
from walltime.catalog.ownership import ends, ownership_record, purchases, server_price_usd_per_gpu
from walltime.catalog.power import power_record
from walltime.catalog.prices import price_per_gpu_hour_usd, prices_record
from walltime.catalog.stacks import stack_ids, stack_record
from walltime.engines.calibration import AcceleratorNumbers, StackNumbers
from walltime.engines.stack import stack
from walltime.engines.transformer_memory import MemoryNumbers
from walltime.hardware import Accelerator, cluster
from walltime.problems import BadInput
from walltime.validate.fitted_parameters import memory_sources

RECORDS = (AcceleratorRecord, EfficiencyRecord, NetworkRecord, ClusterRecord, ModelRecord)
SETS = parameter_sets()
KEYS = data_root() / "huggingface" / "config.toml"
"""Not a record but defaults of foreign files, held against transformers in tests/interop."""
TOML = sorted(set(data_root().rglob("*.toml")) - {KEYS})
BIB_KEYS = re.findall(r"^@\w+\{([^,\s]+),", (data_root() / "sources.bib").read_text(encoding="utf-8"), re.MULTILINE)
PUBLISHED = sorted((data_root() / "published").glob("*.csv"))
MEASURED = sorted((data_root() / "published" / "measured").glob("*.csv"))
READ_OFF = "fernandez2024_all_reduce"
"""Points of one figure: its source stands with the numbers that were fitted on them."""


def records():
    for name in SETS:
        for kind in RECORDS:
            for record in parameter_set(name).all(kind):
                yield name, record
        if name != "datasheet":
            yield name, parameter_set(name).study()


def label(record):
    return getattr(record, "id", None) or record.accelerator


EVERY_RECORD = [
    pytest.param(name, record, id=f"{name}-{type(record).__name__}-{label(record)}") for name, record in records()
]
CHIPS = [
    pytest.param(name, chip, id=f"{name}-{chip.id}")
    for name in SETS
    for chip in parameter_set(name).all(AcceleratorRecord)
]


def test_every_file_is_a_record_that_loads():
    assert {"datasheet", "Erdil2024"} <= set(SETS)
    of_stacks = [memory_record(), passes_record(), training_record(), cpu_priors_record()]
    fitted = [*fitted_ids("kernels"), *fitted_ids("links"), *of_stacks]
    of_every_accelerator = [prices_record(), ownership_record(), power_record(), failures_record(), accuracy_record()]
    assert len(EVERY_RECORD) + len(fitted) + len(stack_ids()) + len(of_every_accelerator) == len(TOML)
    assert len(CHIPS) > 10


def fitted_blocks():
    """Everything that was fitted or estimated, by file and name."""
    for chip in fitted_ids("kernels"):
        for name, block in kernels_record(chip).matmul.items():
            yield f"{chip}.{name}", block
        for name, kernel in kernels_record(chip).attention.items():
            yield f"{chip}.{name}.forward", kernel.forward
            yield f"{chip}.{name}.backward", kernel.backward
    for network in fitted_ids("links"):
        for block in links_record(network).level:
            yield f"{network}.{block.name}", block
    for kind in ("accelerator", "stack"):
        for name, block in getattr(training_record(), kind).items():
            yield f"training.{kind}.{name}", block
    for name, block in memory_record().stack.items():
        yield f"memory.{name}", block


FITTED = list(fitted_blocks())


@pytest.mark.parametrize(("name", "block"), FITTED, ids=[name for name, _ in FITTED])
def test_what_is_fitted_says_on_what_and_what_is_estimated_has_a_range(name, block):
    if block.source:
        assert block.source in BIB_KEYS
    if block.kind == "fitted":
        assert block.locator.strip()
        assert block.rows > 0
    else:
        assert block.note.strip()
        assert block.low or (name.startswith("training.") and name.endswith(".default")), "an estimate needs a range"
    assert block.low.keys() == block.high.keys() <= block.values.keys()
    assert set(block.estimated) <= block.values.keys()
    for error in (block.median_error, block.p90_error, block.held_out_median_error, block.held_out_p90_error):
        assert error is None or 0 <= error < 1


@pytest.mark.parametrize("name", memory_record().stack)
def test_memory_says_how_many_rows_of_each_source_it_was_set_on(name):
    block = memory_record().stack[name]
    known = {"simumax_b200", "torchtitan", "torchao", "nanotron_playbook", "vocab_parallel"}
    sources = memory_sources(block)
    assert (block.kind == "fitted") == bool(sources)
    assert sources.keys() <= known
    assert sum(sources.values()) == block.rows
    assert not re.search(r"\bmust\b|\bheld-back\b|\.;|^estimate;", block.note)


def test_fitted_records_are_named_after_their_files():
    assert [kernels_record(name).accelerator for name in fitted_ids("kernels")] == fitted_ids("kernels")
    assert [links_record(name).network for name in fitted_ids("links")] == fitted_ids("links")
    assert fitted_ids("kernels") == parameter_set("datasheet").ids(AcceleratorRecord)
    assert fitted_ids("links") == parameter_set("datasheet").ids(NetworkRecord)
    for name in fitted_ids("links"):
        level_names = [level.name for level in parameter_set("datasheet").get(NetworkRecord, name).level]
        assert [level.name for level in links_record(name).level] == level_names


def test_fitted_numbers_are_what_the_engine_reads():
    """Each name is a field of the engine's, and the engine lacks none."""
    for kind, record in ((AcceleratorNumbers, training_record().accelerator), (StackNumbers, training_record().stack)):
        names = {field.name for field in fields(kind)}
        assert record["default"].values.keys() == names
        assert all(block.values.keys() <= names for block in record.values())
    names = {field.name for field in fields(MemoryNumbers)}
    assert all(block.values.keys() == names for block in memory_record().stack.values())
    assert memory_record().usable.keys() <= set(fitted_ids("kernels"))
    for number in memory_record().usable.values():
        assert number.kind in ("derived", "estimate") or number.source in BIB_KEYS


def test_passes_are_counted_and_explained():
    for name, count in passes_record().passes.items():
        assert count.forward >= 0 <= count.backward, name
        assert count.forward + count.backward > 0, name
        assert count.note.strip(), name


@pytest.mark.parametrize("name", stack_ids())
def test_a_software_stack_loads_by_each_of_its_names(name):
    record = stack_record(name)
    assert record.id == name
    for citation in record.sources:
        assert citation.source in BIB_KEYS
        assert citation.locator.strip()
    for one in (name, name.upper(), *record.aliases):
        assert stack(one).id == name


def test_an_unknown_software_stack_has_a_near_match():
    with pytest.raises(BadInput, match=r"unknown software stack 'torchtitn'\. Did you mean 'torchtitan'"):
        stack("torchtitn")


@pytest.mark.parametrize(("name", "record"), EVERY_RECORD)
def test_a_record_is_named_after_its_file(name, record):
    if not isinstance(record, StudyRecord):
        assert label(record) in parameter_set(name).ids(type(record))
    assert record.numbers() or isinstance(record, ClusterRecord)


def cited(record):
    for path, number in record.numbers().items():
        for where, source in ((path, number.source), (f"{path}.second", number.second and number.second.source)):
            if source:
                yield where, source
    if isinstance(record, ModelRecord):
        assert record.locator.strip()
        yield "dimensions", record.source
    for i, citation in enumerate(getattr(record, "sources", ())):
        yield f"sources.{i}", citation.source


OF_EVERY_ACCELERATOR = [
    pytest.param("datasheet", record(), id=record.__name__)
    for record in (prices_record, ownership_record, power_record, failures_record, accuracy_record)
]
NUMBERS = [*EVERY_RECORD, *OF_EVERY_ACCELERATOR]


@pytest.mark.parametrize(("name", "record"), NUMBERS)
def test_every_source_is_in_the_bibliography(name, record):
    assert {where: key for where, key in cited(record) if key not in BIB_KEYS} == {}


def test_the_bibliography_has_no_key_twice():
    assert len(BIB_KEYS) == len(set(BIB_KEYS)) > 20


def test_every_source_can_be_found():
    text = (data_root() / "sources.bib").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=@)", text)[1:] if not text.startswith("@") else re.split(r"\n(?=@)", text)
    assert len(entries) == len(BIB_KEYS)
    for entry in entries:
        for field in ("author", "title", "year", "url"):
            assert re.search(rf"^\s*{field}\s*=", entry, re.MULTILINE), (field, entry[:40])
        assert re.search(r"url\s*=\s*\{https?://", entry), entry[:40]
        assert entry.count("{") == entry.count("}"), entry[:40]


@pytest.mark.parametrize(("name", "record"), NUMBERS)
def test_every_number_keeps_the_provenance_rules(name, record):
    for path, number in record.numbers().items():
        if number.kind in ("datasheet", "paper", "measured"):
            assert number.source.strip(), path
            assert number.locator.strip(), path
        else:
            assert number.note.strip(), path
        if number.kind == "estimate":
            assert number.low <= number.value <= number.high, path
        if not isinstance(number.value, bool):
            assert number.value > 0, path


def test_prices_are_of_accelerators_of_the_catalog_and_as_printed():
    for price in prices_record().price:
        assert price.accelerator in parameter_set("datasheet").ids(AcceleratorRecord)
        printed, *counted = (float(n) for n in re.findall(r"\d+(?:\.\d+)?", price.usd_per_gpu_hour.as_quoted))
        assert price.usd_per_gpu_hour.value == pytest.approx(printed / (counted or [1])[0])
    keys = [
        (price.accelerator, price.usd_per_gpu_hour.source, price.usd_per_gpu_hour.locator)
        for price in prices_record().price
    ]
    assert len(set(keys)) == len(keys)


def test_a_price_is_the_median_of_the_list_prices():
    price = price_per_gpu_hour_usd("h100-sxm")
    assert price.value == pytest.approx((3.90 + 3.99) / 2)
    assert (price.low, price.high) == (3.20, 6.155)
    assert price.note.startswith("median of 4 list prices")
    assert "2026-08-26 to 2026-09-20" in price.note
    assert price_per_gpu_hour_usd("h200").note.endswith("2026-09-20")
    assert price_per_gpu_hour_usd("h20") is None


def test_purchases_are_of_accelerators_of_the_catalog_and_as_printed():
    for bought in ownership_record().purchase:
        assert bought.accelerator in parameter_set("datasheet").ids(AcceleratorRecord)
        number = bought.usd_per_gpu
        if number.as_quoted:
            printed, thousand, counted = re.search(r"(\d+(?:\.\d+)?)(k?)(?: by (\d+))?", number.as_quoted).groups()
            assert number.value == pytest.approx(float(printed) * (1000 if thousand else 1) / int(counted or 1))
        assert 5e3 < number.value < 1e5
        assert bought.what.strip()
    assert [one.date for one in purchases("h100-sxm")] == sorted(one.date for one in purchases("h100-sxm"))


def test_the_price_of_a_server_is_the_median_of_those_known():
    price = server_price_usd_per_gpu("h100-sxm")
    assert price.value == pytest.approx((37080.50 + 38750) / 2)
    assert (price.low, price.high) == (31904.63, 46875)
    assert price.note == "median of 6 prices, 2023 to 2025"
    assert server_price_usd_per_gpu("tpu-v5p") is None


def test_an_accelerator_alone_is_priced_with_a_server_around_it():
    low, usual, high = ends(ownership_record().server_per_accelerator)
    price = server_price_usd_per_gpu("h100-pcie")
    assert price.value == pytest.approx(24500 * usual)
    assert (price.low, price.high) == (pytest.approx(24500 * low), pytest.approx(24500 * high))


def test_a_number_without_a_range_is_both_of_its_ends():
    assert ends(Number(value=2.0, kind="derived", note="1 + 1")) == (2.0, 2.0, 2.0)
    assert ends(Number(value=2.0, kind="estimate", note="a guess", low=1.0, high=3.0)) == (1.0, 2.0, 3.0)


GOOD = {"value": 2.0, "kind": "datasheet", "source": "nvidia2022hopper", "locator": "table 3"}
ESTIMATE = {"value": 2.0, "kind": "estimate", "note": "a guess", "low": 1.0, "high": 3.0}


@pytest.mark.parametrize("good", [GOOD, {"value": 2.0, "kind": "derived", "note": "1 + 1"}, ESTIMATE])
def test_a_sound_number_is_accepted(good):
    assert msgspec.convert(good, Number).value == 2.0


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (GOOD | {"source": ""}, "needs `source` and `locator`"),
        (GOOD | {"locator": ""}, "needs `source` and `locator`"),
        (GOOD | {"kind": "paper", "source": ""}, "needs `source` and `locator`"),
        (GOOD | {"kind": "measured", "locator": ""}, "needs `source` and `locator`"),
        (GOOD | {"kind": "hearsay"}, "Invalid enum value 'hearsay'"),
        (GOOD | {"value": "2"}, "got `str`"),
        (GOOD | {"valeu": 2.0}, "unknown field `valeu`"),
        ({"value": 2.0, "kind": "derived"}, "needs a `note`"),
        (ESTIMATE | {"note": ""}, "needs a `note`"),
        (ESTIMATE | {"low": None}, "needs `low` and `high`"),
        (ESTIMATE | {"high": None}, "needs `low` and `high`"),
        (ESTIMATE | {"value": 4.0}, "between `low` and `high`"),
        (ESTIMATE | {"value": 0.5}, "between `low` and `high`"),
        (GOOD | {"second": {"value": 2.0, "source": "austin2025scaling"}}, "missing required field `locator`"),
    ],
)
def test_a_number_without_provenance_is_refused(number, message):
    with pytest.raises(msgspec.ValidationError, match=re.escape(message)):
        msgspec.convert(number, Number)


@pytest.fixture
def copied(tmp_path):
    """A parameter set that a test may break."""
    root = tmp_path / "data"
    shutil.copytree(data_root() / "parameter_sets" / "Erdil2024", root)
    return ParameterSet("copied", root)


def edit(numbers, file, old, new):
    path = numbers.root / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize(
    ("kind", "name", "file", "old", "new", "message"),
    [
        (NetworkRecord, "nvlink4-800g", "networks/nvlink4-800g.toml", 'source = "erdil2024program", ', "", "source"),
        (NetworkRecord, "nvlink4-800g", "networks/nvlink4-800g.toml", "size = 8", "size = 0", "size"),
        (NetworkRecord, "nvlink4-800g", "networks/nvlink4-800g.toml", "size = 8\n", "", "size"),
        (NetworkRecord, "nvlink4-800g", "networks/nvlink4-800g.toml", "size = 8", "siez = 8", "siez"),
        (
            NetworkRecord,
            "nvlink4-800g",
            "networks/nvlink4-800g.toml",
            "450000000000.0",
            '"450GB/s"',
            "a number, not text",
        ),
        (ClusterRecord, "h100-sxm", "clusters/h100-sxm.toml", "schema = 1", "schema = 2", "schema"),
        (ClusterRecord, "h100-sxm", "clusters/h100-sxm.toml", 'accelerator = "h100-sxm"\n', "", "accelerator"),
        (ClusterRecord, "h100-sxm", "clusters/h100-sxm.toml", "schema = 1", "schema = ", "not valid TOML"),
    ],
)
def test_a_broken_file_is_refused_by_name(copied, kind, name, file, old, new, message):
    assert label(copied.get(kind, name)) == name
    broken = ParameterSet("broken", copied.root)
    edit(broken, file, old, new)
    with pytest.raises(BadInput, match=message) as refusal:
        broken.get(kind, name)
    assert file.rpartition("/")[2] in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_record_based_on_another_has_all_its_numbers_but_its_own():
    files = [path for path in TOML if "based_on" in read_toml(path)]
    assert len(files) >= 2
    for path in files:
        numbers = next(held for held in map(parameter_set, SETS) if held.root == path.parent.parent)
        kind = {"accelerators": AcceleratorRecord, "efficiencies": EfficiencyRecord}[path.parent.name]
        own = read_toml(path)
        record, base = numbers.get(kind, path.stem).numbers(), numbers.get(kind, own["based_on"]).numbers()
        assert record.keys() == base.keys()
        for where, number in record.items():
            if where.partition(".")[0] not in own:
                assert number == base[where]
            else:
                table, _, key = where.partition(".")
                assert number.value == (own[table][key] if key else own[table])["value"]
    slow, fast = (cluster(name, parameters="Erdil2024").accelerator for name in ("h100-sxm", "h100-sxm-low-latency"))
    assert fast.matmul_latency_s == pytest.approx(slow.matmul_latency_s / 10)
    assert fast.peak_flop_per_s == slow.peak_flop_per_s


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("kind", [AcceleratorRecord, NetworkRecord, ClusterRecord, ModelRecord])
def test_a_name_means_one_record(name, kind):
    taken = {}
    for record in parameter_set(name).all(kind):
        names = {record.id.lower(), record.name.lower(), *(alias.lower() for alias in getattr(record, "aliases", ()))}
        for one in names:
            assert taken.setdefault(one, record.id) == record.id, one
            assert parameter_set(name).get(kind, one.upper()).id == record.id


@pytest.mark.parametrize(("name", "chip"), CHIPS)
def test_every_accelerator_has_an_efficiency_record_and_a_usual_cluster(name, chip):
    numbers = parameter_set(name)
    assert numbers.get(EfficiencyRecord, chip.id).accelerator == chip.id
    usual = numbers.get(ClusterRecord, chip.usual_cluster)
    assert usual.accelerator == chip.id
    assert usual.sources
    numbers.get(NetworkRecord, usual.network)
    ready = cluster(chip.usual_cluster, parameters=name)
    assert ready.accelerator.id == chip.id


@pytest.mark.parametrize(("name", "chip"), CHIPS)
def test_every_name_of_an_accelerator_means_a_cluster_of_it(name, chip):
    for one in (chip.id, chip.name, *chip.aliases):
        assert one in parameter_set(name)
        assert cluster(one, parameters=name).accelerator.id == chip.id


@pytest.mark.parametrize("name", SETS)
def test_every_cluster_is_of_an_accelerator_and_a_network_that_exist(name):
    numbers = parameter_set(name)
    used = {record.network for record in numbers.all(ClusterRecord)}
    for record in numbers.all(ClusterRecord):
        assert cluster(record.id, parameters=name).num_gpus is None
    assert used == set(numbers.ids(NetworkRecord))


# FLOP per clock and core (SM, CU) by 16-bit matrix instruction: published per generation.
PER_CLOCK = {
    "v100": 1024,
    "a100": 2048,
    "h100": 4096,
    "h200": 4096,
    "b200": 8192,
    "gb200": 8192,
    "gb300": 8192,
    "mi300x": 2048,
    "a800": 2048,
    "h800": 4096,
    "gh200": 4096,
    "h20": 1024,  # cut to a quarter for export
    "l40s": 1024,
    "b300": 8192,
    "mi250x": 1024,
    "mi355x": 4096,
}


def family_of(chip):
    return chip.id.partition("-")[0]


def test_only_chips_without_16_bit_matrix_instructions_or_cores_are_left_out():
    left_out = {c.values[1].id for c in CHIPS if family_of(c.values[1]) not in PER_CLOCK}
    assert left_out == {"gtx-580", "tpu-v5p"}


@pytest.mark.parametrize(("name", "chip"), [c for c in CHIPS if family_of(c.values[1]) in PER_CLOCK])
def test_peak_is_clock_times_cores_times_flop_per_clock(name, chip):
    expected = PER_CLOCK[family_of(chip)] * chip.num_sms.value * chip.max_clock_hz.value
    assert chip.peak_flop_per_s["fp16"].value == pytest.approx(expected, rel=0.005)


RATIOS = [("bf16", "fp16", 1), ("fp8", "bf16", 2), ("tf32", "bf16", 0.5), ("int8", "fp8", 1)]
UNUSUAL = {  # read on the datasheets: no faster 8-bit float on the TPU v5p, little int8 on Blackwell Ultra
    ("tpu-v5p", "fp8", "bf16"): 1,
    ("tpu-v5p", "int8", "fp8"): 2,
    ("gb300", "int8", "fp8"): 1 / 30,
    ("b300", "int8", "fp8"): 1 / 36,
}


@pytest.mark.parametrize(("name", "chip"), CHIPS)
def test_half_the_bits_is_twice_the_dense_rate(name, chip):
    """A sparse figure taken for a dense one would be twice too high."""
    peaks = {precision: number.value for precision, number in chip.peak_flop_per_s.items()}
    for precision, of, usual in RATIOS:
        if precision in peaks and of in peaks:
            ratio = UNUSUAL.get((chip.id, precision, of), usual)
            assert peaks[precision] / peaks[of] == pytest.approx(ratio, rel=0.01 if ratio == usual else 0.02), precision


@pytest.mark.parametrize(("name", "chip"), CHIPS)
def test_orders_of_magnitude(name, chip):
    """Units: bytes, not GB; bytes/s, not bits/s; hertz, not GHz."""
    ready = Accelerator.from_catalog(parameter_set(name), chip.id)
    assert 1e9 <= ready.hbm_bytes < 1e12
    assert 1e11 <= ready.hbm_bytes_per_s < 1e14
    assert 5e5 <= ready.l2_bytes < 1e9
    assert ready.l2_bytes_per_s > ready.hbm_bytes_per_s
    assert 5e8 <= ready.max_clock_hz < 5e9
    assert 1e12 <= ready.peak_flop_per_s < 1e17
    assert 0 < ready.achievable_fraction < 1
    assert 1e-7 <= ready.matmul_latency_s < 1e-4
    assert chip.power_w is None or 100 <= chip.power_w.value < 3000


@pytest.mark.parametrize("name", SETS)
def test_networks_are_fastest_inside(name):
    for record in parameter_set(name).all(NetworkRecord):
        rates = [level.bytes_per_s.value for level in record.level]
        assert rates == sorted(rates, reverse=True), record.id
        assert min(rates) >= 1e8, record.id
        assert all(1e-8 <= level.latency_s.value <= 1e-3 for level in record.level), record.id
        assert len({level.name for level in record.level}) == len(record.level)


def test_a_second_source_is_near_the_first():
    """Where two sources differ by more than a tenth, a note says why."""
    for _, record in records():
        for path, number in record.numbers().items():
            second = number.second
            if second is None or isinstance(number.value, bool):
                continue
            if abs(second.value / number.value - 1) > 0.1:
                assert number.note or second.note, (label(record), path)


@pytest.mark.parametrize("path", MEASURED, ids=lambda path: path.stem)
def test_measured_rows_say_where_they_are_from(path):
    """Their source is a file of its own, which the README beside it lists."""
    listed = (path.parent / "README.md").read_text(encoding="utf-8")
    assert f"`{path.name}`" in listed
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in rows:
        assert row["source_id"].strip()
        assert row["source_ref"].strip()
        assert row["quality"] in ("A", "B", "C")
        assert row["scope"].strip()
        shown = [row[name] for name in ("step_time_s", "tokens_per_s_per_gpu", "model_tflops_per_gpu", "mem_gb")]
        assert any(shown) or row["hfu_tflops_per_gpu"] or row["mfu"]
        assert all(float(number) > 0 for number in shown if number)


def test_every_file_of_measured_rows_is_listed():
    listed = re.findall(
        r"^\| `(\w+\.csv)`", (MEASURED[0].parent / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(listed) == [path.name for path in MEASURED]


def test_points_read_off_a_figure_are_whole():
    path = data_root() / "published" / f"{READ_OFF}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 50
    for row in rows:
        assert int(row["nodes"]) > 1
        assert 1e6 <= int(row["size_bytes"]) <= 1e11
        assert 1e9 <= float(row["busbw_bytes_per_s"]) <= 1e12
    assert any("fernandez2024" in block.locator + block.note for _, block in FITTED)


@pytest.mark.parametrize("path", [p for p in PUBLISHED if p.stem != READ_OFF], ids=lambda path: path.stem)
def test_published_rows_have_a_source(path):
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in rows:
        assert row["source"] in BIB_KEYS
        assert row["locator"].strip()
        assert row["kind"] in ("paper", "program", "measured")
        assert float(row["value"]) == float(row["printed"])


def test_the_data_version_is_of_every_file(tmp_path, monkeypatch):
    root = tmp_path / "data"
    shutil.copytree(data_root(), root)
    monkeypatch.setattr(loader, "data_root", lambda: root)
    version = data_version.__wrapped__
    assert version() == version() == data_version()
    seen = {version()}
    files = [
        root / "accelerators" / "h100-sxm.toml",
        root / "parameter_sets" / "Erdil2024" / "study.toml",
        root / "sources.bib",
        root / "published" / "erdil2024.csv",
    ]
    for path in files:
        path.write_bytes(path.read_bytes() + b"\n")
        seen.add(version())
    (root / "networks" / "pcie2-qdr.toml").rename(root / "networks" / "renamed.toml")
    seen.add(version())
    assert len(seen) == 1 + len(files) + 1


@pytest.mark.parametrize(
    ("kind", "wrong", "near"),
    [(ClusterRecord, "h1oo-sxm", "h100-sxm"), (AcceleratorRecord, "mi300", "mi300x"), (NetworkRecord, "xgmi", "xgmi")],
)
def test_a_misspelt_name_has_a_near_match(kind, wrong, near):
    with pytest.raises(BadInput, match=f"unknown .*{wrong}.*Did you mean '{near}") as refusal:
        parameter_set("datasheet").get(kind, wrong)
    assert "walltime show" in str(refusal.value)


def test_an_unknown_parameter_set_is_refused():
    with pytest.raises(BadInput, match=r"unknown parameter set 'Erdil2025'\. Did you mean 'Erdil2024'"):
        parameter_set("Erdil2025")
    assert parameter_set("erdil2024").name == "Erdil2024"
