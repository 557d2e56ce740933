"""Megatron-LM's arguments: its own parser takes them, and they say what the plan says."""

import argparse
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from walltime import hardware
from walltime.engines.stack import stack
from walltime.interop.launch import nodes_of
from walltime.interop.layer_layout import layers_of_chunks
from walltime.interop.megatron import megatron_files
from walltime.interop.run import Run
from walltime.plan import GROUPS, Plan
from walltime.plan.stages import layers_of_fullest_stage
from walltime.problems import NegativeAnswer
from walltime.workload import Training
from walltime.workload.catalog import transformer
from walltime.workload.padding import padded_vocab_size

from .runs import exported

ARGUMENTS = json.loads((Path(__file__).parents[1] / "data" / "interop" / "megatron_arguments.json").read_text())
TYPES = {"int": int, "float": float}


def parser():
    """A parser with Megatron-LM's arguments, as strict as its own."""
    made = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    for name, entry in ARGUMENTS.items():
        if name == "source":
            continue
        if entry.get("nargs") == 0:
            made.add_argument(name, action="store_true")
        else:
            more = {key: entry[key] for key in ("nargs", "choices") if key in entry}
            made.add_argument(name, type=TYPES.get(entry.get("type"), str), **more)
    return made


def words_of(script, folder, **environment):
    """What torchrun is called with: the script is run by bash, in a folder where torchrun only prints its words."""
    for name, text in {
        "torchrun": 'printf "%s\\n" "$@"',
        "srun": '"$@"',
        "scontrol": "echo node-7",
    }.items():
        program = folder / name
        program.write_text(f"#!/usr/bin/env bash\n{text}\n")
        program.chmod(0o755)
    path = folder / "script.sh"
    path.write_text(script, encoding="utf-8")
    done = subprocess.run(
        ["bash", str(path)],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": f"{folder}:{os.environ['PATH']}", **environment},
    )
    return done.stdout.splitlines()


def arguments_of(script, folder, **environment):
    """What pretrain_gpt.py gets, read by the parser; and what torchrun itself gets."""
    words = words_of(script, folder, **environment)
    program = next(i for i, word in enumerate(words) if word.endswith("pretrain_gpt.py"))
    return parser().parse_args(words[program + 1 :]), words[:program]


def chunks_of(layout):
    """A layout's chunks, as Megatron-LM unrolls them."""
    for pattern in (r"\(([^)]+)\)\*(\d+)", r"(.)\*(\d+)"):
        layout = re.sub(pattern, lambda match: match[1] * int(match[2]), layout)
    return layout.split("|")


@pytest.fixture(scope="module")
def found():
    return exported("megatron")


def test_arguments_say_what_the_plan_says(found, tmp_path):
    for one in found[0]:
        run, plan, model = one.run, one.run.plan, one.run.training.model
        said, launched = arguments_of(one.main, tmp_path)
        nodes = nodes_of(run.cluster, plan.num_gpus)
        assert launched[:4] == ["--nnodes", str(nodes.num_nodes), "--nproc-per-node", str(nodes.per_node)]
        world = nodes.num_nodes * nodes.per_node
        degrees = said.tensor_model_parallel_size, said.context_parallel_size, said.pipeline_model_parallel_size
        assert degrees == (plan.tp, plan.cp, plan.pp)
        assert world // (plan.tp * plan.cp * plan.pp) == plan.dp
        assert (said.expert_model_parallel_size or 1) == plan.ep
        assert (said.expert_tensor_parallel_size or 1) == plan.etp
        assert (said.micro_batch_size, said.global_batch_size) == (plan.micro_batch, run.training.batch_seqs)
        assert said.seq_length == run.training.seq_len
        assert said.sequence_parallel == (plan.sequence_parallel and plan.tp > 1)
        assert bool(said.num_experts) == model.is_moe
        check_sharding(said, plan)
        check_recomputation(said, run)
        check_stages(said, run)
        check_precision(said, plan)


def check_sharding(said, plan):
    strategies = {"ddp": None, "zero1": None, "zero2": "optim_grads", "zero3": "optim_grads_params"}
    assert said.data_parallel_sharding_strategy == strategies[plan.sharding]
    assert said.use_megatron_fsdp == (plan.sharding in ("zero2", "zero3"))
    assert said.use_distributed_optimizer == (plan.sharding != "ddp")
    copies = plan.dp // plan.shard if 0 < plan.shard < plan.dp and plan.sharding != "ddp" else None
    assert said.num_distributed_optimizer_instances == copies
    assert said.optimizer_cpu_offload == plan.offload_optimizer
    apart = [name for name in plan.order if getattr(plan, name) > 1]
    if said.use_tp_pp_dp_mapping:
        assert apart.index("pp") < apart.index("dp")
    else:
        assert apart == [name for name in GROUPS if getattr(plan, name) > 1]


def check_recomputation(said, run):
    plan, model = run.plan, run.training.model
    assert said.recompute_granularity == {"none": None}.get(plan.recompute, plan.recompute)
    if plan.recompute == "full":
        most = max(layers_of_chunks(model.num_layers + model.num_mtp_layers, plan.pp, plan.vpp))
        whole = said.recompute_method == "uniform"
        assert said.recompute_num_layers == (1 if whole else plan.recompute_layers * most)
        assert whole == (plan.recompute_layers == 1)


def check_stages(said, run):
    """Layers add up, stages are no fuller than in the estimate, and there are as many chunks as planned."""
    plan, model = run.plan, run.training.model
    layers = model.num_layers + model.num_mtp_layers
    fullest = int(layers_of_fullest_stage(layers, plan.pp, plan.vpp))
    if said.pipeline_model_parallel_layout:
        chunks = chunks_of(said.pipeline_model_parallel_layout)
        assert len(chunks) == plan.pp * plan.vpp
        text = "".join(chunks)
        assert (text[0], text[-1]) == ("E", "L")
        assert (text.count("t"), text.count("m")) == (model.num_layers, model.num_mtp_layers)
        assert "t" not in text[text.index("m") :] if "m" in text else True
        stages = ["".join(chunks[stage :: plan.pp]) for stage in range(plan.pp)]
        assert max(stage.count("t") + stage.count("m") for stage in stages) <= fullest
        return
    assert (said.num_virtual_stages_per_pipeline_rank or 1) == plan.vpp
    last = said.decoder_last_pipeline_num_layers
    if last:
        assert plan.vpp == 1
        assert last + fullest * (plan.pp - 1) == layers
    else:
        assert layers % (plan.pp * plan.vpp) == 0


def check_precision(said, plan):
    recipes = {"fp8": "tensorwise", "fp8-block": "blockwise", "mxfp8": "mxfp8"}
    assert (said.bf16, said.fp16) == (plan.precision != "fp16", plan.precision == "fp16")
    assert said.fp8_recipe == recipes.get(plan.precision)
    assert bool(said.fp8_format) == (plan.precision in recipes)
    assert bool(said.fp4_format) == (plan.precision == "nvfp4")
    if plan.gradient_bytes == 2:
        assert said.grad_reduce_in_bf16 == (plan.precision != "fp16")
        assert not said.accumulate_allreduce_grads_in_fp32


def test_every_kind_of_plan_comes_up(found):
    """Otherwise the round trip would show little."""
    runs, refused = [one.run for one in found[0]], found[1]
    assert refused > 50
    assert {run.plan.sharding for run in runs} == {"ddp", "zero1", "zero2", "zero3"}
    assert {run.plan.precision for run in runs} >= {"bf16", "fp16", "fp8", "fp8-block", "mxfp8", "nvfp4"}
    assert {run.plan.recompute for run in runs} == {"none", "selective", "full"}
    assert sum(run.plan.vpp > 1 for run in runs) > 5
    assert sum(run.training.model.is_latent for run in runs) > 5
    assert any("use-tp-pp-dp-mapping" in one.main for one in found[0])
    assert any("pipeline-model-parallel-layout" in one.main for one in found[0])


def run_of(name, software="megatron-core", seq_len=4096, rounds=1, **plan):
    made = Plan(**plan)
    training = Training(transformer(name), seq_len, made.dp * made.micro_batch * made.pp * rounds)
    return Run(name, training, hardware.cluster("h100-sxm", made.num_gpus), made, stack(software))


def flags_of(run, folder, *, slurm=False, **environment):
    return arguments_of(next(iter(megatron_files(run, slurm=slurm).values())), folder, **environment)


def test_deepseek_v3(tmp_path):
    said, _ = flags_of(run_of("deepseek-v3", ep=64, pp=16, dp=64), tmp_path)
    assert (said.q_lora_rank, said.kv_lora_rank, said.qk_head_dim, said.qk_pos_emb_head_dim) == (1536, 512, 128, 64)
    assert said.v_head_dim == 128
    assert eval(said.moe_layer_freq) == [0] * 3 + [1] * 58
    assert (said.num_experts, said.moe_router_topk, said.moe_ffn_hidden_size) == (256, 8, 2048)
    assert said.moe_shared_expert_intermediate_size == 2048
    assert (said.moe_router_score_function, said.moe_router_enable_expert_bias) == ("sigmoid", True)
    assert chunks_of(said.pipeline_model_parallel_layout) == ["Etttt", *["tttt"] * 14, "tmL"]
    assert said.disable_bias_linear
    assert not said.group_query_attention


def test_llama_405b_has_the_stages_that_it_was_trained_with(tmp_path):
    """126 layers on 16 x 8 chunks: embedding and output layer have a chunk each (Llama 3, section 3.3.2)."""
    said, _ = flags_of(run_of("llama-3.1-405b", tp=8, pp=16, vpp=8, dp=2), tmp_path)
    assert chunks_of(said.pipeline_model_parallel_layout) == ["E", *["t"] * 126, "L"]
    uneven, _ = flags_of(run_of("llama-3.1-405b", tp=8, pp=16, dp=2), tmp_path)
    assert uneven.decoder_last_pipeline_num_layers == 6


def test_older_models(tmp_path):
    said, _ = flags_of(run_of("gpt3-175b", tp=8, pp=4, vpp=3, dp=2, seq_len=2048), tmp_path)
    assert said.position_embedding_type == "learned_absolute"
    assert (said.swiglu, said.disable_bias_linear, said.untie_embeddings_and_output_weights) == (False, False, False)
    assert said.normalization == "LayerNorm"
    assert said.num_virtual_stages_per_pipeline_rank == 3
    assert said.padded_vocab_size == padded_vocab_size(50257, 128 * 8)


def test_sinks_and_windows(tmp_path):
    said, _ = flags_of(run_of("gpt-oss-20b", dp=8, ep=8), tmp_path)
    assert said.softmax_type == "learnable"
    assert (said.window_size, said.window_attn_skip_freq) == ("128,0", "2")
    assert not said.disable_bias_linear


def test_one_queue_unless_parameters_are_sharded(tmp_path):
    def script(**plan):
        return next(iter(megatron_files(run_of("llama-3.1-8b", **plan), slurm=False).values()))

    assert "CUDA_DEVICE_MAX_CONNECTIONS=1" in script(tp=2, dp=4)
    assert "CUDA_DEVICE_MAX_CONNECTIONS" not in script(dp=8)
    assert "CUDA_DEVICE_MAX_CONNECTIONS" not in script(tp=2, dp=4, sharding="zero3")


def test_slurm(tmp_path):
    run = run_of("llama-3.1-8b", tp=2, dp=16)
    script = megatron_files(run, slurm=True)["megatron.sbatch"]
    lines = script.splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert {"#SBATCH --nodes=4", "#SBATCH --gpus-per-node=8", "#SBATCH --ntasks-per-node=1"} <= set(lines[1:6])
    said, launched = flags_of(run, tmp_path, slurm=True, SLURM_JOB_ID="17", SLURM_JOB_NODELIST="node-[7-10]")
    assert launched[launched.index("--rdzv-endpoint") + 1] == "node-7:29500"
    assert launched[launched.index("--nnodes") + 1] == "4"
    assert said.tensor_model_parallel_size == 2


@pytest.mark.parametrize(
    ("name", "plan", "said"),
    [
        ("llama-3.1-8b", {"pp": 4, "schedule": "zb-h1"}, "schedule=zb-h1"),
        ("llama-3.1-8b", {"pp": 4, "schedule": "gpipe"}, "Valid: 1f1b"),
        ("llama-3.1-8b", {"tp": 2, "pp": 2, "order": ("pp", "tp", "cp", "ep", "dp")}, "order=pp,tp,cp,ep,dp"),
        ("llama-3.1-8b", {"dp": 4, "sharding": "zero3", "reshard": False}, "reshard=false"),
        ("llama-3.1-8b", {"pp": 2, "dp": 4, "sharding": "zero3"}, "Valid: ddp, zero1"),
        ("llama-3.1-8b", {"recompute": "full", "recompute_layers": 0.3}, "Valid: 0.28125, 0.3125"),
        ("llama-3.1-8b", {"dp": 2, "sharding": "ddp", "offload_optimizer": True}, "offload_optimizer=true"),
        ("mixtral-8x7b", {"tp": 2, "sequence_parallel": False}, "sequence_parallel=false"),
        ("mixtral-8x7b", {"dp": 2, "ep": 2, "precision": "fp16"}, "precision=fp16"),
        ("gpt-oss-20b", {"tp": 2, "etp": 2}, "etp=2"),
        ("gemma-2-9b", {}, "norms_per_layer=4"),
        ("falcon-40b", {}, "parallel_attention=true"),
        ("bloom-1b1", {}, "position=alibi"),
        ("opt-1.3b", {}, "seq_len=4096"),
    ],
)
def test_what_it_cannot_express_is_refused(name, plan, said):
    with pytest.raises(NegativeAnswer) as refused:
        megatron_files(run_of(name, **{"software": "generic"} | plan), slurm=False)
    assert said.lower() in str(refused.value).lower()
    assert str(refused.value).startswith("Megatron-LM cannot")
