"""The scope of a thread's values."""

from typing import Any, Final

from coatcheck.scope import Scope

ENGINE: Final = "langgraph"


def thread_scope(tenant: str, thread: Any) -> Scope:
    """Return the scope of a thread: of its checkpoints and writes in all namespaces, those of subgraphs included.

    Args:
        tenant: The tenant that the thread belongs to.
        thread: The thread's ID; savers take what is not text as its text.
    """
    return Scope(tenant, str(thread), engine=ENGINE)
