"""A benchmark for the tests of what runs benchmarks: ``python -m tests.benchmarks.example_part held|missed|fails|waits FILE``."""

import sys
import time
from pathlib import Path

from benchmarks.harness.command import arguments, show
from benchmarks.harness.records import Record
from benchmarks.harness.targets import Target

parser = arguments(__doc__)
parser.add_argument("does")
parser.add_argument("file", type=Path)
options = parser.parse_args()
options.file.write_text("began", encoding="utf-8")
try:
    if options.does == "waits":
        time.sleep(600)
    if options.does == "fails":
        sys.exit("this part fails")
    found = 2.0 if options.does == "missed" else 0.5
    show([Record("here coatcheck", "figure", found, "s")], options, [Target("here", found, 1)])
finally:
    options.file.write_text("cleaned up", encoding="utf-8")
