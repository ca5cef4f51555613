"""Check answers against the page's OpenAPI document: what of JSON Schema it uses, and nothing else."""

from __future__ import annotations

from typing import Any

TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "integer": (int,),
    "number": (int, float), "boolean": (bool,),
}  # fmt: skip
KNOWN = {"type", "required", "properties", "items", "additionalProperties", "nullable", "description"}


def faults(said: Any, schema: dict[str, Any], where: str = "answer") -> list[str]:
    """Return what of ``said`` is not as the schema has it."""
    assert not schema.keys() - KNOWN, f"this does not know {schema.keys() - KNOWN}"
    if said is None and schema.get("nullable"):
        return []
    wanted = schema.get("type")
    if wanted and (not isinstance(said, TYPES[wanted]) or (isinstance(said, bool) and wanted != "boolean")):
        return [f"{where}: {wanted} is wanted, got {said!r:.80}"]
    found = [f"{where}: {name} is missing" for name in schema.get("required", ()) if name not in said]
    if isinstance(said, list) and "items" in schema:
        for number, one in enumerate(said):
            found += faults(one, schema["items"], f"{where}[{number}]")
    if isinstance(said, dict):
        for name, one in said.items():
            part = schema.get("properties", {}).get(name, schema.get("additionalProperties", {}))
            found += faults(one, part, f"{where}.{name}")
    return found


def answer_faults(document: dict[str, Any], path: str, method: str, status: int, said: Any) -> list[str]:
    """Return what of an answer is not as the document says; ``path`` as it stands there."""
    response = document["paths"][path][method.lower()]["responses"].get(str(status))
    if response is None:
        return [f"{method} {path}: nothing is said of status {status}"]
    if "$ref" in response:
        response = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    return faults(said, schema, f"{method} {path}")
