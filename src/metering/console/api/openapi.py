"""The OpenAPI document, made of the table that serves."""

from collections.abc import Iterable
from typing import Any

import msgspec

from metering.console.api.endpoints import Endpoint
from metering.console.problems import Problem

__all__ = ["document"]

_TEMPLATE = "#/components/schemas/{name}"
_NULL = {"type": "null"}


def document(
    endpoints: Iterable[Endpoint], *, version: str, mounted_at: str
) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of some endpoints.

    Args:
        endpoints: What there is.
        version: Of this library.
        mounted_at: The path under which they are.
    """
    endpoints = tuple(endpoints)
    types = dict.fromkeys(
        shown
        for each in endpoints
        for shown in (each.answer, each.body)
        if shown is not None
    )
    _, components = msgspec.json.schema_components(
        [*types, Problem], ref_template=_TEMPLATE
    )
    for schema in components.values():
        if "description" in schema:
            # Of a docstring the first line is for who reads the document.
            schema["description"] = schema["description"].partition("\n")[0]
    paths: dict[str, Any] = {}
    for each in endpoints:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each)
    return {
        "openapi": "3.1.0",
        "info": {"title": "metering", "version": version},
        "servers": [{"url": mounted_at or "/"}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key, or the operator's token.",
                }
            },
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "tags": ["operator" if endpoint.operator else "account"],
        "parameters": list(_parameters(endpoint.query)),
        "responses": {
            "200": _content("Done.", "application/json", endpoint.answer),
            "4XX": _content("Not done.", "application/problem+json", Problem),
            "503": _content("Not just now.", "application/problem+json", Problem),
        },
    }
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": _content("", "application/json", endpoint.body)["content"],
        }
    return operation


def _content(
    description: str, media_type: str, shown: type[msgspec.Struct]
) -> dict[str, Any]:
    schema = {"$ref": _TEMPLATE.format(name=shown.__name__)}
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _parameters(query: type[msgspec.Struct]) -> Iterable[dict[str, Any]]:
    _, components = msgspec.json.schema_components([query], ref_template=_TEMPLATE)
    schema = components[query.__name__]
    required = schema.get("required", ())
    for name, member in schema["properties"].items():
        yield {
            "name": name,
            "in": "query",
            "required": name in required,
            "schema": _given(member),
        }


def _given(member: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a member that is left out where it would be null."""
    kinds: list[dict[str, Any]] = member.get("anyOf", [member])
    (given,) = [kind for kind in kinds if kind != _NULL]
    return given
