"""What can be imported from the face of the package, and what that costs."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import coatcheck


def test_all_is_exactly_what_the_type_checker_is_told() -> None:
    tree = ast.parse(Path(str(coatcheck.__file__)).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    told = {
        alias.asname: statement.module
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert sorted(coatcheck.__all__) == sorted([*(name for name in told if name), "__version__"])
    for name, module in told.items():
        assert name is not None
        assert vars(coatcheck).get("_HOME", {})[name] == module


@pytest.mark.parametrize("name", coatcheck.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(coatcheck, name) is not None
    assert name in dir(coatcheck)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = coatcheck.Nothing


REPORT = """
import sys, json
before = set(sys.modules)
{statement}
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def modules_after(statement: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", REPORT.format(statement=statement)], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


HEAVY = {
    "boto3",
    "botocore",
    "aiohttp",
    "temporalio",
    "google",
    "psycopg",
    "restate",
    "inngest",
    "typer",
    "rich",
}


def test_importing_the_face_loads_no_dependency_at_all() -> None:
    third_party = modules_after("import coatcheck") - set(sys.stdlib_module_names)
    assert third_party == {"coatcheck"}


def test_a_chain_of_the_embedded_parts_loads_no_optional_dependency() -> None:
    loaded = modules_after("from coatcheck import Chain, Encrypt, FileStore, Keyring, Offload, Scope, Zstd")
    assert not loaded & HEAVY


@pytest.mark.parametrize("module", ["codecs", "stores", "integrations"])
def test_the_top_level_folders_have_no_init_file(module: str) -> None:
    folder = Path(str(coatcheck.__file__)).parent / module
    assert folder.is_dir()
    assert not (folder / "__init__.py").exists()


def test_dependencies_point_one_way() -> None:
    """Contracts know nobody; codecs and stores know only contracts; the core knows neither; nobody knows the cli."""
    package = Path(str(coatcheck.__file__)).parent
    foundation = {
        "coatcheck.contracts",
        "coatcheck.contracts.store",
        "coatcheck.contracts.codec",
        "coatcheck.contracts.sealing",
        "coatcheck.contracts.keys",
        "coatcheck.errors",
        "coatcheck.scope",
    }
    tools = {
        "coatcheck.runtime.clock",
        "coatcheck.runtime.concurrency",
        "coatcheck.runtime.forks",
        "coatcheck.telemetry",
    }
    exchangeable = ("coatcheck.codecs", "coatcheck.stores")
    outside = ("coatcheck.cli", "coatcheck.integrations")
    after_the_fact = ("coatcheck.audit", "coatcheck.retention")
    for path in modules_of(package):
        room = path.relative_to(package).parts[0]
        if room == "__init__.py":
            continue
        for imported in imports_of(path):
            if not imported.startswith("coatcheck"):
                continue
            known = imported in foundation
            allowed = {
                "contracts.py": known,
                "errors.py": False,
                "scope.py": known,
                "clock.py": False,
                "concurrency.py": imported == "coatcheck.runtime.forks",
                "forks.py": False,
                "telemetry.py": imported == "coatcheck._version",
                "codecs": known or imported.startswith("coatcheck.codecs."),
                "stores": known
                or imported == "coatcheck.runtime.forks"
                or imported.startswith("coatcheck.stores."),
                "testing": known or imported.startswith("coatcheck.testing"),
                "format": known or imported.startswith("coatcheck.format."),
                "storage": known
                or imported in tools
                or imported.startswith(("coatcheck.format.", "coatcheck.storage.")),
                "cli": True,
                "integrations": not imported.startswith(("coatcheck.cli", *exchangeable)),
                # They are to services what stores are: the keys of codecs, by the clients of stores.
                "keys": not imported.startswith(outside),
                "settings.py": not imported.startswith(outside),
                "server": not imported.startswith(("coatcheck.cli", *exchangeable)),
                "audit": not imported.startswith((*outside, *exchangeable)),
                "retention": not imported.startswith((*outside, *exchangeable, "coatcheck.audit")),
            }.get(room, not imported.startswith((*outside, *exchangeable, *after_the_fact)))
            assert allowed, f"{path.relative_to(package)} imports {imported}"


def modules_of(package: Path) -> list[Path]:
    """Also those in the linked folders, which ``rglob`` passes by."""
    walk = os.walk(package, followlinks=True)
    found = [Path(folder, name) for folder, _, names in walk for name in names if name.endswith(".py")]
    assert any("integrations" in path.parts for path in found)
    return found


def imports_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return found
