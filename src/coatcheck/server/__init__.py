"""The codec server: Temporal's web UI and command line call it to show payloads in readable form.

:func:`~coatcheck.server.app.create_app` builds the application, :func:`~coatcheck.server.listening.listen` serves it, and
``coatcheck serve`` does both. Needs the extra ``coatcheck[serve]``. See ``docs/codec-server.md``.
"""
