# SPDX-License-Identifier: Apache-2.0
"""Redraws Figures 8 and 6 of the Dynamo paper (section 6.2), as SVG files and as tables.

    ./dev bench ring [--nodes S] [--replicas N] [--seed X] [--draws D] [--days Y]
                     [--figure8 FILE] [--figure6 FILE] [--json FILE]

Figure 8: load-balance efficiency (mean load of a node by the greatest) of the three strategies, by
the size of the membership metadata at each node. Figure 6: the fraction of nodes out of balance (15 % and
more from the mean) in windows of 30 minutes, under a made-up day. What is assumed about load, metadata
and workload stands at the top of bench_ring.c. Strategy 3 is the ring that nodes use. Equal seeds
give equal figures. Files go below the build folder unless named.
"""

import argparse
import json
import math
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from harness import tree  # noqa: E402

NAMES = {"1": "Strategy 1: random tokens, partition by token",
         "2": "Strategy 2: random tokens, equal partitions",
         "3": "Strategy 3: Q/S tokens, equal partitions"}
COLOURS = {"1": "#c0392b", "2": "#7f8c8d", "3": "#1f5fa8"}
MARKS = {"1": 4, "2": 3, "3": 5}  # radii: seen apart without colours too
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 440, 70, 60, 50, 60


class Chart:
    """An SVG with axes; points are given in data units."""

    def __init__(self, title, x_range, y_range):
        self.x_range, self.y_range = x_range, y_range
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            f'<text x="{WIDTH / 2}" y="24" text-anchor="middle" font-size="15">{title}</text>']

    def x(self, value):
        low, high = self.x_range
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, value):
        low, high = self.y_range
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def text(self, x, y, what, anchor="middle", more=""):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{what}</text>')

    def axes(self, x_label, y_label, x_ticks, y_ticks):
        for at, name in y_ticks:
            y = self.y(at)
            self.parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" '
                              'stroke="#ddd"/>')
            self.text(LEFT - 8, y + 4, name, "end")
        for at, name in x_ticks:
            x = self.x(at)
            self.parts.append(f'<line x1="{x:.1f}" y1="{HEIGHT - BOTTOM}" x2="{x:.1f}" '
                              f'y2="{HEIGHT - BOTTOM + 5}" stroke="black"/>')
            self.text(x, HEIGHT - BOTTOM + 20, name)
        self.parts.append(f'<path d="M{LEFT},{TOP} V{HEIGHT - BOTTOM} H{WIDTH - RIGHT}" fill="none" '
                          'stroke="black"/>')
        self.text(WIDTH / 2, HEIGHT - 16, x_label)
        self.text(18, HEIGHT / 2, y_label, more=f' transform="rotate(-90 18 {HEIGHT / 2})"')

    def bar(self, x, width, height, colour):
        top = self.y(height)
        self.parts.append(f'<rect x="{self.x(x):.1f}" y="{top:.1f}" '
                          f'width="{self.x(x + width) - self.x(x):.1f}" '
                          f'height="{HEIGHT - BOTTOM - top:.1f}" fill="{colour}"/>')

    def line(self, points, colour, radius=0, dashes=""):
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        dashes = f' stroke-dasharray="{dashes}"' if dashes else ""
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" '
                          f'stroke-width="2"{dashes}/>')
        for x, y in points if radius else []:
            self.parts.append(f'<circle cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="{radius}" '
                              f'fill="{colour}"/>')

    def legend(self, x, y, entries):
        for i, (name, colour) in enumerate(entries):
            self.parts.append(f'<rect x="{x}" y="{y + 18 * i - 9}" width="14" height="10" '
                              f'fill="{colour}"/>')
            self.text(x + 20, y + 18 * i, name, "start")

    def write(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([*self.parts, "</svg>", ""]), encoding="utf-8")


def figure8(data, path):
    """Efficiency by metadata: a line for each strategy, with the range of its draws."""
    units = [row["units"] for row in data["balance"]]
    least = min(row[name]["units"] for row in data["balance"] for name in NAMES)
    chart = Chart(f"Load-balance efficiency, S = {data['nodes']}, N = {data['replicas']}",
                  (math.log2(least), math.log2(units[-1])), (0, 1))
    chart.axes("membership metadata at each node (table entries)", "mean load by greatest load",
               [(math.log2(u), f"{u:,}") for u in units], [(t / 10, f"{t / 10:.1f}") for t in range(11)])
    for name, colour in COLOURS.items():
        points = [(math.log2(row[name]["units"]), row[name]) for row in data["balance"]]
        for x, drawn in points:
            if drawn["least"] < drawn["most"]:
                chart.line([(x, drawn["least"]), (x, drawn["most"])], colour)
        chart.line([(x, drawn["mean"]) for x, drawn in points], colour, MARKS[name])
    chart.legend(WIDTH - 370, HEIGHT - BOTTOM - 60, [(NAMES[n], c) for n, c in COLOURS.items()])
    chart.write(path)


def figure6(data, path):
    """Nodes out of balance over a day: bars for strategy 3, lines for the others and for the load."""
    day = data["day"]
    step = day[1]["minute"] - day[0]["minute"]
    top = max(row[name] for row in day for name in NAMES)
    top = max(0.1, math.ceil(top * 10) / 10)
    peak = max(row["requests"] for row in day)
    chart = Chart(f"Nodes 15 % and more from the mean load, S = {data['nodes']}, "
                  f"{data['day_units']:,} units of metadata", (0, 24 * 60), (0, top))
    chart.axes("time of day (steps of 30 minutes)", "fraction of nodes",
               [(h * 60, f"{h}:00") for h in range(0, 25, 3)],
               [(t / 10, f"{t / 10:.1f}") for t in range(round(top * 10) + 1)])
    for row in day:
        chart.bar(row["minute"], step * 0.85, row["3"], COLOURS["3"])
    for name in ("1", "2"):
        chart.line([(row["minute"] + step / 2, row[name]) for row in day], COLOURS[name])
    chart.line([(row["minute"] + step / 2, row["requests"] / peak * top) for row in day], "#222",
               dashes="5 4")
    for part in (0.5, 1):
        chart.text(WIDTH - RIGHT + 6, chart.y(part * top) + 4, f"{part * peak / 1000:.0f}k", "start")
    for i, (name, colour) in enumerate([("strategy 1", COLOURS["1"]), ("strategy 2", COLOURS["2"]),
                                        ("strategy 3 (bars)", COLOURS["3"]),
                                        ("requests in 30 minutes (dashed, right)", "#222")]):
        chart.legend(LEFT + 10 + 125 * i, TOP - 8, [(name, colour)])
    chart.write(path)


def print_tables(data):
    print(f"\nLoad-balance efficiency, S = {data['nodes']}, N = {data['replicas']}; mean of "
          f"{data['draws']} draws (least to greatest)\nbounds: what N times whole tokens "
          f"could reach, and what whole copies could")
    print(f"{'metadata':>9}{'strategy 1':>23}{'strategy 2':>23}{'strategy 3':>13}{'tokens':>10}"
          f"{'copies':>9}{'Q/S':>9}")
    for row in data["balance"]:
        drawn = "".join(f"{row[n]['mean']:9.3f} ({row[n]['least']:.3f}-{row[n]['most']:.3f})"
                        for n in ("1", "2"))
        tokens = row["units"] / data["nodes"]
        print(f"{row['units']:9,}{drawn}{row['3']['mean']:13.4f}{tokens / math.ceil(tokens):10.4f}"
              f"{row['optimum']:9.4f}{tokens:9.1f}")
    print(f"\nFraction of nodes out of balance, {data['day_units']:,} units of metadata; mean of "
          f"{data['days']} days")
    print(f"{'time':>6}{'requests':>10}{'strategy 1':>12}{'strategy 2':>12}{'strategy 3':>12}")
    for row in data["day"]:
        print(f"{row['minute'] // 60:3}:{row['minute'] % 60:02}{row['requests']:10,}"
              + "".join(f"{row[n]:12.3f}" for n in NAMES))


def main():
    folder = pathlib.Path(tree.BUILD) / "figures"
    parser = argparse.ArgumentParser(prog="./dev bench ring", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--nodes", type=int, default=30, help="S (default: 30)")
    parser.add_argument("--replicas", type=int, default=3, help="N (default: 3)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--draws", type=int, default=20, help="of strategies 1 and 2 (default: 20)")
    parser.add_argument("--days", type=int, default=10, help="of Figure 6's workload (default: 10)")
    parser.add_argument("--figure8", type=pathlib.Path, default=folder / "figure8.svg", metavar="FILE")
    parser.add_argument("--figure6", type=pathlib.Path, default=folder / "figure6.svg", metavar="FILE")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="the numbers too")
    options = parser.parse_args()
    done = subprocess.run(
        [pathlib.Path(tree.BUILD) / "tests" / "bench" / "bench_ring",
         *(f"--{name}={getattr(options, name)}"
           for name in ("nodes", "replicas", "seed", "draws", "days"))],
        stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        return done.returncode
    data = json.loads(done.stdout)
    print_tables(data)
    figure8(data, options.figure8)
    figure6(data, options.figure6)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    print(f"\ndrawn: {options.figure8} {options.figure6}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
