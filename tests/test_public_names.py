"""What can be imported from the face of the package, and what that costs."""

import ast
import json
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
    "dbos",
    "inngest",
    "langgraph",
    "durabletask",
    "grpc",
    "aws_durable_execution_sdk_python",
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
