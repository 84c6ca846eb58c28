"""The price of a request from a formula over its parameters, such as `0.05 * n * duration`.

Formulas stand in model descriptions, which admins can edit, so they are evaluated by a library without access to Python: numbers,
comparisons, conditions, and a few functions.
"""

import ast
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from simpleeval import InvalidExpression, SimpleEval  # type: ignore[import-untyped]

MAX_LENGTH: Final = 1_000  # characters of a formula
MAX_USD: Final = 100_000  # of one request; more is an error in the formula
FUNCTIONS: Final = {"min": min, "max": max, "ceil": math.ceil, "floor": math.floor, "round": round}


class FormulaError(Exception):
    """Why a formula gives no price, in one sentence."""


def price(formula: str, values: Mapping[str, Any]) -> Decimal:
    """USD. Raises FormulaError."""
    if len(formula) > MAX_LENGTH:
        raise FormulaError(f"The formula has more than {MAX_LENGTH:,} characters.")
    try:
        result = SimpleEval(functions=dict(FUNCTIONS), names=dict(values)).eval(formula)
    except ZeroDivisionError:
        raise FormulaError("The formula divides by zero.") from None
    except (InvalidExpression, SyntaxError, ArithmeticError, TypeError, ValueError, RecursionError, MemoryError) as exc:
        raise FormulaError(f"The formula cannot be evaluated: {str(exc)[:200] or type(exc).__name__}.") from None
    if isinstance(result, bool) or not isinstance(result, int | float):
        raise FormulaError("The formula does not give a number.")
    if not 0 <= result <= MAX_USD:  # also false for NaN
        raise FormulaError(f"The formula gives a price that is not from 0 to {MAX_USD:,} dollars.")
    return Decimal(repr(result))


def names_in(formula: str) -> set[str]:
    """The parameters that a formula reads. Raises FormulaError."""
    try:
        tree = ast.parse(formula.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as exc:
        raise FormulaError(f"The formula is not valid: {str(exc)[:200]}.") from None
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - set(FUNCTIONS)
