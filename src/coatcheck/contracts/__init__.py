"""The interfaces of codecs, sealings, key sources and stores."""
