"""Finds published vectors in the project. Never required.

Written from docs/protocol.md alone.
"""
import json
import pathlib

VECTORS = pathlib.Path(__file__).resolve().parents[2] / "protocol/tests/vectors"


def load(name):
    path = VECTORS / name
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
