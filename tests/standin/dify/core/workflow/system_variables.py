"""System variables (`sys.*`) of a run."""

from collections.abc import Mapping, Sequence
from typing import Any

from graphon.runtime import VariablePool
from graphon.variables.factory import build_segment, segment_to_variable
from graphon.variables.variables import Variable

SYSTEM_VARIABLE_NODE_ID = "sys"


def build_system_variables(**values: Any) -> list[Variable]:
    named = {"workflow_run_id" if name == "workflow_execution_id" else name: value for name, value in values.items()}
    return [
        segment_to_variable(segment=build_segment(value), selector=[SYSTEM_VARIABLE_NODE_ID, name], name=name)
        for name, value in named.items()
        if value is not None
    ]


def add_variables_to_pool(variable_pool: VariablePool, variables: Sequence[Variable]) -> None:
    for variable in variables:
        variable_pool.add(variable.selector, variable)


def add_node_inputs_to_pool(variable_pool: VariablePool, *, node_id: str, inputs: Mapping[str, Any]) -> None:
    for name, value in inputs.items():
        variable_pool.add((node_id, name), value)


def get_system_text(variable_pool: Any, name: str) -> str | None:
    segment = variable_pool.get((SYSTEM_VARIABLE_NODE_ID, name))
    return segment.text if segment is not None and segment.text else None
