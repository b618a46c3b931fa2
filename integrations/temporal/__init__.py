"""Temporal: payloads go through the chain before the server journals them.

``Client.connect(address, plugins=[ClaimCheckPlugin(chain)])`` is all there is to it. Needs the extra
``coatcheck[temporal]``.
"""

from coatcheck.runtime.extras import require_extra

with require_extra("temporal"):
    from coatcheck.integrations.temporal.codec import ENCODING, ClaimCheckCodec, Mode
    from coatcheck.integrations.temporal.history import history_from_json
    from coatcheck.integrations.temporal.migration.datadog import DataDogReader
    from coatcheck.integrations.temporal.migration.sdk_drivers import GCSDriverReader, S3DriverReader
    from coatcheck.integrations.temporal.native import from_native
    from coatcheck.integrations.temporal.plugin import ClaimCheckPlugin, wrap_data_converter

__all__ = [
    "ENCODING",
    "ClaimCheckCodec",
    "ClaimCheckPlugin",
    "DataDogReader",
    "GCSDriverReader",
    "Mode",
    "S3DriverReader",
    "from_native",
    "history_from_json",
    "wrap_data_converter",
]
