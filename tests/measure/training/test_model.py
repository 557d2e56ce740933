"""The decoder is the model that its record says: parameters to the unit, shapes, masks, positions."""

from dataclasses import replace
from itertools import pairwise

import pytest

torch = pytest.importorskip("torch")

from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402

from walltime.catalog import DATASHEET, ModelRecord, parameter_set  # noqa: E402
from walltime.measure.training.attention import Attention  # noqa: E402
from walltime.measure.training.experts import Mixture, one_kernel, visits  # noqa: E402
from walltime.measure.training.layers import Tables  # noqa: E402
from walltime.measure.training.model import Decoder, recompute_of, window_of  # noqa: E402
from walltime.measure.training.stages import layers_of_chunks  # noqa: E402
from walltime.measure.training.trainer import next_token_loss  # noqa: E402
from walltime.measure.training.weights import first_values, give_weights  # noqa: E402
from walltime.plan import Plan  # noqa: E402
from walltime.workload import Training  # noqa: E402
from walltime.workload.catalog import transformer  # noqa: E402
from walltime.workload.parameters import num_parameters  # noqa: E402

from . import tiny  # noqa: E402

MODELS = sorted(record for record in parameter_set(DATASHEET).ids(ModelRecord))
MOE = {"num_experts": 4, "top_k": 2, "d_ff_expert": 24}
VARIANTS = {
    "plain": {},
    "gpt": {
        "gated_mlp": False,
        "norm": "layernorm",
        "position": "learned",
        "num_positions": 16,
        "tied_embeddings": True,
        "norm_bias": True,
        "qkv_bias": True,
        "attention_bias": True,
        "mlp_bias": True,
        "head_bias": True,
    },
    "bloom": {"position": "alibi", "embedding_norm": True, "norm": "layernorm", "norm_bias": True},
    "falcon": {"parallel_attention": True, "norms_per_layer": 1, "num_kv_heads": 1, "gated_mlp": False},
    "parallel, two norms": {"parallel_attention": True, "norms_per_layer": 2},
    "gemma": {"norms_per_layer": 4, "sliding_window": 4, "num_sliding_layers": 2},
    "qwen": {"qk_norm_dim": 8},
    "norms of all heads": {"qk_norm_dim": 32, "num_kv_heads": 4},
    "norms of each head": {"qk_norm_dim": 8, "qk_norm_heads": True},
    "no positions": {"position": "none"},
    "mixtral": MOE,
    "qwen moe": MOE | {"num_shared_experts": 1, "d_ff_shared": 24, "shared_expert_gate": True},
    "gpt-oss": MOE
    | {"expert_bias": True, "router_bias": True, "attention_sinks": True, "sliding_window": 4}
    | {"num_sliding_layers": 2, "qkv_bias": True},
    "deepseek": MOE
    | {"kv_lora_rank": 12, "q_lora_rank": 10, "qk_rope_head_dim": 4, "head_dim": 12, "v_head_dim": 8}
    | {"num_shared_experts": 1, "d_ff_shared": 24, "num_dense_layers": 1, "num_kv_heads": 4, "qkv_bias": True},
    "deepseek lite": {"kv_lora_rank": 12, "qk_rope_head_dim": 4, "head_dim": 12, "v_head_dim": 8},
}


@pytest.mark.parametrize("name", MODELS)
def test_parameters_of_every_catalog_model_to_the_unit(name):
    """Without multi-token prediction, which is not run."""
    model = transformer(name)
    with torch.device("meta"):
        decoder = Decoder(Training(model, 16, 1), Plan())
    assert sum(parameter.numel() for parameter in decoder.parameters()) == num_parameters(model, with_mtp=False)


@pytest.fixture(scope="module", params=list(VARIANTS))
def decoder(request):
    model = replace(tiny.MODEL, **VARIANTS[request.param])
    with torch.device("meta"):
        made = Decoder(Training(model, 16, 2), Plan())
    give_weights(made, "", 0, "cpu")
    return made


@pytest.fixture
def tokens():
    return torch.randint(tiny.MODEL.vocab_size, (2, 16), generator=torch.Generator().manual_seed(1))


def test_variants_have_their_parameters(decoder):
    assert sum(parameter.numel() for parameter in decoder.parameters()) == num_parameters(decoder.model)


def test_every_parameter_is_trained(decoder, tokens):
    next_token_loss(decoder(tokens), tokens.roll(-1, 1)).backward()
    lazy = [name for name, parameter in decoder.named_parameters() if parameter.grad is None]
    assert lazy == []
    assert all(parameter.grad.isfinite().all() for parameter in decoder.parameters())
    decoder.zero_grad()


def test_a_token_sees_none_after_it(decoder, tokens):
    with torch.no_grad():
        before = decoder(tokens)
        changed = tokens.clone()
        changed[:, 9:] = (changed[:, 9:] + 1) % tiny.MODEL.vocab_size
        after = decoder(changed)
    assert before.shape == (2, 16, 64)
    torch.testing.assert_close(after[:, :9], before[:, :9])
    assert not torch.allclose(after[:, 9:], before[:, 9:])


def test_a_window_ends_what_a_token_sees():
    with torch.device("meta"):
        attention = Attention(tiny.MODEL, 4, Tables(16))
    give_weights(attention, "", 0, "cpu")
    x = torch.randn(1, 16, 32, generator=torch.Generator().manual_seed(0))
    changed = x.clone()
    changed[:, 2] += 1
    with torch.no_grad():
        moved = (attention(changed) - attention(x)).abs().sum((0, 2)) > 0
    assert moved.tolist() == [2 <= place < 6 for place in range(16)]


def test_sinks_take_their_share():
    """With a sink far above all scores nothing is mixed in; far below, it is ordinary attention."""
    model = replace(tiny.MODEL, attention_sinks=True)
    with torch.device("meta"):
        attention, ordinary = Attention(model, 0, Tables(16)), Attention(tiny.MODEL, 0, Tables(16))
    give_weights(attention, "", 0, "cpu")
    give_weights(ordinary, "", 0, "cpu")
    x = torch.randn(1, 16, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        attention.sinks.fill_(1e4)
        assert attention(x).abs().max() < 1e-6
        attention.sinks.fill_(-1e4)
        torch.testing.assert_close(attention(x), ordinary(x))


def test_experts_are_mixed_by_their_scores():
    """Against the plain loop over tokens."""
    from torch.nn import functional

    model = replace(tiny.MODEL, **MOE)
    with torch.device("meta"):
        mixture = Mixture(model)
    give_weights(mixture, "", 0, "cpu")
    x = torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(0))
    experts = mixture.experts
    expected = torch.zeros(5, 32)
    for place, token in enumerate(x[0]):
        scores, chosen = mixture.router(token).topk(2)
        for weight, expert in zip(scores.softmax(0), chosen, strict=True):
            hidden = functional.silu(token @ experts.gate[expert]) * (token @ experts.up[expert])
            expected[place] += weight * (hidden @ experts.down[expert])
    torch.testing.assert_close(mixture(x)[0], expected)


@pytest.mark.parametrize("counts", [[3, 0, 8, 5], [0, 0, 0, 16], [16, 0, 0, 0], [1, 1, 1, 13]])
def test_the_grouped_product_is_a_product_a_group(counts):
    """What a GPU does in one kernel, forward and backward; PyTorch has the same product for CPUs."""
    generator = torch.Generator().manual_seed(0)
    results = []
    for product in (one_kernel, lambda x, w, counts, _: torch.cat([*map(torch.matmul, x.split(counts.tolist()), w)])):
        x = torch.randn(16, 8, generator=generator.manual_seed(0)).requires_grad_()
        weights = torch.randn(4, 8, 24, generator=generator).requires_grad_()
        groups = torch.arange(4).repeat_interleave(torch.tensor(counts))
        y = product(x, weights, torch.tensor(counts), groups)
        (y * y).sum().backward()
        results.append([y.detach(), x.grad, weights.grad])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_the_host_does_not_wait_for_a_gpu_inside_a_mixture_of_experts(monkeypatch):
    """Nothing that is done depends on values: these tensors have none, and say only that they are on a GPU."""
    with torch.device("meta"):
        mixture = Mixture(replace(tiny.MODEL, **MOE))
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    with FakeTensorMode():
        weights = {name: torch.empty(weight.shape, dtype=torch.bfloat16) for name, weight in mixture.named_parameters()}
        x = torch.empty(1, 16, 32, dtype=torch.bfloat16, requires_grad=True)
        y = torch.func.functional_call(mixture, weights, x)
        y.sum().backward()
    assert x.grad.shape == y.shape == (1, 16, 32)


@pytest.mark.parametrize("chosen", [[0, 2, 2, 3], [1], [3, 3, 3, 3]])
def test_visits_of_experts_are_counted(chosen):
    assert torch.equal(visits(torch.tensor(chosen), 4), torch.bincount(torch.tensor(chosen), minlength=4))


def test_recomputation_changes_nothing(tokens):
    losses = []
    for plan in (
        Plan(),
        Plan(recompute="selective"),
        Plan(recompute="full"),
        Plan(recompute="full", recompute_layers=0.5),
    ):
        with torch.device("meta"):
            decoder = Decoder(tiny.TRAINING, plan)
        give_weights(decoder, "", 0, "cpu")
        next_token_loss(decoder(tokens), tokens).backward()
        losses.append([float(parameter.grad.norm()) for parameter in decoder.parameters()])
    assert all(one == pytest.approx(losses[0], rel=1e-6) for one in losses[1:])


def test_weights_depend_on_seed_and_name_alone():
    first = first_values("layers.0.mlp.up.weight", (4, 4), 0, "cpu")
    assert torch.equal(first, first_values("layers.0.mlp.up.weight", (4, 4), 0, "cpu"))
    assert not torch.equal(first, first_values("layers.1.mlp.up.weight", (4, 4), 0, "cpu"))
    assert not torch.equal(first, first_values("layers.0.mlp.up.weight", (4, 4), 1, "cpu"))


@pytest.mark.parametrize(("layers", "chunks"), [(1, 1), (5, 2), (126, 16), (7, 7), (9, 8), (12, 5)])
def test_chunks_hold_all_layers_in_order_and_none_is_empty(layers, chunks):
    found = layers_of_chunks(layers, chunks)
    assert len(found) == chunks
    assert all(len(chunk) for chunk in found)
    assert [layer for chunk in found for layer in chunk] == list(range(layers))
    assert max(map(len, found)) == -(-layers // chunks)
    assert all(len(before) >= len(after) for before, after in pairwise(found))


def test_shares_of_layers_are_counted_to_the_layer():
    model = transformer("gemma-2-27b")
    assert sum(window_of(model, i) > 0 for i in range(model.num_layers)) == model.num_sliding_layers
    half = Plan(recompute="full", recompute_layers=0.5)
    assert [recompute_of(half, i, 5) for i in range(5)].count("full") == 2
    assert {recompute_of(Plan(recompute="selective"), i, 5) for i in range(5)} == {"selective"}
