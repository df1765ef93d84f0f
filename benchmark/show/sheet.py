"""A page of images: three panels a row, a caption above each row, the classes' colours below."""

from __future__ import annotations

from PIL import Image, ImageDraw

from benchmark.show.answers import Asked
from benchmark.show.colours import ink_on
from benchmark.show.panels import font

_GAP, _LINE = 8, 20
_COLUMNS = ("image", "target", "prediction")
_PAPER, _INK, _FAINT = (255, 255, 255), (20, 20, 20), (110, 110, 110)


def sheet_of(asked: Asked) -> Image.Image:
    """The page."""
    widest = max(panel.width for row in asked.rows for panel in row.panels)
    widest = max(widest, 160)
    width = 3 * widest + 4 * _GAP
    title = _wrapped(asked.title, width - 2 * _GAP)
    legend = _legend(asked, width)
    top = len(title) * _LINE + 2 * _GAP
    body = sum(_LINE + row.panels[0].height + _GAP for row in asked.rows)
    page = Image.new("RGB", (width, top + _LINE + body + legend.height + _GAP), _PAPER)
    pen = ImageDraw.Draw(page)
    for number, line in enumerate(title):
        pen.text((_GAP, _GAP + number * _LINE), line, fill=_INK, font=font(15))
    for place, name in enumerate(_COLUMNS):
        pen.text((_GAP + place * (widest + _GAP), top), name, fill=_INK, font=font(13))
    y = top + _LINE
    for row in asked.rows:
        pen.text((_GAP, y), row.caption, fill=_FAINT, font=font(12))
        y += _LINE
        for place, panel in enumerate(row.panels):
            page.paste(panel, (_GAP + place * (widest + _GAP), y))
        y += row.panels[0].height + _GAP
    page.paste(legend, (0, y))
    return page


def _wrapped(text: str, width: int) -> list[str]:
    lines: list[str] = []
    for part in text.split(" · "):
        longer = f"{lines[-1]} · {part}" if lines else part
        if lines and font(15).getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines


def _legend(asked: Asked, width: int) -> Image.Image:
    """The names of the classes that are drawn, on their colours."""
    places: list[tuple[int, int, int]] = []  # class, x, y
    x, y = _GAP, 0
    for index in sorted(set().union(*(row.classes for row in asked.rows))):
        length = round(font(12).getlength(asked.names[index])) + 12
        if x + length > width - _GAP and x > _GAP:
            x, y = _GAP, y + _LINE + 2
        places.append((index, x, y))
        x += length + 4
    image = Image.new("RGB", (width, y + _LINE + _GAP), _PAPER)
    pen = ImageDraw.Draw(image)
    for index, x, y in places:
        colour = asked.colours[index]
        length = round(font(12).getlength(asked.names[index])) + 12
        pen.rectangle((x, y, x + length, y + _LINE - 2), fill=tuple(colour.tolist()))
        pen.text((x + 6, y + 2), asked.names[index], fill=ink_on(colour), font=font(12))
    return image
