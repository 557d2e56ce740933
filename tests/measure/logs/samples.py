"""Logs in the formats of four frameworks, made up: only the words and their order are the frameworks'."""

MEGATRON = """\
using world size: 16, data-parallel size: 4
[Rank 0] (after 5 iterations) memory (MB) | allocated: 1000.5 | max allocated: 2048.0 | reserved: 2500.0 | \
max reserved: 4096.0
[Rank 8] (after 5 iterations) memory (MB) | allocated: 900.0 | max allocated: 1900.0 | reserved: 2500.0 | \
max reserved: 3000.0
 [2026-01-02 03:04:05.000006] iteration        5/     100 | consumed samples:          640 | \
elapsed time per iteration (ms): 9000.0 | throughput per GPU (TFLOP/s/GPU): 40.0 | learning rate: 1.0E-05 | \
global batch size:   128 | lm loss: 1.100000E+01 | loss scale: 1.0 | grad norm: 2.000 | \
number of skipped iterations:   0 | number of nan iterations:   0 |
 [2026-01-02 03:04:15] iteration       10/     100 | consumed samples:         1280 | \
elapsed time per iteration (ms): 2100.0 | throughput per GPU (TFLOP/s/GPU): 390.0 | learning rate: 1.0E-05 | \
global batch size:   128 | lm loss: 1.050000E+01 |
 [2026-01-02 03:04:25] iteration       15/     100 | consumed samples:         1920 | \
elapsed time per iteration (ms): 2000.0 | throughput per GPU (TFLOP/s/GPU): 400.0 | \
energy per GPU (J/iter/GPU): 1200.0 | power per GPU (W/GPU): 600.0 | \
learning rate: 1.0E-05 | global batch size:   128 | lm loss: 1.000000E+01 |
15: [2026-01-02 03:04:35] iteration       20/     100 | consumed samples:         2560 | \
elapsed time per iteration (ms): 2002.0 | throughput per GPU (TFLOP/s/GPU): 401.0 | \
energy per GPU (J/iter/GPU): 1220.0 | power per GPU (W/GPU): 610.0 | \
learning rate: 1.0E-05 | global batch size:   128 | lm loss: 9.500000E+00 |
"""

TORCHTITAN = """\
[rank0]:[titan] 2026-01-02 03:04:05,006 - root - INFO - Training starts at step 1
[rank0]:[titan] 2026-01-02 03:04:05,006 - root - INFO - \x1b[31mstep:  1  \x1b[32mloss: 12.2500  \
\x1b[38;2;180;60;0mgrad_norm:  5.0000  \x1b[38;2;54;234;195mmemory: 20.00GiB(25.00%)  \x1b[34mtps: 400  \
\x1b[36mtflops: 20.00  \x1b[35mmfu: 2.00%\x1b[39m
[rank0]:[titan] 2026-01-02 03:04:15,006 - root - INFO - \x1b[31mstep: 10  \x1b[32mloss: 10.7000  \
\x1b[38;2;54;234;195mmemory: 30.00GiB(37.50%)  \x1b[34mtps: 8,000  \x1b[36mtflops: 400.00  \x1b[35mmfu: 40.00%\x1b[39m
[rank0]:[titan] 2026-01-02 03:04:16,006 - root - INFO - \x1b[33mvalidate step: 10  \x1b[32mloss: 10.0000  \
\x1b[38;2;54;234;195mmemory: 50.00GiB(60.00%)  \x1b[34mtps: 90,000\x1b[39m
[rank0]:[titan] 2026-01-02 03:04:25,006 - root - INFO - \x1b[31mstep: 20  \x1b[32mloss:  8.9000  \
\x1b[38;2;54;234;195mmemory: 30.00GiB(37.50%)  \x1b[34mtps: 8,192  \x1b[36mtflops: 410.00  \x1b[35mmfu: 41.00%\x1b[39m
"""

DEEPSPEED = """\
[2026-01-02 03:04:05,006] [INFO] [logging.py:96:log_dist] [Rank 0] step=10, skipped=0, lr=[1e-05], mom=[(0.9, 0.95)]
[2026-01-02 03:04:05,006] [INFO] [timer.py:260:stop] epoch=0/micro_step=10/global_step=10, \
RunningAvgSamplesPerSec=30.5, CurrSamplesPerSec=31.0, MemAllocated=6.0GB, MaxMemAllocated=19.5GB
[2026-01-02 03:04:06,006] [INFO] [logging.py:96:log_dist] [Rank 0] time (ms) | fwd_microstep: 90.0 | \
bwd_microstep: 200.0 | bwd_inner_microstep: 150.0 | bwd_allreduce_microstep: 50.0 | step_microstep: 10.0
[2026-01-02 03:04:06,006] [INFO] [logging.py:96:log_dist] [Rank 0] time (ms) | fwd: 1000.0 | bwd: 2500.0 | \
bwd_inner: 2300.0 | bwd_allreduce: 200.0 | step: 500.0
[2026-01-02 03:04:08,006] [INFO] [timer.py:260:stop] epoch=0/micro_step=20/global_step=20, \
RunningAvgSamplesPerSec=31.5, CurrSamplesPerSec=32.0, MemAllocated=6.0GB, MaxMemAllocated=20.0GB
"""

DEEPSPEED_PIPELINE = """\
steps: 10 loss: 5.6000 iter time (s): 0.500 samples/sec: 256.000
steps: 20 loss: 5.5000 iter time (s): 0.250 samples/sec: 512.000
"""

NEMO = """\
[NeMo I 2026-01-02 03:04:05 nemo_logging:393] Doing selective restore
[default0]:Training epoch 0, iteration 0/99 | lr: 1e-06 | global_batch_size: 128 | global_step: 0 | \
peak_memory_usage: 60000000000 | memory_allocated: 40000000000 | reduced_train_loss: 12.0 | train_step_timing in s: 50.0
[default0]:Training epoch 0, iteration 10/99 | lr: 1e-06 | global_batch_size: 128 | global_step: 10 | \
peak_memory_usage: 70000000000 | memory_allocated: 40000000000 | reduced_train_loss: 11.5 | \
train_step_timing in s: 12.4 | tokens_per_sec_per_gpu: 1.073e+04 | consumed_samples: 1408
[default0]:Training epoch 0, iteration 11/99 | lr: 1e-06 | global_batch_size: 128 | global_step: 11 | \
peak_memory_usage: 70000000000 | memory_allocated: 40000000000 | reduced_train_loss: 11.25 | \
train_step_timing in s: 12.2 | consumed_samples: 1536
"""

NEMO_BAR = (
    "Epoch 0: :   0%|          | 0/20 [00:00<?]\r"
    "Epoch 0: :   5%|▌         | 1/20 [00:09<02:51, reduced_train_loss=11.00, global_step=0.000, "
    "consumed_samples=128.0, train_step_timing in s=9.000]\r"
    "Epoch 0: :  10%|█         | 2/20 [00:15<02:17, reduced_train_loss=10.50, global_step=1.000, "
    "consumed_samples=256.0, train_step_timing in s=6.200]\r"
    "Epoch 0: :  10%|█         | 2/20 [00:15<02:18, reduced_train_loss=10.50, global_step=1.000, "
    "consumed_samples=256.0, train_step_timing in s=6.100]\n"
)
