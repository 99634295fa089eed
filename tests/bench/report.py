"""What a benchmark says: rows of samples, medians, ratios, what they are held to; as text, Markdown
and JSON.

A Row has samples by column (COLUMNS) in one unit, and goals.
A figure that was worked out from a sample of the work is marked with "~".
"""
import dataclasses
import json
import os
import statistics

COLUMNS = ("imapfs", "nullfs", "ext4", "mbsync", "sshfs", "limit")
BEGIN, END = "<!-- benchmark: begin -->", "<!-- benchmark: end -->"


@dataclasses.dataclass
class Goal:
    """The median of imapfs may be at most factor times that column's, or, without a column, at most
    factor."""
    factor: float
    column: str = ""
    when: str = ""        # said with it


@dataclasses.dataclass
class Row:
    what: str
    unit: str = "s"
    cells: dict = dataclasses.field(default_factory=dict)   # column -> samples
    goals: list = dataclasses.field(default_factory=list)
    scaled: list = dataclasses.field(default_factory=list)  # columns worked out from a part
    note: str = ""
    picture: bool = False  # a bar in the picture

    def add(self, **values):
        for column, value in values.items():
            self.cells.setdefault(column, []).append(value)
        return self

    def median(self, column):
        return statistics.median(self.cells[column]) if self.cells.get(column) else None


@dataclasses.dataclass
class Section:
    """The rows of one workload, and how they came about."""
    name: str
    title: str
    rows: list
    settings: dict
    load: list            # the machine's load average before and after
    failure: str = ""
    machine: str = ""


def figure(value, unit):
    if unit == "s" and value < 1:
        return f"{value * 1000:.{1 if value < 0.01 else 0}f} ms"
    digits = 0 if value >= 100 or value == int(value) else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}".strip()


def cell(row, column):
    value = row.median(column)
    if value is None:
        return ""
    return ("~" if column in row.scaled else "") + figure(value, row.unit)


def judged(row):
    """[(text, met)] of a row's goals."""
    verdicts = []
    mine = row.median("imapfs")
    for goal in row.goals:
        other = row.median(goal.column) if goal.column else None
        if mine is None or (goal.column and not other):
            verdicts.append((f"{goal.column or 'imapfs'} not measured", False))
            continue
        extra = f" {goal.when}" if goal.when else ""
        if goal.column:
            ratio = mine / other
            said = f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.2g}"
            verdicts.append((f"{said} x {goal.column} (at most {goal.factor:g}{extra})",
                             ratio <= goal.factor))
        else:
            verdicts.append((f"at most {figure(goal.factor, row.unit)}{extra}",
                             mine <= goal.factor))
    return verdicts


def text(sections):
    """For the terminal."""
    lines = []
    for section in sections:
        lines += ["", f"== {section.title}   ({describe(section)})"]
        if section.failure:
            lines.append(f"   FAILED: {section.failure}")
        used = [c for c in COLUMNS if any(c in row.cells for row in section.rows)]
        lines.append(f"{'':<58}" + "".join(f"{column:>12}" for column in used))
        for row in section.rows:
            lines.append(f"{row.what:<58}" + "".join(f"{cell(row, c):>12}" for c in used)
                         + spread(row))
            lines += [f"{'':>60}{'ok    ' if met else 'MISSED'} {said}"
                      for said, met in judged(row)]
            if row.note:
                lines.append(f"    {row.note}")
    return "\n".join(lines) + "\n"


def spread(row):
    """How far apart the runs were: what the noise is."""
    samples = row.cells.get("imapfs", [])
    if len(samples) < 2:
        return ""
    return f"   [{figure(min(samples), row.unit)} .. {figure(max(samples), row.unit)}]"


def describe(section, load=True):
    s = section.settings
    said = f"{s['rtt_ms']:g} ms, {s['mbit']:g} Mbit/s, medians of {s['runs']}"
    return f"{said}, load {section.load[0]:.1f} to {section.load[1]:.1f}" if load else said


def markdown(sections):
    """For the README: also says how it was measured, once where that is the same."""
    out = [*sorted({section.machine for section in sections}), ""]
    for section in sections:
        used = [c for c in COLUMNS if any(c in row.cells for row in section.rows)]
        out += [f"**{section.title}** ({describe(section, load=False)})", "",
                "| | " + " | ".join(used) + " | held to |", "|---|" + "---:|" * len(used) + "---|"]
        for row in section.rows:
            goals = "; ".join(said + ("" if met else " **missed**") for said, met in judged(row))
            what = row.what.replace("    ", "&emsp;")
            out.append(f"| {what} | " + " | ".join(cell(row, c) for c in used)
                       + f" | {goals} |")
        notes = [row.note for row in section.rows if row.note]
        out += ["", *[f"{note}  " for note in notes], ""] if notes else [""]
        if section.failure:
            out += [f"Not finished: {section.failure}", ""]
    return "\n".join(out)


def missed(sections):
    """How many goals were missed, and whether all was measured."""
    return (sum(not met for section in sections for row in section.rows
                for _, met in judged(row)),
            sum(bool(section.failure) for section in sections))


# --- kept for later -----------------------------------------------------------------------------

def save(path, sections):
    with open(path + ".new", "w") as file:
        json.dump([dataclasses.asdict(section) for section in sections], file, indent=1)
        file.write("\n")
    os.replace(path + ".new", path)


def load(path):
    if not os.path.exists(path):
        return []
    with open(path) as file:
        sections = [Section(**each) for each in json.load(file)]
    for section in sections:
        section.rows = [Row(**row) for row in section.rows]
        for row in section.rows:
            row.goals = [Goal(**goal) for goal in row.goals]
    return sections


def put_in_readme(path, body):
    """Replaces what stands between the markers."""
    with open(path) as file:
        whole = file.read()
    if whole.count(BEGIN) != 1 or whole.count(END) != 1:
        raise ValueError(f"{path} must have {BEGIN} and {END} once each")
    before, rest = whole.split(BEGIN)
    after = rest.split(END)[1]
    with open(path, "w") as file:
        file.write(f"{before}{BEGIN}\n{body.strip()}\n{END}{after}")
