"""What is attached to a workflow: memo, headers, search attributes, and words for people."""

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.common import (
    HeaderCodecBehavior,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
)

from tests.integrations.temporal.paths import flows
from tests.integrations.temporal.paths.headers import HeaderInterceptor
from tests.integrations.temporal.paths.path import END, START, Handles, PayloadPath, gives_back
from tests.integrations.temporal.paths.site import Site
from tests.integrations.temporal.paths.values import CANARY, large

_ATTRIBUTE = SearchAttributeKey.for_keyword("CoatcheckPath")


async def _memo(site: Site) -> Handles:
    """The server takes 2 MiB of memo at the most; of ours it gets references."""
    data = large("memo")
    handle = await site.start(flows.Remember.run, True, memo={"note": data, "other": data})
    assert await handle.result() == data
    description = await handle.describe()
    assert await description.memo() == {"note": data, "other": data, "later": data}
    return [handle, site.run(f"{handle.id}-child")]


async def _search_attributes(site: Site) -> Handles:
    """The server has to read them, to search by them: they never pass a codec."""
    await site.plain.operator_service.add_search_attributes(
        AddSearchAttributesRequest(
            namespace=site.client.namespace,
            search_attributes={_ATTRIBUTE.name: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD},
        )
    )
    attributes = TypedSearchAttributes([SearchAttributePair(_ATTRIBUTE, "readable")])
    data = large("search attributes")
    handle = await site.start(flows.Echo.run, data, search_attributes=attributes)
    assert await handle.result() == data
    description = await site.plain.get_workflow_handle(handle.id).describe()
    assert description.typed_search_attributes[_ATTRIBUTE] == "readable"
    return [handle]


async def _words(site: Site) -> Handles:
    """Summaries and details are payloads. They are short: the server takes 400 bytes and 20,000."""
    details = f"{CANARY} in details"
    handle = await site.start(
        flows.Tell.run, large("words"), static_summary=f"{CANARY} in a summary", static_details=details
    )
    assert await handle.result() == large("words")
    description = await handle.describe()
    assert await description.static_summary() == f"{CANARY} in a summary"
    assert await description.static_details() == details
    return [handle]


async def _header_in_the_clear(site: Site) -> Handles:
    handle = await site.start(flows.ByActivity.run, "readable")
    assert await handle.result() == "readable"
    return [handle]


_HEADERS = {"WorkflowExecutionStarted header[note]", "ActivityTaskScheduled header[note]"}

LABELS = [
    PayloadPath(
        "memo",
        _memo,
        {
            "WorkflowExecutionStarted memo[note]",
            "WorkflowExecutionStarted memo[other]",
            "WorkflowPropertiesModified upserted_memo[later]",
            "StartChildWorkflowExecutionInitiated memo[note]",
            "ChildWorkflowExecutionCompleted result",
            END,
        },
    ),
    PayloadPath(
        "headers",
        gives_back(flows.ByActivity.run),
        {*_HEADERS, "ActivityTaskCompleted result", END},
        options={
            "interceptors": [HeaderInterceptor()],
            "header_codec_behavior": HeaderCodecBehavior.CODEC,
        },
    ),
    PayloadPath(
        "headers as the SDK has them by default",
        _header_in_the_clear,
        # The SDK leaves headers out unless the client says `header_codec_behavior`.
        clear=_HEADERS,
        options={"interceptors": [HeaderInterceptor()]},
    ),
    PayloadPath(
        "search attributes",
        _search_attributes,
        {START, END},
        clear={"WorkflowExecutionStarted search_attributes[CoatcheckPath]"},
    ),
    PayloadPath(
        "summaries and details",
        _words,
        {START, "ActivityTaskScheduled input", "ActivityTaskCompleted result", END},
    ),
]
