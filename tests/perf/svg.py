# SPDX-License-Identifier: Apache-2.0
"""Pictures as SVG text: shapes, and scales with their ticks. Colours follow the reader's choice of light or dark."""

import math
import xml.etree.ElementTree as ET

FONT = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', sans-serif"
COLOURS = ("#6e7781", "#2f6fb3", "#c2691c", "#2f8a57", "#8a4fb0")
DARK_COLOURS = ("#9aa4af", "#6ea8e5", "#eb9a54", "#63c08b", "#c08fe0")
STYLE = "".join((
    f"text {{ font: 13px {FONT}; fill: #24292f; }}\n",
    ".title { font-size: 17px; font-weight: 600; }\n.note, .tick { font-size: 12px; fill: #57606a; }\n",
    ".paper { fill: #ffffff; }\n.grid { stroke: #d8dee4; }\n.line { fill: none; stroke-width: 2; }\n",
    ".edge { fill: none; stroke: #24292f; }\n.mark { stroke: #24292f; stroke-width: 1.5; }\n",
    ".dashed { stroke-dasharray: 5 4; }\n",
    *(f".f{i} {{ fill: {c}; }} .s{i} {{ stroke: {c}; }}\n" for i, c in enumerate(COLOURS)),
    "@media (prefers-color-scheme: dark) {\n",
    "text { fill: #e6edf3; } .note, .tick { fill: #9da7b1; } .paper { fill: #15191e; } .grid { stroke: #30363d; }\n",
    ".edge, .mark { stroke: #e6edf3; }\n",
    *(f".f{i} {{ fill: {c}; }} .s{i} {{ stroke: {c}; }}\n" for i, c in enumerate(DARK_COLOURS)),
    "}\n"))


def number(value):
    return f"{value:.1f}".removesuffix(".0")


class Picture:
    """A title, a note below it, and what is drawn; description: for who does not see it."""

    def __init__(self, width, height, title, note, description):
        self.width, self.height = width, height
        self.root = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {width} {height}",
                                       "width": str(width), "height": str(height), "role": "img",
                                       "aria-labelledby": "title desc"})
        ET.SubElement(self.root, "title", id="title").text = title
        ET.SubElement(self.root, "desc", id="desc").text = description
        ET.SubElement(self.root, "style").text = STYLE
        self.into = self.root
        self.shape("rect", "paper", width=width, height=height)
        self.text(20, 30, title, "title")
        self.text(20, 52, note, "note")

    def shape(self, kind, css, tip=None, **places):
        """A shape with its places by name (x, y, x1, …); tip: what a pointer over it is told."""
        attributes = {name: number(value) if isinstance(value, (int, float)) else value for name, value in places.items()}
        made = ET.SubElement(self.into, kind, {"class": css, **attributes})
        if tip:
            ET.SubElement(made, "title").text = tip
        return made

    def text(self, x, y, words, css="label", anchor="start"):
        self.shape("text", css, x=x, y=y, **{"text-anchor": anchor}).text = words

    def turned(self, x, y, words):
        """Text from below to above, around its middle."""
        self.shape("text", "note", x=x, y=y, **{"text-anchor": "middle", "transform": f"rotate(-90 {x} {y})"}).text = words

    def line(self, x1, y1, x2, y2, css="grid"):
        self.shape("line", css, x1=x1, y1=y1, x2=x2, y2=y2)

    def series(self, name):
        """What is drawn from here on shows this series."""
        self.into = ET.SubElement(self.root, "g", {"data-series": name})

    def rest(self):
        self.into = self.root

    def legend(self, x, y, names, step=110):
        """names: {text: css of its square}."""
        for i, (name, css) in enumerate(names.items()):
            self.shape("rect", css, x=x + i * step, y=y - 10, width=11, height=11, rx=2)
            self.text(x + i * step + 17, y, name, "tick")

    def __str__(self):
        ET.indent(self.root, "")
        return ET.tostring(self.root, encoding="unicode") + "\n"


class Scale:
    """From a value between low and high to a place between begin and end, in proportion or by its logarithm."""

    def __init__(self, low, high, begin, end, logarithm=False):
        self.of = math.log if logarithm else float
        self.low, self.high, self.begin, self.end, self.logarithm = low, high, begin, end, logarithm

    def __call__(self, value):
        part = (self.of(value) - self.of(self.low)) / (self.of(self.high) - self.of(self.low))
        return self.begin + (self.end - self.begin) * part

    def ticks(self):
        """Round values: 1, 2 and 5 of each power of ten, or about six in even steps."""
        if self.logarithm:
            found = [m * 10 ** e for e in range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
                     for m in (1, 2, 5)]
            return [value for value in found if self.low <= value <= self.high]
        power = 10 ** math.floor(math.log10(self.high / 6))
        step = next(m * power for m in (1, 2, 5, 10) if m * power * 6.5 >= self.high)
        return [i * step for i in range(int(self.high / step) + 1)]
