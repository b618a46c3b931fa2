"""boto3 sessions for S3 and AWS KMS. Needs boto3."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import boto3


def new_session(ca_bundle: str | None, region: str | None = None) -> "boto3.Session":
    """Return a session by boto3's own rules.

    Args:
        ca_bundle: PEM file of the certificates that all requests trust; None for boto3's default.
        region: The AWS region; None for boto3's default.
    """
    import boto3  # noqa: PLC0415 - optional, and slow to load
    import botocore.session  # noqa: PLC0415 - optional

    session = botocore.session.get_session()
    if ca_bundle is not None:
        session.set_config_variable("ca_bundle", ca_bundle)
    return boto3.Session(botocore_session=session, region_name=region)
