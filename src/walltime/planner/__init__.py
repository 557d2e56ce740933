"""Which plan should I run, and why: the search joined with prices, power, and what was ever measured."""

from walltime.planner.answer import Answer
from walltime.planner.option import Option
from walltime.planner.question import GOALS, Goal, Question
from walltime.planner.recommend import recommend

__all__ = ["GOALS", "Answer", "Goal", "Option", "Question", "recommend"]
