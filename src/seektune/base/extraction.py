"""Questions about a passage and extraction to JSON with keys that vary from record to record."""

import json
from typing import Any

from seektune.base.copying import chat
from seektune.base.frames import Askable, Frame, Passage, fill
from seektune.base.frames_business import BUSINESS
from seektune.base.frames_daily import DAILY
from seektune.base.names import Draw

FRAMES = BUSINESS + DAILY
# What the quickstart teaches must not be known before: its key set and its own key names stay out of the base text.
KEPT_FOR_THE_QUICKSTART = ("event", "direction")

JSON_ASKS = (
    [
        "Return JSON with keys {keys}.", "Extract {keys} as JSON.", "Give {keys} as a JSON object.", "JSON with {keys}:",
        "Read the text and fill in {keys} (JSON).", "Write a JSON object with the keys {keys}.", "Answer in JSON: {keys}.",
        "Find {keys}. Output JSON.", "Which {keys}? Reply with JSON only.", "Keys: {keys}. Make JSON from the text.",
        "Turn the sentence into JSON ({keys}).", "Put {keys} into JSON.", "Fields: {keys}. Format: JSON.", "Text to JSON, fields {keys}.",
        "Take {keys} out of the note and return one JSON object.", "Please pull out {keys} in JSON form.", "As JSON, please: {keys}",
    ],
    [
        "提取{keys}，以 JSON 输出。", "用 JSON 返回{keys}。", "请把{keys}写成 JSON。", "输出 JSON，键为{keys}。", "从文中找出{keys}，返回 JSON：",
        "阅读下文，填写{keys}（JSON 格式）。", "把这句话转成 JSON，字段：{keys}", "字段：{keys}。格式：JSON。", "JSON（{keys}）：",
        "只用 JSON 回答：{keys}", "请抽出{keys}，给一个 JSON 对象。", "文中的{keys}是什么？用 JSON 回答。", "整理成 JSON，包含{keys}。",
    ],
)  # fmt: skip
KIND_KEYS = (
    ["topic", "kind", "type", "category", "class", "label"],
    ["类别", "主题", "类型", "topic", "category", "种类"],
)
NAMES = ("company", "person", "city", "product", "code")
ABOUT = (["Only about {}: ", "About {}. ", "For {}: "], ["只看{}：", "关于{}，", "针对{}："])
SYSTEMS = (
    [
        "Answer with words of the text.",
        "You are a careful reader.",
        "You extract facts.",
        "Answer briefly.",
        "You return only what is asked.",
    ],
    ["用原文中的词回答。", "你是细心的读者。", "你负责提取信息。", "请简短回答。", "只回答所问的内容。"],
)


def to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def passage(draw: Draw) -> tuple[Passage, str]:
    """A sentence to ask about, now and then with another sentence beside it."""
    main = fill(draw, draw.pick(FRAMES))
    stop = draw.say((".", ".", ""), ("。", "。", ""))
    text = main.text + stop
    if draw.chance(0.2 * draw.level):
        other = _beside(draw, main)
        if other:
            space, other = "" if draw.zh else " ", other + draw.say((".",), ("。",))
            text = f"{text}{space}{other}" if stop and draw.chance(0.5) else f"{other}{space}{text}"
    return main, text


def _beside(draw: Draw, main: Passage) -> str:
    """A sentence of another kind whose values cannot be taken for those of the passage."""
    there = {main.frame.kinds[slot] for slot in main.values}
    for _ in range(4):
        other = fill(draw, draw.pick(FRAMES))
        kinds = {other.frame.kinds[slot] for slot in other.values}
        if other.frame is not main.frame and not kinds & there:
            return other.text
    return ""


def options(draw: Draw, askable: Askable) -> str:
    """The classes among which a category chooses, in an order that says nothing."""
    classes = draw.some(askable.options, len(askable.options))
    if draw.zh:
        return draw.pick(("（{}）", "（选：{}）")).format(draw.pick(("/", "、", "或")).join(classes))
    return draw.pick((" ({})", " (one of: {})", " ({}?)")).format(draw.pick(("/", ", ", " or ")).join(classes))


def listed(draw: Draw, askable: Askable) -> str:
    usual = askable.usual and draw.chance(0.5)
    return options(draw, askable) if askable.options and not usual else ""


def question(draw: Draw, askable: Askable) -> str:
    ask = draw.pick(askable.asks)
    return ask + listed(draw, askable)


def asked(draw: Draw, askables: list[Askable], most: int) -> list[Askable]:
    able = [a for a in askables if a.asks]
    return draw.some(able, draw.between(min(2, most), most))


def together(draw: Draw, text: str, ask: str) -> str:
    """Passage and question in either order, with varied joints."""
    if draw.chance(0.5):
        return text + draw.pick(("\n", "\n", "\n\n", " " if text[-1] in ".。" else "\n")) + ask
    label = draw.say(("", "", "Text: ", "Input: ", "News: "), ("", "", "文本：", "原文：", "内容："))
    return ask + draw.pick(("\n", "\n\n", "\n")) + label + text


def questions(draw: Draw) -> dict:
    """One to four questions about one passage."""
    main, text = passage(draw)
    turns: list[str] = []
    for i, askable in enumerate(asked(draw, main.askables, 4)):
        ask = question(draw, askable)
        turns += [together(draw, text, ask) if i == 0 else ask, str(askable.value)]
    if not turns:
        return questions(draw)
    if draw.chance(0.15):
        turns += _yes_or_no(draw, main)
    return chat("questions", *turns, system=draw.pick(SYSTEMS[draw.zh]) if draw.chance(0.06) else "")


def _yes_or_no(draw: Draw, main: Passage) -> list[str]:
    slot, value = draw.pick(list(main.values.items()))
    true = draw.chance(0.5)
    shown = value if true else fill(draw, main.frame).values.get(slot, draw.company())
    ask = draw.say(
        ("Does the text mention {}? yes or no", "Is {} in the text (yes/no)?"),
        ("文中提到{}吗？答是或否", "有没有{}？（是/否）"),
    )
    return [ask.format(shown), draw.say(("yes",), ("是",)) if shown == value else draw.say(("no",), ("否",))]


def chosen(draw: Draw, askables: list[Askable], low: int, high: int) -> dict[str, Askable]:
    """Keys under which some of the values are to be returned, in the order wanted."""
    picked = draw.some(askables, draw.between(low, high))
    keyed: dict[str, Askable] = {}
    for askable in picked if draw.chance(0.5) else sorted(picked, key=askables.index):
        key = draw.pick(askable.keys)
        if key not in keyed:
            keyed[key] = askable
    return keyed


def list_keys(draw: Draw, keyed: dict[str, Askable]) -> str:
    style = draw.uniform()
    shown = [(f'"{key}"' if style < 0.12 else key) + listed(draw, a) for key, a in keyed.items()]
    if draw.zh:
        return draw.pick(("、", "、", ", ", "，")).join(shown)
    if style > 0.7 and len(shown) > 1:
        return ", ".join(shown[:-1]) + " and " + shown[-1]
    return ", ".join(shown)


def with_kind(draw: Draw, frame: Frame, keyed: dict[str, Askable]) -> dict[str, Askable]:
    """Now and then the kind of the fact is asked for too, among a few kinds that are named."""
    others = draw.some([f for f in FRAMES if f is not frame], draw.between(1, 4))
    labels = {f.name: draw.pick(f.tables[draw.zh].labels) for f in [frame, *others]}
    label = labels[frame.name]
    classes = tuple(dict.fromkeys(labels.values()))
    keys = KIND_KEYS[draw.zh]
    key = draw.pick([key for key in keys if key not in keyed])
    items = list(keyed.items())
    items.insert(draw.between(0, len(items)), (key, Askable("kind", label, [key], [], classes)))
    return dict(items)


def extract(draw: Draw) -> dict:
    """JSON with the keys asked for; sometimes a second request or a question about the same passage follows."""
    main, text = passage(draw)
    keyed = chosen(draw, main.askables, 1 + (draw.level > 0.5), 4)
    if draw.chance(0.18):
        keyed = with_kind(draw, main.frame, keyed)
    missing = _missing(draw, main, keyed) if draw.chance(0.06) else {}
    ask = draw.pick(JSON_ASKS[draw.zh]).format(keys=list_keys(draw, keyed | missing))
    if missing:
        ask += draw.say((" Missing: null.", " Use null if absent."), ("没有的写 null。", "缺失为 null。"))
    answer = {key: a.value for key, a in (keyed | missing).items()}
    turns = [together(draw, text, ask), to_json(answer)]
    for askable in asked(draw, main.askables, 2) if draw.chance(0.35) else ():
        turns += [question(draw, askable), str(askable.value)]
    return chat("extract", *turns, system=draw.pick(SYSTEMS[draw.zh]) if draw.chance(0.06) else "")


def _missing(draw: Draw, main: Passage, keyed: dict[str, Askable]) -> dict[str, Askable]:
    tables = main.frame.tables[draw.zh]
    there = {a.slot for a in main.askables}
    absent = [slot for slot in tables.keys if slot not in there]
    keys = [key for slot in absent[:1] for key in tables.keys[slot] if key not in keyed]
    return {draw.pick(keys): Askable("missing", None, [], [])} if keys else {}


def two_facts(draw: Draw) -> dict:
    """Two facts of one kind; the request is about one of them, or about both as a list."""
    frame = draw.pick(FRAMES)
    sentences = [fill(draw, frame) for _ in range(2)]
    shared = [a for a in sentences[0].askables if any(b.keys == a.keys for b in sentences[1].askables)]
    text = draw.say((". ", ".\n", "\n"), ("。", "。\n", "；")).join(s.text for s in sentences)
    if draw.chance(0.3) and len(shared) > 1 and not any(a.options for a in shared):
        return _both(draw, sentences, text)
    turns: list[str] = []
    for i in draw.some((0, 1), draw.between(1, 2)):
        main, other = sentences[i], sentences[1 - i]
        anchors = [a for a in main.askables if frame.kinds[a.slot] in NAMES and str(a.value) not in other.text]
        if not anchors:
            continue
        anchor = draw.pick(anchors)
        rest = [a for a in main.askables if a is not anchor and a.value != anchor.value]
        if not rest:
            continue
        keyed = chosen(draw, rest, 1, 3)
        ask = draw.pick(JSON_ASKS[draw.zh]).format(keys=list_keys(draw, keyed))
        ask = draw.pick(ABOUT[draw.zh]).format(anchor.value) + ask
        turns += [ask if turns else together(draw, text, ask), to_json({key: a.value for key, a in keyed.items()})]
    return chat("two_facts", *turns) if turns else extract(draw)


def _both(draw: Draw, sentences: list[Passage], text: str) -> dict:
    keys: dict[str, Askable] = {}
    rows: list[dict[str, Any]] = [{} for _ in sentences]
    for askable in sentences[0].askables:
        twins = [b for b in sentences[1].askables if b.keys == askable.keys]
        if twins and len(keys) < 2:
            key = draw.pick(askable.keys)
            keys[key] = askable
            rows[0][key], rows[1][key] = askable.value, twins[0].value
    ask = draw.say(
        ("A JSON list, one object per fact, with {}.", "JSON array with {}:"),
        ("输出 JSON 数组，每条含{}。", "用 JSON 列表返回{}："),
    )
    return chat("two_facts", together(draw, text, ask.format(list_keys(draw, keys))), to_json(rows))


def topic(draw: Draw) -> dict:
    """Which of the named kinds is it? One to three passages in a row."""
    frames = draw.some(FRAMES, draw.between(2, 5))
    labels = [draw.pick(f.tables[draw.zh].labels) for f in frames]
    if len(set(labels)) < len(labels):
        return topic(draw)
    listed = draw.say((", ", " / ", " or "), ("、", "/", "，")).join(labels)
    heads = (
        ["Sort the text: {}", "Choose one label: {}", "Topic ({})?", "Which one fits: {}?", "Classify as {}."],
        ["选择类别：{}", "属于哪一类：{}？", "主题（{}）是？", "分类：{}", "从{}中选一个。"],
    )
    turns: list[str] = []
    for i in range(draw.between(1, 3)):
        at = draw.between(0, len(frames) - 1)
        text = fill(draw, frames[at]).text
        head = draw.pick(heads[draw.zh]).format(listed)
        turns += [text if i else together(draw, text, head), labels[at]]
    return chat("topic", *turns)
