"""The description of the server in OpenAPI 3.1, as it is set up."""

from typing import Any, Final

from coatcheck._version import __version__
from coatcheck.server.messages import BASE64, MAX_SIZE, SIZE
from coatcheck.server.refusals import Answer
from coatcheck.settings.serve import ServeSettings

NAMESPACE: Final = "[!-.0-~]{1,255}"
"""A namespace: printable ASCII, no slash."""

_TITLES: Final = {
    "decode": "Open payloads; those that are not coatcheck's come back untouched, those that do not open as placeholders.",
    "download": "Open payloads, all of which have to be coatcheck's.",
    "encode": "Seal payloads, in the scope of the namespace.",
}
_REFUSALS: Final = {
    answer.status for answer in Answer if answer not in (Answer.NOT_FOUND, Answer.METHOD_NOT_ALLOWED)
}


def describe(settings: ServeSettings) -> dict[str, Any]:
    """The OpenAPI document."""
    paths: dict[str, Any] = {}
    for action in actions(settings):
        paths[f"/{action}"] = {"post": _operation(action, action, _HEADER)}
        paths[f"/{{namespace}}/{action}"] = {"post": _operation(action, f"{action}-by-path", _PATH)}
    for name, content, title in (
        ("health", "application/json", "Whether the server answers."),
        ("metrics", "text/plain", "Figures for Prometheus."),
        ("openapi.json", "application/json", "This description."),
    ):
        described = {"200": {"description": "Done.", "content": {content: {}}}}
        paths[f"/{name}"] = {"get": {"operationId": name, "summary": title, "responses": described}}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "coatcheck codec server", "version": __version__},
        "paths": paths,
        "components": {"schemas": _SCHEMAS},
    }
    if settings.jwt is not None:
        document["components"]["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
        }
        for path in paths.values():
            if "post" in path:
                path["post"]["security"] = [{"token": []}]
    return document


def actions(settings: ServeSettings) -> list[str]:
    """What the server does."""
    return ["decode", "download", *(["encode"] if settings.encode else [])]


_HEADER: Final = {
    "name": "X-Namespace",
    "in": "header",
    "required": True,
    "schema": {"type": "string", "pattern": f"^{NAMESPACE}$"},
}
_PATH: Final = {
    "name": "namespace",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": f"^{NAMESPACE}$"},
}
_KEEP: Final = {
    "name": "preserveStorageRefs",
    "in": "query",
    "description": "`true` leaves references to large payloads as they are.",
    "schema": {"type": "string"},
}
_BYTES: Final = {"type": ["string", "null"], "pattern": f"^{BASE64}$", "contentEncoding": "base64"}
_SIZE: Final = {
    "type": ["string", "integer", "null"],
    "pattern": f"^(?:{SIZE})$",
    "minimum": 0,
    "maximum": MAX_SIZE,
}
_SCHEMAS: Final = {
    "Payloads": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "payloads": {
                "type": ["array", "null"],
                "items": {"$ref": "#/components/schemas/Payload"},
            }
        },
    },
    "Payload": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "metadata": {
                "type": ["object", "null"],
                "additionalProperties": {**_BYTES, "type": "string"},
            },
            "data": _BYTES,
            "externalPayloads": {
                "type": ["array", "null"],
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"sizeBytes": _SIZE},
                },
            },
        },
    },
    "Refusal": {
        "type": "object",
        "additionalProperties": False,
        "required": ["message", "requestId"],
        "properties": {"message": {"type": "string"}, "requestId": {"type": "string"}},
    },
}


def _operation(action: str, name: str, namespace: dict[str, Any]) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": _TITLES[action],
        "parameters": [namespace, *([_KEEP] if action == "decode" else [])],
        "requestBody": {"required": True, "content": _content("Payloads")},
        "responses": {
            "200": {"description": "As many payloads, in the same order.", "content": _content("Payloads")},
            **{
                str(status): {"description": "Refused.", "content": _content("Refusal")}
                for status in sorted(_REFUSALS)
            },
        },
    }


def _content(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
