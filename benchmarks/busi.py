"""The main job on real ultrasound: csasn run on busi with the lite profile, its figures, time and peak memory.

    CSASN_DATA=../shared/data CSASN_WEIGHTS=../shared/weights python benchmarks/busi.py OUT

OUT is a folder to make; it takes the cohort and the run. Bars: macro AUROC at least 0.93, balanced accuracy at least
0.82, at most 30 minutes, at most 6 GiB.
"""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Ingest and run in child processes, then print what they reached and cost."""
    if len(sys.argv) != 2 or "CSASN_DATA" not in os.environ or "CSASN_WEIGHTS" not in os.environ:
        print(__doc__)
        return
    out = Path(sys.argv[1])
    csasn = [sys.executable, "-m", "csasn"]
    source = Path(os.environ["CSASN_DATA"]) / "busi"
    subprocess.run([*csasn, "ingest", str(source), "--out", str(out / "cohort")], check=True)
    command = [*csasn, "run", "--cohort", str(out / "cohort"), "--config", str(ROOT / "configs/lite.toml")]
    started = time.perf_counter()
    subprocess.run([*command, "--out", str(out / "run")], check=True)
    minutes = (time.perf_counter() - started) / 60
    peak_gib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    metrics = json.loads((out / "run/metrics.json").read_text())
    for each in metrics["records"]:
        chosen = each["metric"] in ("macro_auroc", "balanced_accuracy")
        if chosen and each["site"] == "all" and each["unit"] in ("patient", "image") and each["partition"] == "test":
            interval = f"{each['low']:.3f} to {each['high']:.3f}"
            print(f"{each['model']:24} {each['unit']:8} {each['metric']:18} {each['estimate']:.3f} ({interval})")
    for each in metrics["comparisons"]:
        print(json.dumps(each))
    print(f"csasn run: {minutes:.1f} minutes, peak {peak_gib:.2f} GiB in the largest process")


if __name__ == "__main__":
    main()
