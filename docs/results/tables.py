"""The tables of the results: each is kept as JSON beside its page, and this writes it into the page.

Command: `python -m docs.results.tables` from the project's root. A page has a table where it says
`<!-- table NAME -->`; the page's JSON file has `{NAME: {"columns": [...], "rows": [[...], ...]}}`. A cell is a number,
or text where the figure has an interval, a unit or a fixed number of digits.
"""

import json
import re
from pathlib import Path

FOLDER = Path(__file__).parent
BLOCK = re.compile(r"<!-- table ([a-z0-9-]+) -->\n.*?<!-- end -->\n", re.DOTALL)


def as_markdown(table: dict[str, list[object]]) -> str:
    """A table as Markdown; raises ValueError where a row has not a cell a column."""
    columns = table["columns"]
    lines = [columns, ["---"] * len(columns), *table["rows"]]
    written = []
    for cells in lines:
        if not isinstance(cells, list) or len(cells) != len(columns):
            raise ValueError(f"A row has a cell a column ({len(columns)}); received {cells!r}. Mend the JSON file.")
        written.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(written) + "\n"


def page_with_tables(page: Path) -> str:
    """A page's text with its tables as they stand in its JSON file; every table there must have its place."""
    text, source = page.read_text(encoding="utf-8"), page.with_suffix(".json")
    tables = json.loads(source.read_text(encoding="utf-8")) if source.is_file() else {}
    places = BLOCK.findall(text)
    if sorted(places) != sorted(tables):
        raise ValueError(f"{page.name} has places for {sorted(places)}, {source.name} has {sorted(tables)}.")
    return BLOCK.sub(lambda found: f"{_opening(found[1])}{as_markdown(tables[found[1]])}\n<!-- end -->\n", text)


def _opening(name: str) -> str:
    return f"<!-- table {name} -->\n\n"


def main() -> None:
    """Write every page again."""
    for page in sorted(FOLDER.glob("*.md")):
        page.write_text(page_with_tables(page), encoding="utf-8")


if __name__ == "__main__":
    main()
