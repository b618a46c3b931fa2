"""The OpenAPI 3.1 description of a server with its settings."""

from typing import Any, Final

from coatcheck._version import __version__
from coatcheck.server.messages import BASE64, MAX_SIZE, SIZE
from coatcheck.server.refusals import Refusal
from coatcheck.settings.serve import ServeSettings

NAMESPACE: Final = "[!-.0-~]{1,255}"
"""A namespace: printable ASCII, no slash."""

_TITLES: Final = {
    "decode": "Decode payloads. Others than coatcheck's are returned unchanged; failures are returned as placeholders.",
    "download": "Decode payloads, all of which must be coatcheck's.",
    "encode": "Encode payloads in the scope of the namespace.",
}
_REFUSALS: Final = {
    refusal.status for refusal in Refusal if refusal not in (Refusal.NOT_FOUND, Refusal.METHOD_NOT_ALLOWED)
}


def describe(settings: ServeSettings) -> dict[str, Any]:
    """Return the OpenAPI document."""
    paths: dict[str, Any] = {}
    for action in actions(settings):
        paths[f"/{action}"] = {"post": _operation(action, action, _HEADER)}
        paths[f"/{{namespace}}/{action}"] = {"post": _operation(action, f"{action}-by-path", _PATH)}
    for name, content, title in (
        ("health", "application/json", "Check that the server answers."),
        ("metrics", "text/plain", "Metrics for Prometheus."),
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
    """Return the actions that the server offers."""
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
    "description": "`true` returns references to large payloads unchanged.",
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
        "properties": {
            "message": {"type": "string"},
            "requestId": {"type": "string"},
            "key": {"type": "string", "pattern": "^[0-9a-f]{8}$"},
        },
    },
}


def _operation(action: str, name: str, namespace: dict[str, Any]) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": _TITLES[action],
        "parameters": [namespace, *([_KEEP] if action == "decode" else [])],
        "requestBody": {"required": True, "content": _content("Payloads")},
        "responses": {
            "200": {
                "description": "One payload for each, in the same order.",
                "content": _content("Payloads"),
            },
            **{
                str(status): {"description": "Refused.", "content": _content("Refusal")}
                for status in sorted(_REFUSALS)
            },
        },
    }


def _content(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
