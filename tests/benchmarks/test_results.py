"""The results that are in the repository: drawn, and shown by the README as they are."""

from pathlib import Path

import pytest

from benchmarks.charting import charts, drawing
from benchmarks.harness import glance
from benchmarks.harness.records import from_json, values

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("name", charts.CHARTS)
def test_every_chart_is_drawn_from_its_figures(name: str, tmp_path: Path) -> None:
    chart = charts.CHARTS[name]
    records = from_json((glance.RESULTS / f"{chart.part}.json").read_text("utf-8"))
    drawing.save(chart.draw, values(records), tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes().startswith(PNG)
    assert (glance.RESULTS / f"{name}.png").read_bytes().startswith(PNG)
    assert f"({name}.png)" in (glance.RESULTS / "README.md").read_text("utf-8")


def test_the_readme_shows_the_results_that_are_there(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_bytes(glance.README.read_bytes())
    glance.rewrite(page)
    assert page.read_text("utf-8") == glance.README.read_text("utf-8"), (
        "run python -m benchmarks.harness.glance"
    )


def test_a_page_without_a_place_for_the_table_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("# Nothing here\n", encoding="utf-8")
    with pytest.raises(ValueError, match="lacks"):
        glance.rewrite(page)
    assert page.read_text("utf-8") == "# Nothing here\n"
