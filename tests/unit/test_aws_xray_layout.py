"""The packages of the local X-Ray are those of docs/architecture.md, in its order: each imports only those above it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from compose.settings import ROOT

XRAY = ROOT / "localstack" / "aws" / "xray"
NAME = "localstack.aws.xray"


def imported(path: Path) -> Iterator[str]:
    """What a module imports of X-Ray: packages, or the module beside them that puts them together."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == NAME:
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{NAME}."):
            yield (node.module or "").split(".")[3]


def test_each_package_imports_only_those_above_it() -> None:
    documented = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("The local X-Ray, `localstack/aws/xray`")[2]
    order = re.findall(r"^\| `(\w+)` \|", documented.split("\n\n", 2)[1], re.M)
    assert set(order) == {path.parent.name for path in XRAY.glob("*/__init__.py")}
    order.insert(order.index("responses"), "models")
    for path in XRAY.rglob("*.py"):
        importer = path.relative_to(XRAY).with_suffix("").parts[0]
        for name in set(imported(path)) - {importer}:
            assert order.index(name) < order.index(importer), f"{path.relative_to(ROOT)} imports {name}"
