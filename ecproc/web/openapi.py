"""The OpenAPI document, written from the table of operations and the types that their answers are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from ecproc import __version__
from ecproc.web.operations import JSON, Operation, Parameter
from ecproc.web.problems import PROBLEM_TYPE, Problem

_PART: Final = re.compile(r"{(\w+)}")
_TEMPLATE: Final = "#/components/schemas/{name}"
_ANY_FAILS: Final[Mapping[int, str]] = {
    400: "Something of the request is not as it must be.",
    401: "A bearer token is required.",
    413: "Its body is too large.",
    421: "The Host header names somebody else.",
    429: "Too many wrong tokens.",
    500: "A live row is damaged, or ecproc has a defect.",
    503: "It is starting, the log cannot be read now, or too many ask at once.",
}


def write_document(operations: Sequence[Operation]) -> bytes:
    """The document of these operations, OpenAPI 3.1 as JSON."""
    types = list(dict.fromkeys([Problem, *_list_types(operations)]))
    schemas, components = msgspec.json.schema_components(types, ref_template=_TEMPLATE)
    known = dict(zip(types, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _describe(operation, known)
    document = {
        "openapi": "3.1.0",
        "info": {"title": "ecproc", "version": __version__},
        "servers": [{"url": "/"}],
        "security": [{}, {"token": []}],
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }
    return msgspec.json.encode(document)


def _list_types(operations: Iterable[Operation]) -> Iterable[Any]:
    for operation in operations:
        yield from (kind for kind in (operation.takes, *operation.answers.values()) if kind is not None)


def _describe(operation: Operation, known: Mapping[Any, Any]) -> dict[str, Any]:
    good = {
        media: {"schema": {"type": "string"} if kind is None else known[kind]}
        for media, kind in operation.answers.items()
    }
    taken = {} if operation.takes is None else {"requestBody": _describe_body(known[operation.takes])}
    problem = {PROBLEM_TYPE: {"schema": known[Problem]}}
    fails = {**_ANY_FAILS, **operation.fails}
    return {
        "operationId": operation.name,
        "summary": operation.text,
        "parameters": [
            *map(_describe_part, _PART.findall(operation.path)),
            *map(_describe_parameter, operation.parameters or ()),
        ],
        **taken,
        "responses": {
            str(operation.status): {"description": operation.text, "content": good},
            **{str(status): {"description": text, "content": problem} for status, text in sorted(fails.items())},
        },
    }


def _describe_body(schema: Any) -> dict[str, Any]:
    return {"required": True, "content": {JSON: {"schema": schema}}}


def _describe_part(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _describe_parameter(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if parameter.words:
        schema["enum"] = list(parameter.words)
    elif parameter.numbers is not None:
        first, last = parameter.numbers
        schema = {"type": "integer", "minimum": first, "maximum": last}
    elif parameter.form is not None:
        schema["pattern"], schema["maxLength"] = parameter.form
    place = "header" if parameter.in_header else "query"
    needed = {"required": True} if parameter.needed else {}
    return {"name": parameter.name, "in": place, **needed, "description": parameter.text, "schema": schema}
