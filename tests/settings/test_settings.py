"""A chain from a file and the environment, and every mistake in one clear line."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from coatcheck import ConfigError, FileStore, IntegrityError, Key, Rule, Scope
from coatcheck.settings import model as settings
from coatcheck.settings.model import Settings
from tests.engines.tls import authority

SCOPE = Scope("tenant", "run")
SECRET = "hunter2"
ROOT = Path(__file__).parents[2]

Write = Callable[[str], None]


@pytest.fixture(autouse=True)
def nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("COATCHECK_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> None:
        (tmp_path / "coatcheck.toml").write_text(text)

    return write


def wrong() -> list[str]:
    """The lines of the error, without the first."""
    with pytest.raises(ConfigError) as info:
        Settings.load()
    assert SECRET not in str(info.value)
    assert info.value.__context__ is None
    first, *lines = str(info.value).split("\n- ")
    assert first.startswith("the settings cannot be used. Correct in ")
    return lines


def test_without_any_setting_there_must_be_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = Settings.load()
    assert loaded.encrypt
    with pytest.raises(ConfigError, match=r"COATCHECK_KEYS contains no key.*coatcheck keys new"):
        loaded.chain()
    monkeypatch.setenv("COATCHECK_KEYS", Key.generate().to_text())
    chain = loaded.chain()
    assert chain.encrypts
    assert repr(chain).startswith("Chain(Zstd(level=3), Encrypt(Keyring(")
    assert repr(FileStore()) in repr(chain)


async def test_the_chain_works(write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COATCHECK_KEYS", Key.generate().to_text())
    write(f'[offload]\nstore = "file://{tmp_path}/objects"\nover = 100')
    payload = os.urandom(5000)
    journal = await Settings.load().chain().encode(payload, SCOPE)
    assert len(journal) < 200
    assert len([found async for found in FileStore(tmp_path / "objects").list_objects()]) == 1
    assert await Settings.load().chain().decode(journal, SCOPE) == payload


async def test_other_stores_are_read(write: Write, tmp_path: Path) -> None:
    write(f'encrypt = false\n[offload]\nstore = "file://{tmp_path}/old"\nover = 1\nalias = "old"')
    journal = await Settings.load().chain().encode(b"payload", SCOPE)
    write(
        f'encrypt = false\n[offload]\nstore = "file://{tmp_path}/new"\n'
        f'[offload.read_also]\nold = "file://{tmp_path}/old"'
    )
    assert await Settings.load().chain().decode(journal, SCOPE) == b"payload"


def test_every_setting_of_the_file_arrives(write: Write) -> None:
    write("""
        codecs = ["zstd"]
        encrypt = false
        accept_unsealed = true
        decode_only = true
        max_payload = 1000
        [codec.zstd]
        level = 9
        [offload]
        store = "file:///folder"
        over = 7
        deadline = 9
        alias = "mine"
        [offload.read_also]
        old = "file:///old"
    """)
    loaded = Settings.load()
    assert loaded.accept_unsealed
    chain = loaded.chain()
    assert repr(chain) == "Chain(Zstd(level=9), Offload(FileStore('/folder'), over=7, alias='mine'))"
    assert chain.decode_only
    assert chain.max_payload == 1000
    assert loaded.offload.step().deadline == 9


async def test_accept_unsealed_arrives(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write("encrypt = false")
    journal = await Settings.load().chain().encode(b"a" * 1000, SCOPE)
    monkeypatch.setenv("COATCHECK_KEYS", Key.generate().to_text())
    write("accept_unsealed = true")
    assert await Settings.load().chain().decode(journal, SCOPE) == b"a" * 1000


def test_every_setting_of_the_environment_arrives_and_wins(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write('max_payload = 5\n[codec.zstd]\nlevel = 5\n[offload]\nover = 5\nalias = "from-file"')
    for name, value in {
        "CODECS": " zstd ,",
        "CODEC__ZSTD__LEVEL": "9",
        "ENCRYPT": "false",
        "DECODE_ONLY": "true",
        "OFFLOAD__STORE": "file:///folder",
        "OFFLOAD__OVER": "0",
        "OFFLOAD__READ_ALSO__OLD": "file:///old",
        "MAX_PAYLOAD": "1000",
    }.items():
        monkeypatch.setenv(f"COATCHECK_{name}", value)
    loaded = Settings.load()
    chain = loaded.chain()
    assert repr(chain) == "Chain(Zstd(level=9), Offload(FileStore('/folder'), over=0, alias='from-file'))"
    assert (chain.decode_only, chain.max_payload) == (True, 1000)
    assert list(loaded.offload.read_also) == ["old"]


def test_no_codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COATCHECK_ENCRYPT", "false")
    monkeypatch.setenv("COATCHECK_CODECS", "")
    assert repr(Settings.load().chain()).startswith("Chain(Offload(")


def test_the_file_can_be_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    write("max_payload = 1")
    other = tmp_path / "other.toml"
    other.write_text("max_payload = 2")
    monkeypatch.setenv("COATCHECK_CONFIG", str(other))
    assert Settings.load().max_payload == 2
    monkeypatch.setenv("COATCHECK_CONFIG", str(tmp_path / "missing.toml"))
    with pytest.raises(ConfigError, match=r"COATCHECK_CONFIG names '.*missing.toml', which does not exist"):
        Settings.load()


def test_arguments_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COATCHECK_MAX_PAYLOAD", "1")
    assert Settings(max_payload=2).max_payload == 2


def test_mistakes_in_the_file_are_a_line_each(write: Write) -> None:
    write(f"""
        encrypt = "false"
        encyrpt = true
        codecs = "zstd"
        max_payload = 0
        keys = "{SECRET}"
        decode_only = 1
        [offload]
        over = -1
        stoer = "postgresql://user:{SECRET}@host/db"
        store = 3
        [offload.read_also]
        BIG = "postgresql://user:{SECRET}@host/db"
    """)
    assert sorted(wrong()) == [
        "codecs: must be a list",
        "decode_only: must be true or false",
        "encrypt: must be true or false",
        "encyrpt: there is no such setting; did you mean encrypt?",
        "keys: there is no such setting; keys come only from the environment variable COATCHECK_KEYS",
        "max_payload: must be greater than 0",
        "offload.over: must be greater than or equal to 0",
        "offload.read_also.BIG: must be 1 to 32 characters of a-z 0-9 _ -",
        "offload.stoer: there is no such setting; did you mean store?",
        "offload.store: must be text",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[codec.zsdt]\nlevel = 3", "[codec.zsdt] has options, but codecs does not name 'zsdt'"),
        ("[codec]\nzstd = 3", "codec.zstd must be a table: [codec.zstd]"),
        ('codecs = ["zstd", "zstd"]', "codecs names a codec twice"),
        ("codecs = [3]", "codecs.0: must be text"),
        ("offload = 3", "offload: must be a table"),
        ('[offload]\ndeadline = "1"', "offload.deadline: must be a number"),
        ("[offload]\ndeadline = inf", "offload.deadline: must be a number"),
        ("max_payload = 1.5", "max_payload: must be a whole number"),
        (
            '[offload.read_also]\ndefault = "file:///x"',
            "offload: read_also has the alias 'default', which is the alias of the store itself",
        ),
    ],
)
def test_a_mistake_in_the_file(write: Write, text: str, line: str) -> None:
    write(text)
    assert wrong() == [line]


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("ENCRYPT", SECRET, "encrypt: must be true or false"),
        ("ENCRYPT", "", "encrypt: must be true or false"),
        ("MAX_PAYLOAD", SECRET, "max_payload: must be a whole number"),
        ("OFFLOAD__OVER", "4k", "offload.over: must be a whole number"),
        ("OFFLOAD__STOER", SECRET, "offload.stoer: there is no such setting; did you mean store?"),
        (
            "OFFLOAD_STORE",
            SECRET,
            "COATCHECK_OFFLOAD_STORE: there is no such variable; did you mean COATCHECK_OFFLOAD__STORE?",
        ),
        ("ENCYRPT", "1", "COATCHECK_ENCYRPT: there is no such variable; did you mean COATCHECK_ENCRYPT?"),
        (
            "OFFLOAD",
            SECRET,
            "COATCHECK_CODEC, COATCHECK_OFFLOAD and COATCHECK_RULES must be JSON; or use COATCHECK_OFFLOAD__STORE and the like",
        ),
    ],
)
def test_a_mistake_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, line: str
) -> None:
    monkeypatch.setenv(f"COATCHECK_{name}", value)
    assert wrong() == [line]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("OFFLOD__STORE", "COATCHECK_OFFLOAD__STORE"),
        ("OFFLOAD_OVER", "COATCHECK_OFFLOAD__OVER"),
        ("SERV__JWT__ISSUER", "COATCHECK_SERVE__JWT__ISSUER"),
        ("SERVE_PORT", "COATCHECK_SERVE__PORT"),
        ("KEY_RING__KMS", "COATCHECK_KEYRING__KMS"),
        ("KEY", "COATCHECK_KEYS"),
        ("KEYS__FILE", ""),
        ("ENCRYPT__X", "COATCHECK_ENCRYPT"),
        ("PLEASE", ""),
        ("", ""),
    ],
)
def test_an_unknown_variable_is_an_error_and_never_ignored(
    monkeypatch: pytest.MonkeyPatch, name: str, near: str
) -> None:
    monkeypatch.setenv(f"COATCHECK_{name}", SECRET)
    (line,) = wrong()
    assert line.startswith(f"COATCHECK_{name}: there is no such variable")
    assert not near or line.endswith(f"; did you mean {near}?")


def test_lower_case_is_no_way_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("coatcheck_offlod__store", SECRET)
    assert wrong() == [
        "COATCHECK_OFFLOD__STORE: there is no such variable; did you mean COATCHECK_OFFLOAD__STORE?"
    ]


def test_variables_that_are_not_ours_to_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Kubernetes gives every pod for services called coatcheck and coatcheck-codec."""
    of_one = ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_80_TCP", "PORT_80_TCP_ADDR")
    for service in ("COATCHECK", "COATCHECK_CODEC"):
        for name in of_one:
            monkeypatch.setenv(f"{service}_{name}", "tcp://10.0.0.1:80")
    monkeypatch.setenv("COATCHECK_TEST_ANYTHING", "1")
    assert Settings.load() == Settings()
    monkeypatch.delenv("COATCHECK_CODEC_SERVICE_HOST")
    assert "COATCHECK_CODEC_PORT: there is no such variable" in "".join(wrong())


def test_the_variables_of_the_tests_themselves_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new one is to begin with COATCHECK_TEST_: the suite runs commands that read settings."""
    if not (ROOT / "Makefile").exists():
        pytest.skip("the suite runs against a wheel")
    texts = [(ROOT / "Makefile").read_text()]
    for folder in ("tests", "benchmarks", ".github"):
        texts += [file.read_text() for file in (ROOT / folder).rglob("*") if file.suffix in {".py", ".yml"}]
    read = re.compile(
        r"(?:environ\.get\(|getenv\(|environ\[)\s*\"(COATCHECK_[A-Z_]+)\"|^\s*(COATCHECK_[A-Z_]+)[=:]",
        re.MULTILINE,
    )
    found = {name for text in texts for pair in read.findall(text) for name in pair if name}
    assert "COATCHECK_REQUIRE_ENGINES" in found
    for name in found:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("COATCHECK_KEYS", Key.generate().to_text())
    monkeypatch.delenv("COATCHECK_CONFIG", raising=False)
    Settings.load()


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("COATCHECK_KEYS", "COATCHECK_KEYS"),
        ("COATCHECK_KEYRING__FILE", "[keyring]"),
        ("COATCHECK_KEYRING__MAX_AGE", ""),
    ],
)
def test_a_file_that_lies_about_does_not_switch_encryption_off_where_there_are_keys(
    write: Write, monkeypatch: pytest.MonkeyPatch, name: str, where: str
) -> None:
    write("encrypt = false")
    assert not Settings.load().chain().encrypts
    monkeypatch.setenv(name, "60" if name.endswith("AGE") else SECRET)
    (line,) = wrong()
    if where:
        assert line.startswith(
            f"encrypt is false, but there are keys in {where}: payloads would be written in"
        )
    write("encrypt = false\ndecode_only = true")
    assert wrong()


async def test_accept_plain_arrives(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COATCHECK_KEYS", Key.generate().to_text())
    assert await Settings.load().chain().decode(b"plain", SCOPE) == b"plain"
    write("accept_plain = false")
    with pytest.raises(IntegrityError, match="is in the clear"):
        await Settings.load().chain().decode(b"plain", SCOPE)
    monkeypatch.delenv("COATCHECK_KEYS")
    write("accept_plain = false\nencrypt = false")
    assert wrong() == ["accept_plain and encrypt are both false: nothing would be sealed"]


async def test_replicas_and_a_cache_arrive(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COATCHECK_KEYS", Key.generate().to_text())
    store, cache = "file:///near", tmp_path / "cache"
    write(
        f'[offload]\nstore = "{store}"\nreplicas = ["file:///far", "file:///further"]\npatience = 1\n'
        f'cache = "{cache}"\ncache_bytes = 1000'
    )
    expected = (
        "CachedStore(FallbackStore(FileStore('/near'), FileStore('/far'), FileStore('/further')), "
        f"{str(cache)!r})"
    )
    assert repr(Settings.load().offload.open()) == expected
    write("")
    for name, value in {
        "STORE": store,
        "REPLICAS": "file:///far, file:///further",
        "CACHE": str(cache),
        "CACHE_BYTES": "1000",
    }.items():
        monkeypatch.setenv(f"COATCHECK_OFFLOAD__{name}", value)
    assert repr(Settings.load().chain().store) == expected
    for value in ('replicas = ["nowhere://user:hunter2@host"]', "replicas = [3]"):
        for name in ("STORE", "REPLICAS", "CACHE", "CACHE_BYTES"):
            monkeypatch.delenv(f"COATCHECK_OFFLOAD__{name}", raising=False)
        write(f"[offload]\n{value}")
        with pytest.raises(ConfigError) as info:
            Settings.load().chain()
        assert SECRET not in str(info.value)


def test_certificates_are_looked_at_when_settings_are_read(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file that is missing would else be noticed by the first payload; what stands in it is never repeated."""
    ours = authority(tmp_path)[1]
    monkeypatch.setenv("HOME", str(tmp_path))
    for said in (str(ours), ours.name, f"~/{ours.name}"):
        write(f'ca_bundle = "{said}"')
        assert Settings.load().ca_bundle == str(ours)
    (tmp_path / "none.pem").write_text(SECRET)
    for said, why in {
        f"/missing/{SECRET}.pem": "that file cannot be read: No such file or directory",
        str(tmp_path): "that file cannot be read: Is a directory",
        "": "that file cannot be read: Is a directory",
        "none.pem": "that file has no certificates; it must be PEM",
    }.items():
        monkeypatch.setenv("COATCHECK_CA_BUNDLE", said)
        assert wrong() == [f"ca_bundle: {why}"]


def test_a_file_that_cannot_be_read(tmp_path: Path, write: Write) -> None:
    write(f'encrypt = false\nkeys "{SECRET}"')
    (line,) = wrong()
    assert line.startswith("coatcheck.toml cannot be read as TOML: ")
    (tmp_path / "coatcheck.toml").write_bytes(b"\xff")
    assert wrong() == ["coatcheck.toml cannot be read as TOML: it is not UTF-8"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('codecs = ["zsdt"]', "the codec 'zsdt' is not installed"),
        ('[offload]\nstore = "nowhere://user:hunter2@host"', "the store 'nowhere' is not installed"),
        ('[offload]\nstore = "user:hunter2@host"', "not a store URL"),
        ('[offload.read_also]\nold = "nowhere://user:hunter2@host"', "the store 'nowhere' is not installed"),
        ("[codec.zstd]\nlevel = 99", "Zstandard has no level 99"),
    ],
)
def test_what_cannot_be_made(write: Write, text: str, said: str) -> None:
    write(f"encrypt = false\n{text}")
    with pytest.raises(ConfigError, match=said) as info:
        Settings.load().chain()
    assert SECRET not in str(info.value)


def test_urls_are_not_shown(write: Write) -> None:
    url = f"postgresql://user:{SECRET}@host/db"
    write(f'[offload]\nstore = "{url}"\n[offload.read_also]\nold = "{url}"')
    loaded = Settings.load()
    assert SECRET not in f"{loaded!r} {loaded} {loaded.model_dump()} {loaded.model_dump_json()}"


@pytest.mark.parametrize("where", ["docstring", "page"])
def test_the_documented_file_says_what_holds_without_it(write: Write, where: str) -> None:
    if where == "page":
        page = ROOT / "docs" / "settings.md"
        if not page.exists():
            pytest.skip("the suite runs against a wheel, without the pages")
        example = page.read_text(encoding="utf-8").partition("```toml\n")[2].partition("```")[0]
    else:
        example = str(settings.__doc__).partition("::\n")[2].partition("\nNothing is guessed")[0]
    write(example)
    loaded, plain = Settings.load(), Settings(codec={"zstd": {"level": 3}})
    same = {"offload", "rules"}
    assert loaded.model_dump(exclude=same) == plain.model_dump(exclude=same)
    same = {"store", "read_also"}
    assert loaded.offload.model_dump(exclude=same) == plain.offload.model_dump(exclude=same)
    fields = (*Settings.model_fields, *type(loaded.offload).model_fields, *type(loaded.rules[0]).model_fields)
    for field in fields:
        assert field in example


RULES = """
encrypt = false
[offload]
read_also.images = "file:///images"
[[rules]]
name = "activity:render"
store = "images"
over = 0
[[rules]]
name = "signal:*"
inline = true
"""


def test_rules_arrive_in_their_order(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write(RULES)
    chain = Settings.load().chain()
    assert chain.rule_for("activity:render") == Rule("activity:render", over=0, store="images")
    assert chain.rule_for("signal:go") == Rule("signal:*", inline=True)
    assert chain.rule_for("activity:other") is None
    monkeypatch.setenv("COATCHECK_RULES", '[{"name": "*", "over": 7}, {"name": "signal:*"}]')
    assert Settings.load().chain().rule_for("signal:go") == Rule("*", over=7)


@pytest.mark.parametrize(
    ("right", "mistake", "line"),
    [
        ("over = 0", "ovr = 0", "rules.0.ovr: there is no such setting; did you mean over?"),
        ("over = 0", "encrypt = false", "rules.0.encrypt: there is no such setting"),
        ("over = 0", 'over = "0"', "rules.0.over: must be a whole number"),
        (
            "over = 0",
            "over = -1",
            "rules.0: the rule for 'activity:render' has a threshold of -1 bytes. Use 0 to offload everything.",
        ),
        (
            "inline = true",
            "inline = true\nover = 5",
            (
                "rules.1: the rule for 'signal:*' keeps payloads inline, and says when or where to offload them. "
                "Leave out inline, or over and store."
            ),
        ),
        (
            'store = "images"',
            'store = "imgaes"',
            "the rule for 'activity:render' names a store 'imgaes'; [offload] has default, images",
        ),
        ('name = "signal:*"', "", "rules.1.name: Field required"),
        ("[[rules]]", "[[rule]]", "rule: there is no such setting; did you mean rules?"),
    ],
)
def test_a_mistake_in_a_rule(write: Write, right: str, mistake: str, line: str) -> None:
    assert right in RULES
    write(RULES.replace(right, mistake))
    assert wrong() == [line]


def test_loading_settings_loads_no_optional_dependency() -> None:
    program = "import sys, coatcheck.settings.model; print(sorted({'boto3', 'aiohttp', 'google', 'psycopg', 'typer'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"


def test_memory_has_no_url() -> None:
    with pytest.raises(ConfigError, match="the store 'memory' is not installed"):
        Settings(encrypt=False, offload={"store": "memory://"}).chain()  # type: ignore[arg-type]
