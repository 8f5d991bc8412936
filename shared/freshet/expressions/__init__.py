"""Expressions in the Common Expression Language: the only home of the interpreter.

Purpose: compile at apply (a wrong expression is refused at the door), evaluate in the engine and the
workers. Guarantee: plain JSON in, plain JSON out. Never: a clock, an effect, a variable that was not given.
"""

from freshet.expressions.errors import ExpressionError
from freshet.expressions.expression import Expression, compile_expression, task_result_path
from freshet.expressions.templates import (
    has_template,
    parse_template,
    render,
    template_expressions,
    template_references,
)

__all__ = [
    "Expression",
    "ExpressionError",
    "compile_expression",
    "has_template",
    "parse_template",
    "render",
    "task_result_path",
    "template_expressions",
    "template_references",
]
