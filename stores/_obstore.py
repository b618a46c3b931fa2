"""What went wrong, read out of an obstore error: it carries the service's answer only as text."""

import re
from dataclasses import dataclass

_STATUS = re.compile(r"Server returned (?:non-2xx status code|error response): (\d{3})")
_LEAF = re.compile(r'(?:message|error): "([^"\n]{1,200})"')
_HYPER = re.compile(r"hyper::Error\(\s*(\w+),\s*\)")
_KIND = re.compile(r"kind: ([A-Z]\w+)")
_RAISED = re.compile(r"type: <class '(?:[\w.]*\.)?(\w+)'>")
_DEBUG = "\n\nDebug source:\n"


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed request."""

    status: int
    """The HTTP status; 0 where no answer came."""
    body: str
    """The answer's body; empty where there is none."""
    reason: str
    """Where no answer came: why, in a few words."""
    raised: str
    """The class of the exception that the credential provider raised; empty if it raised none."""

    def element(self, name: str) -> str:
        """The text of the first XML element ``name`` of the body; empty if it has none."""
        found = re.search(rf"<{name}>([^<]*)</{name}>", self.body)
        return found[1] if found else ""


def failure(error: Exception) -> Failure:
    """Take an error of obstore apart."""
    said, _, debug = str(error).partition(_DEBUG)
    raised = _RAISED.search(debug)
    if status := _STATUS.search(said):
        return Failure(int(status[1]), said[status.end() :], "", "")
    if "redirect without LOCATION" in said:
        return Failure(301, "", "", "")
    # The innermost cause is printed last.
    found = _LEAF.findall(debug) or _HYPER.findall(debug) or _KIND.findall(debug)
    return Failure(0, "", found[-1] if found else "no answer", raised[1] if raised else "")
