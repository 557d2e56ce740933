"""No plan is faster by pessimistic numbers."""

import numpy as np
from hypothesis import given, settings

from walltime.engines.pessimism import pessimistic
from walltime.engines.transformer import estimate
from walltime.plan import PlanBatch

from .transformers import questions


@settings(max_examples=60)
@given(question=questions(changed=False))
def test_no_step_is_faster_by_pessimistic_numbers(question):
    plans = PlanBatch.of([question.plan])
    usual = estimate(question.training, question.cluster, plans, question.stack)
    numbers_ = pessimistic(question.cluster, question.stack.id)
    worse = estimate(question.training, question.cluster, plans, question.stack, numbers=numbers_)
    assert worse.time_s[0] >= usual.time_s[0]
    assert np.array_equal(worse.needed_bytes, usual.needed_bytes)
