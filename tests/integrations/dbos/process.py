"""A process with an agent on DBOS, to be killed: ``python -m tests.integrations.dbos.process URL STORE EFFECTS HANG_IN``."""

import sys
import threading
from pathlib import Path

from dbos import DBOS, SetWorkflowID

from tests.integrations.dbos.agents import PATIENCE, launched, serializer_on, text

TURNS = 6
WORKFLOW = "killed"

_effects = Path()
_hang_in = -1


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


@DBOS.step()
def act(so_far: list[str], turn: int) -> list[str]:
    with _effects.open("a") as effects:
        effects.write(f"{turn}\n")
    if turn == _hang_in:
        say("hanging")
        threading.Event().wait(PATIENCE)
    return [*so_far, text(f"turn {turn}", 5000)]


@DBOS.workflow()
def talk(asked: str) -> list[str]:
    said = [asked]
    for turn in range(TURNS):
        said = act(said, turn)
    return said


def main(url: str, store: Path) -> None:
    with launched(url, serializer_on(store)):  # which goes on with what was under way
        with SetWorkflowID(WORKFLOW):
            talk(text("asked"))
        say("done")


if __name__ == "__main__":
    _effects, _hang_in = Path(sys.argv[3]), int(sys.argv[4])
    main(sys.argv[1], Path(sys.argv[2]))
