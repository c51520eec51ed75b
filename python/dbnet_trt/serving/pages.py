# SPDX-License-Identifier: Apache-2.0
"""The page at `/` and the reference at `/docs`: HTML that loads nothing from anywhere else."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from starlette.responses import HTMLResponse

NOTHING = "'none'"
PAGE = Path(__file__).with_name("page.html")

REFERENCE_STYLE = """
:root { color-scheme: light dark; --line: #8884; --accent: light-dark(#127a55, #3fd195); }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 56rem; margin: 0 auto; padding: 1.5rem; }
h2 { font-size: 1.1rem; margin-top: 2.4rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h2 b { color: var(--accent); } code { overflow-wrap: anywhere; } a { color: var(--accent); }
table { border-collapse: collapse; width: 100%; font-size: .93rem; }
td { border-bottom: 1px solid var(--line); padding: .35rem .6rem .35rem 0; vertical-align: top; }
td:first-child { white-space: nowrap; }
"""


def page_html(settings: dict[str, Any]) -> str:
    """Return the page, with the model's name and default thresholds in it."""
    text = json.dumps(settings).replace("<", "\\u003c")  # so that no name ends the element
    return PAGE.read_text("utf-8").replace("SETTINGS", text, 1)


def html_response(html: str) -> HTMLResponse:
    """Return a page that may run its own script and style only, and load from this server only."""
    sources = {
        name: " ".join(f"'{_hash(each)}'" for each in re.findall(pattern, html, re.DOTALL))
        for name, pattern in (
            ("script", r"<script>(.*?)</script>"),
            ("style", r"<style>(.*?)</style>"),
        )
    }
    policy = (
        "default-src 'none'; connect-src 'self'; img-src 'self' blob: data:; media-src blob:; "
        f"script-src {sources['script'] or NOTHING}; style-src {sources['style']}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    }
    return HTMLResponse(html, headers=headers)


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def reference_html(api: dict[str, Any]) -> str:
    """Return the reference of the routes that an OpenAPI document describes."""
    info = api["info"]
    body = "".join(
        _operation(method, path, operation)
        for path, methods in api["paths"].items()
        for method, operation in methods.items()
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])} API</title><style>{REFERENCE_STYLE}</style>"
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>"
        f"<p>{escape(info['description'])}</p>"
        '<p><a href="openapi.json">openapi.json</a> · <a href="./">page</a></p>'
        f"{body}</html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    rows = [
        *(
            _row(each["name"], _describe_parameter(each))
            for each in operation.get("parameters", [])
        ),
        *(_row("body", kind) for kind in operation.get("requestBody", {}).get("content", {})),
        *(_row(code, _describe_answer(each)) for code, each in operation["responses"].items()),
    ]
    return (
        f"<h2><b>{method.upper()}</b> <code>{escape(path)}</code></h2>"
        f"<p>{escape(operation['summary'])}.</p><table>{''.join(rows)}</table>"
    )


def _row(name: str, text: str) -> str:
    return f"<tr><td><code>{escape(name)}</code><td>{escape(text)}"


def _describe_parameter(parameter: dict[str, Any]) -> str:
    return "; ".join([parameter.get("description", ""), *_bounds(parameter["schema"])]).strip("; ")


def _bounds(schema: dict[str, Any]) -> Iterator[str]:
    for each in schema.get("anyOf", [schema]):
        if "enum" in each:
            yield ", ".join(map(str, each["enum"]))
        elif each.get("type") not in (None, "null"):
            limits = [f"{name} {each[name]:g}" for name in ("minimum", "maximum") if name in each]
            yield " ".join([each["type"], *limits])


def _describe_answer(answer: dict[str, Any]) -> str:
    kinds = ", ".join(answer.get("content", {}))
    return f"{answer['description']} {kinds}".strip()
