"""Every variant of FAULTS goes through `ingest`, a cohort and a worker process each: codes, pixels, seconds, memory.

python benchmarks/faults.py [ROUNDS]. Every round makes all sources anew and ingests them. Two columns are bars of 0:
wrong codes and wrong pixels; an item may take 10 s and 1 GiB. An item whose worker died or hung would have a code that
no variant declares, and so count as wrong. Root, who reads everything, leaves two variants out, unless as in
setpriv --bounding-set -dac_override,-dac_read_search python benchmarks/faults.py
"""

import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))


def main(rounds: int) -> int:
    """Print what became of every variant; 1 where anything differed from what it declares."""
    # Worker processes run this file again under another name: only the first process loads the sources.
    from tests.faults.every import ALL_FAULTS  # noqa: PLC0415
    from tests.faults.outcome import LIMIT_S, Outcome, outcome_of, reads_everything  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as name:
        all_seeing = reads_everything(Path(name))
    faults = [each for each in ALL_FAULTS if not (each.root_reads and all_seeing)]
    outcomes: list[Outcome] = []
    crashes = 0
    for round_number in range(rounds):
        for fault in faults:
            with tempfile.TemporaryDirectory() as name:
                try:
                    outcome = outcome_of(fault, Path(name) / f"r{round_number}")
                except Exception as error:  # a crash of the program itself is what is looked for
                    crashes += 1
                    print(f"{fault.id}: {type(error).__name__}: {error}")
                    continue
            outcomes.append(outcome)
            for wrong in outcome.wrong:
                print(f"{fault.id}: {wrong}")
    per_number = Counter(fault.number for fault in faults)
    left_out = len(ALL_FAULTS) - len(faults)
    least = min(per_number.values())
    print(f"{len(faults)} variants of {len(per_number)} faults, at least {least} of each, {rounds} times")
    print(f"variants left out because root reads everything: {left_out}")
    print(f"crashes {crashes}")
    print(f"items over {LIMIT_S:g} s: {sum(each.slowest_s > LIMIT_S for each in outcomes)}")
    print(f"wrong codes {sum(each.wrong_codes for each in outcomes)}")
    print(f"wrong pixels {sum(each.wrong_pixels for each in outcomes)}")
    items, used, refused = (
        sum(getattr(each, name) for each in outcomes) for name in ("n_items", "n_used", "n_refused")
    )
    print(f"items in {items} = used {used} + quarantined {refused}: {items == used + refused}")
    print(f"slowest item {max(each.slowest_s for each in outcomes):.1f} s")
    print(f"largest worker process {max(each.peak_bytes for each in outcomes) >> 20} MiB")
    return int(crashes > 0 or any(each.wrong for each in outcomes))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 3))
