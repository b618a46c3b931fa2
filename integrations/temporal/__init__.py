"""Temporal: payloads go through the chain before the server journals them.

``Client.connect(address, plugins=[ClaimCheckPlugin(chain)])`` is all there is to it. Needs the extra
``coatcheck[temporal]``.
"""

from coatcheck.integrations.temporal.codec import ENCODING, ClaimCheckCodec
from coatcheck.integrations.temporal.plugin import ClaimCheckPlugin, wrap_data_converter

__all__ = ["ENCODING", "ClaimCheckCodec", "ClaimCheckPlugin", "wrap_data_converter"]
