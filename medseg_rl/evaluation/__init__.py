"""Robots drive the session the window drives; tables and curves of metric against clicks come out.

One protocol and one code path for every method. Only robots and metrics see the reference.
"""

from medseg_rl.evaluation.cases import (
    EvaluationCase,
    StartKind,
    empty_start_side_mm,
    load_evaluation_case,
    load_evaluation_cases,
)
from medseg_rl.evaluation.methods import Method, parse_method
from medseg_rl.evaluation.records import Record, read_records, write_records
from medseg_rl.evaluation.report import write_report
from medseg_rl.evaluation.run import Evaluation, EvaluationConfig, evaluate
from medseg_rl.evaluation.sharding import own_shard, patiently
from medseg_rl.evaluation.turns import Plan, Turn, drive
from medseg_rl.evaluation.validation import validation_curve

__all__ = [
    "Evaluation",
    "EvaluationCase",
    "EvaluationConfig",
    "Method",
    "Plan",
    "Record",
    "StartKind",
    "Turn",
    "drive",
    "empty_start_side_mm",
    "evaluate",
    "load_evaluation_case",
    "load_evaluation_cases",
    "own_shard",
    "parse_method",
    "patiently",
    "read_records",
    "validation_curve",
    "write_records",
    "write_report",
]
