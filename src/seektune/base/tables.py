"""Structured text into other structured text: assignments, JSON, table rows and cells."""

import json

from seektune.base.copying import chat
from seektune.base.extraction import to_json
from seektune.base.names import Draw

COLUMNS = [
    ("name/person/customer", "姓名/名字/客户", "person"),
    ("company/firm/supplier", "公司/企业/供应商", "company"),
    ("city/place/office", "城市/地点/办公地", "city"),
    ("product/item/article", "产品/物品/商品", "product"),
    ("code/id/order", "编号/代码/订单", "code"),
    ("count/stock/pieces", "数量/库存/件数", "count"),
    ("date/day/due", "日期/时间/到期", "date"),
    ("price/cost/fee", "价格/费用/单价", "price"),
    ("share/rate/percent", "比例/百分比/份额", "percent"),
    ("time/hour/start", "时刻/开始/钟点", "clock"),
]


def _columns(draw: Draw, count: int) -> list[tuple[str, str]]:
    chinese = draw.zh and draw.chance(0.6)
    return [(draw.pick(column[chinese].split("/")), column[2]) for column in draw.some(COLUMNS, count)]


def _cell(draw: Draw, kind: str) -> str:
    return (draw.money().text if kind == "price" else getattr(draw, kind)()).replace(",", "")


def _row(draw: Draw, columns: list[tuple[str, str]]) -> dict[str, str]:
    return {name: _cell(draw, kind) for name, kind in columns}


def convert(draw: Draw) -> dict:
    """One record from one written form to another."""
    row = _row(draw, _columns(draw, draw.between(2, 4)))
    source, goal = draw.some(list(FORMS), 2)
    ask = draw.say(
        ("Write as {}:", "Convert to {}.", "Change the form to {}.", "{}, please:", "Same data as {}:"),
        ("改写成 {}：", "转换为 {}。", "用 {} 的形式写：", "请转成 {}：", "换成 {}。"),
    ).format(goal)
    turns = [f"{ask}\n{FORMS[source](row)}", FORMS[goal](row)]
    if draw.chance(0.3):
        again = draw.pick([form for form in FORMS if form != goal])
        turns += [
            draw.say(("Now as {}.", "And as {}?"), ("再写成 {}。", "那么 {} 呢？")).format(again),
            FORMS[again](row),
        ]
    return chat("convert", *turns)


def _assignments(row: dict[str, str]) -> str:
    return "\n".join(f"{key} = {value}" for key, value in row.items())


def _lines(row: dict[str, str]) -> str:
    return "\n".join(f"{key}: {value}" for key, value in row.items())


def _table(row: dict[str, str]) -> str:
    return "| " + " | ".join(row.values()) + " |"


def _csv(row: dict[str, str]) -> str:
    return ",".join(row) + "\n" + ",".join(row.values())


def _tags(row: dict[str, str]) -> str:
    return "".join(f"<{key}>{value}</{key}>" for key, value in row.items())


FORMS = {"JSON": to_json, "key = value": _assignments, "YAML": _lines, "CSV": _csv, "XML": _tags}


def cells(draw: Draw) -> dict:
    """A small table: single cells, a row as JSON, a column as a list."""
    columns = _columns(draw, draw.between(2, 4))
    rows = [_row(draw, columns) for _ in range(draw.between(2, 4))]
    names = list(rows[0])
    turns: list[str] = []
    for i in range(draw.between(1, 3)):
        ask, answer = _about_table(draw, names, rows)
        turns += [f"{_drawn(draw, names, rows)}\n{ask}" if i == 0 else ask, answer]
    return chat("cells", *turns)


def _drawn(draw: Draw, names: list[str], rows: list[dict[str, str]]) -> str:
    if draw.chance(0.4):
        return "\n".join(",".join(line) for line in [names, *(list(row.values()) for row in rows)])
    lines = [names, *(list(row.values()) for row in rows)]
    if draw.chance(0.6):
        lines.insert(1, ["---"] * len(names))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _about_table(draw: Draw, names: list[str], rows: list[dict[str, str]]) -> tuple[str, str]:
    row, (known, wanted) = draw.pick(rows), draw.some(names, 2)
    kind = draw.uniform()
    if kind < 0.55:
        ask = draw.say(
            ("{1} where {2} is {0}?", "What is the {1} of {0}?", "{2} = {0}: {1}?"),
            ("{0}的{1}是什么？", "{2}为{0}时，{1}是？"),
        )
        return ask.format(row[known], wanted, known), row[wanted]
    if kind < 0.75:
        ask = draw.say(("The row of {} as JSON.", "JSON for {}:"), ("{}这一行写成 JSON。", "用 JSON 写出{}。"))
        return ask.format(row[known]), to_json(row)
    if kind < 0.87:
        ask = draw.say(
            ("List all {}.", "All values of {} as a JSON list?"), ("列出所有{}。", "所有{}，写成 JSON 列表。")
        )
        values = [r[wanted] for r in rows]
        return ask.format(wanted), to_json(values) if "JSON" in ask else (", " if not draw.zh else "、").join(values)
    at = draw.between(0, len(rows) - 1)
    ask = draw.say(("{1} in row {0}?", "Row {0}, {1}?"), ("第{0}行的{1}？", "第{0}行，{1}是？"))
    return ask.format(at + 1, wanted), rows[at][wanted]


def from_json(draw: Draw) -> dict:
    """A JSON object and questions about it, or the object changed in one place."""
    row = _row(draw, _columns(draw, draw.between(3, 5)))
    names = list(row)
    turns: list[str] = []
    for i, name in enumerate(draw.some(names, draw.between(1, 3))):
        kind = draw.uniform()
        if kind < 0.6:
            ask = draw.say(("What is {}?", "{}?", "Value of {}:"), ("{}是什么？", "{}？", "{}的值：")).format(name)
            answer = row[name]
        elif kind < 0.8:
            kept = {key: row[key] for key in draw.some(names, 2)}
            ask = draw.say(("Keep only {}.", "Only the keys {}:"), ("只保留{}。", "只要{}：")).format(", ".join(kept))
            answer = to_json(kept)
        else:
            ask = draw.say(("Which keys are there?", "List the keys."), ("有哪些键？", "列出键名。"))
            answer = ", ".join(names)
        turns += [f"{json.dumps(row, ensure_ascii=False)}\n{ask}" if i == 0 else ask, answer]
    return chat("from_json", *turns)
