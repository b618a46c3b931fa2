"""The codec server: what Temporal's web UI and command line ask to show payloads as people can read them.

:func:`~coatcheck.server.app.create_app` makes the application, :func:`~coatcheck.server.listening.listen` serves it, and
``coatcheck serve`` does both. Needs the extra ``coatcheck[serve]``. See ``docs/codec-server.md``.
"""
