"""The picture of a benchmark, as SVG without a script or a font of its own.

A group of bars for each row that asks for one, each group on its own scale: the longest bar is the
whole width, and the figures are written beside the bars.
"""
from xml.sax.saxutils import escape

import report

COLOURS = {"imapfs": "#1f77d0", "nullfs": "#8a6fb0", "ext4": "#7a9e4b", "mbsync": "#c9822b", "sshfs": "#b4474f",
           "limit": "#9a9a9a"}
WIDTH, LEFT, BARS, BAR, GAP = 860, 90, 560, 15, 18

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 }
.small { font-size: 11px; fill: #6a737d }
@media (prefers-color-scheme: dark) { text { fill: #d0d7de } .small { fill: #8b949e } }
"""


def draw(sections):
    rows = [row for section in sections for row in section.rows
            if row.picture and "imapfs" in row.cells]
    parts, y = [], 24
    for row in rows:
        parts.append(f'<text class="title" x="10" y="{y}">{escape(row.what)}</text>')
        y += 8
        columns = [column for column in report.COLUMNS if column in row.cells]
        longest = max(row.median(column) for column in columns) or 1
        for column in columns:
            width = max(1.0, row.median(column) / longest * BARS)
            parts.append(f'<text class="small" x="{LEFT - 8}" y="{y + 11}" text-anchor="end">'
                         f'{column}</text>'
                         f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR - 3}" rx="2" '
                         f'fill="{COLOURS[column]}"/>'
                         f'<text class="small" x="{LEFT + width + 6:.1f}" y="{y + 11}">'
                         f'{escape(report.cell(row, column))}</text>')
            y += BAR
        y += GAP + 6
    parts.append(f'<text class="small" x="10" y="{y}">limit: bytes before '
                 'compression / bandwidth + one round trip. nullfs: FUSE with nothing behind it. '
                 'Each group has its own scale; ~ from a sample.</text>')
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 14}" '
            f'viewBox="0 0 {WIDTH} {y + 14}" role="img" aria-label="Benchmark of imapfs">\n'
            f"<style>{STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n")
