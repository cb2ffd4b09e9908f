"""How the run was made: configuration, versions and hashes."""

import json

from csasn.files import file_bytes
from csasn.report.blocks import Listing, Section, Table
from csasn.report.evaluated_run import EvaluatedRun


def made(evaluated: EvaluatedRun) -> Section:
    """run.json as a table, the resolved settings, and the hashes of every stage."""
    run = evaluated.run
    record = run.record()
    plain = {name: value for name, value in record.items() if not isinstance(value, dict)}
    versions = record.get("versions")
    plain |= {f"{name} version": value for name, value in versions.items()} if isinstance(versions, dict) else {}
    for name, value in run.stages().get("fit", {}).items():
        if name not in ("inputs", "outputs"):
            plain[f"fit: {name}"] = value if isinstance(value, str) else json.dumps(value)
    table = Table(
        name="run",
        caption="The run: what it was made from and with",
        head=("What", "Value"),
        rows=[[name, str(value)] for name, value in plain.items()],
        wide=frozenset({1}),
    )
    stages = {name: entry for name, entry in run.stages().items() if name != "report"}  # the page is not made of itself
    return Section(
        id="made",
        title="How this was made: configuration and hashes",
        short="How this was made",
        blocks=(
            table,
            Listing(summary="Resolved configuration", text=file_bytes(run.path("config.toml")).decode("utf-8-sig")),
            Listing(
                summary="Hashes of every stage's inputs and outputs",
                text=json.dumps(stages, indent=1, ensure_ascii=False),
            ),
        ),
    )
