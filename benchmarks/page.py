"""Size of the page of a comparison, and how soon a browser shows it: 3 models of 5 seeds, a file, 5 controls.

    python benchmarks/page.py [--lines 2000] [--repeats 5]

Every seed has so many records. The page is opened anew each time, in a headless Chromium with a fresh tab; printed are
the medians of the first contentful paint, and of the moment at which the last chart was drawn, after the request.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from report.browser import browser  # noqa: E402 - found by the line above
from report.comparisons import whole  # noqa: E402

from textforge.report import compare_page  # noqa: E402

PAINT = (
    "new Promise((done) => new PerformanceObserver((list) => list.getEntriesByName('first-contentful-paint')"
    ".forEach((entry) => done(entry.startTime))).observe({ type: 'paint', buffered: true }))"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=2000, help="records of each seed")
    parser.add_argument("--repeats", type=int, default=5, help="times that the page is opened")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, browser() as chromium:
        file = Path(folder) / "page.html"
        compare_page.write(whole(seeds=5, lines=arguments.lines), file)
        print(f"size               {file.stat().st_size / 1e6:6.2f} MB")
        paints, ends = [], []
        for _ in range(arguments.repeats):
            with chromium.page(file) as tab:
                paints.append(tab.run(PAINT))
                charts = tab.drawn()
                ends.append(tab.run("performance.getEntriesByName('drawn')[0].startTime"))
        print(f"first paint        {median(paints) / 1e3:6.2f} s")
        print(f"{charts} charts drawn    {median(ends) / 1e3:6.2f} s")


if __name__ == "__main__":
    main()
