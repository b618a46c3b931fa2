"""The entry point of the console script."""

import subprocess
import sys

from coatcheck import Key, __version__


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )


def test_version() -> None:
    done = run("import sys; sys.argv[1:] = ['--version']; from coatcheck.cli import main; main()")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"coatcheck {__version__}\n", "")


def test_a_new_key_is_one_that_a_keyring_takes() -> None:
    done = run("import sys; sys.argv[1:] = ['keys', 'new']; from coatcheck.cli import main; main()")
    assert done.returncode == 0
    assert len(Key.from_text(done.stdout).secret) == 32


def test_without_the_extra_one_line_names_it() -> None:
    done = run("import sys; sys.modules['typer'] = None; from coatcheck.cli import main; main()")
    assert done.returncode == 1
    assert done.stderr == "coatcheck: the command line needs typer: pip install 'coatcheck[cli]'\n"


def test_without_temporal_one_line_names_the_extra() -> None:
    done = run(
        "import sys; sys.modules['temporalio'] = None; sys.argv[1:] = ['demo']; "
        "from coatcheck.cli import main; main()"
    )
    assert done.returncode == 1
    assert done.stderr == "coatcheck demo: temporalio is not installed: pip install 'coatcheck[demo]'\n"


def test_the_entry_point_loads_neither_typer_nor_an_engine() -> None:
    done = run(
        "import sys, coatcheck.cli; print({'typer', 'rich', 'temporalio', 'matplotlib'} & set(sys.modules))"
    )
    assert done.stdout == "set()\n"


def test_a_command_that_had_done_its_work_crashed_while_the_interpreter_took_itself_apart() -> None:
    """Seen with threads of Temporal's client, in one of ten runs of ``coatcheck doctor``."""
    done = run(
        "import atexit, sys\n"
        "class Late:\n"
        "    def __del__(self): print('taken apart')\n"
        "late = Late()\n"
        "atexit.register(print, 'at exit')\n"
        "sys.argv[1:] = ['--version']\n"
        "from coatcheck.cli import main; main()"
    )
    assert done.returncode == 0
    assert done.stdout.splitlines()[1:] == ["at exit"]


def test_the_status_of_a_command_is_that_of_its_process() -> None:
    done = run("import sys; sys.argv[1:] = ['no-such-command']; from coatcheck.cli import main; main()")
    assert done.returncode == 2
    assert "no-such-command" in done.stderr
