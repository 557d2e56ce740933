"""Flags that `search` and `scale` share: the batch, and what is required of a plan."""

import click

from walltime.cli.common import options
from walltime.cli.terms import terms_options

NUMBERS = {
    "tp": "Tensor parallelism",
    "cp": "Context parallelism",
    "pp": "Pipeline parallelism",
    "dp": "Data parallelism",
    "ep": "Expert parallelism",
    "etp": "Tensor parallelism inside an expert",
    "micro_batch": "Sequences that a pipeline works on at a time",
    "vpp": "Model chunks a pipeline stage holds",
}
"""Degrees that have flags of their own, and ``--min-`` and ``--max-`` before them."""

batch_options = options(
    click.option("--batch", type=int, metavar="N", help="Sequences in a step; or give --batch-tokens."),
    click.option("--batch-tokens", metavar="TOKENS", help="Tokens in a step, e.g. 16M."),
)
seq_len_option = click.option(
    "--seq-len",
    "--seq",
    "seq_len",
    type=int,
    metavar="TOKENS",
    help="Tokens in a sequence. Default: learned positions, or 4096.",
)
_degree_options = options(
    *(
        click.option(f"--{name.replace('_', '-')}", name, metavar="N[,N...]", help=f"{said}: only these.")
        for name, said in NUMBERS.items()
    ),
    *(
        click.option(
            f"--{kind}-{name.replace('_', '-')}", f"{kind}_{name}", type=int, metavar="N", help=f"{said}: {word}."
        )
        for kind, word in (("min", "at least"), ("max", "at most"))
        for name, said in NUMBERS.items()
    ),
)
requirement_options = options(
    terms_options,
    click.option("--stack", metavar="NAME", help="Training software. Default megatron-core."),
    click.option("--attention", metavar="KERNEL", help="Instead of the stack's: unfused, flash2, flash3, ..."),
    click.option("--precision", metavar="NAME[,NAME...]", help="Number formats that are allowed. Default: 16-bit."),
    _degree_options,
    click.option(
        "--fix", multiple=True, metavar="FIELD=VALUE[,...]", help="Any other choice, e.g. sharding=zero3 (repeat)."
    ),
    click.option(
        "--min-free-memory", metavar="BYTES", help="Memory that stays free on the fullest accelerator, e.g. 8GB."
    ),
    click.option(
        "--set", "set", multiple=True, metavar="FIELD=VALUE", help="Override, e.g. network.latency=0.5x (repeat)."
    ),
)
