"""A page that describes the REST API, from its OpenAPI document; without scripts."""

from __future__ import annotations

from html import escape
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse

_STYLE = (
    ":root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}"
    "body{max-width:50rem;margin:2rem auto;padding:0 1rem}"
    "section{border-top:1px solid #8884;padding:.5rem 0}"
    "code{font-size:.95em}h2{font-size:1.05rem}"
    "td{padding:.1rem 1rem .1rem 0;vertical-align:top}"
)


def install(app: FastAPI) -> None:
    """Serve the page at ``/api/v1/docs``."""

    async def docs(request: Request) -> HTMLResponse:
        return HTMLResponse(render(app.openapi()), headers={"cache-control": "no-cache"})

    app.add_route("/api/v1/docs", docs, methods=["GET"])


def render(document: dict[str, Any]) -> str:
    """The OpenAPI document as HTML."""
    sections = [
        _operation(method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    schemas = document.get("components", {}).get("schemas", {})
    sections += [_schema(name, schema) for name, schema in sorted(schemas.items())]
    info = document["info"]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width">'
        f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style>"
        f"<h1>{escape(info['title'])} API <small>{escape(info['version'])}</small></h1>"
        f"{_text(info.get('description', ''))}"
        f'<p>For programs: <a href="/api/v1/openapi.json">openapi.json</a></p>'
        f"{''.join(sections)}</html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    rows = [("body", _type(body["schema"]))] if body else []
    for status, answer in operation.get("responses", {}).items():
        content = next(iter(answer.get("content", {}).items()), None)
        if status == "422":
            continue
        kind = "" if content is None else _type(content[1].get("schema", {})) or content[0]
        rows.append((status, kind or answer.get("description", "")))
    head = f"<code>{escape(method.upper())} {escape(path)}</code>"
    return (
        f"<section><h2>{head}</h2>{_text(operation.get('description', ''))}{_table(rows)}</section>"
    )


def _schema(name: str, schema: dict[str, Any]) -> str:
    rows = [
        (field, " · ".join(filter(None, (_type(value), value.get("description", "")))))
        for field, value in schema.get("properties", {}).items()
    ]
    return (
        f'<section id="{escape(name)}"><h2>{escape(name)}</h2>'
        f"{_text(schema.get('description', ''))}{_table(rows)}</section>"
    )


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("type", ""))


def _text(text: str) -> str:
    return "".join(f"<p>{escape(part)}</p>" for part in text.split("\n\n") if part.strip())


def _table(rows: list[tuple[str, str]]) -> str:
    lines = (f"<tr><td><code>{escape(name)}</code><td>{escape(value)}" for name, value in rows)
    return f"<table>{''.join(lines)}</table>" if rows else ""
