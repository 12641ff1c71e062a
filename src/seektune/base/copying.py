"""Copying, lookups and lists: the skill on which extraction rests, from short copies over small alphabets to any span.

Documents mark what a reader can know (`spans`): a repetition is learnt, its first mention is not.
"""

from seektune.base import words
from seektune.base.names import Draw

SEPARATORS = [" | ", "\n", " / ", " ; ", " -> ", " => ", " = "]


class Marked:
    """Text under construction together with what of it is learnt."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.spans: list[list] = []
        self.length = 0

    def add(self, text: str, weight: float = 0.0) -> None:
        if weight and text:
            self.spans.append([self.length, self.length + len(text), weight])
        self.parts.append(text)
        self.length += len(text)

    def record(self) -> dict:
        return {"text": "".join(self.parts), "spans": self.spans}


def chat(task: str, *turns: str, system: str = "") -> dict:
    """User and assistant in turn."""
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": turn} for i, turn in enumerate(turns)]
    if system:
        messages.insert(0, {"role": "system", "content": system})
    return {"messages": messages, "task": task}


def atoms(draw: Draw, count: int) -> tuple[list[str], str]:
    """Things worth copying and what stands between them; `draw.level` widens the alphabet."""
    kind = draw.uniform()
    if draw.level < 0.3 or kind < 0.15:
        size = 4 + int(draw.level * 22)
        start = draw.between(0, 26 - size) if size < 26 else 0
        alphabet = draw.pick(("abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"))[start : start + size]
        if draw.level < 0.3 and draw.chance(0.35):
            alphabet = "0123456789"[: 4 + int(draw.level * 20)]
        return [draw.pick(alphabet) for _ in range(count)], draw.pick((" ", " ", ""))
    if kind < 0.18 and draw.level > 0.6:
        return [draw.odd() for _ in range(min(count, 10))], draw.pick((" ", ""))
    if kind < 0.5 and draw.zh:
        return [draw.characters(1) for _ in range(count)], draw.pick(("", "", " ", "、"))
    if kind < 0.6:
        return [draw.digits(draw.between(1, 4)) for _ in range(count)], draw.pick((" ", ", ", "-"))
    if kind < 0.85 or draw.level < 0.6:
        return [draw.syllable() for _ in range(count)], draw.pick((" ", "", "-", ", "))
    return [thing(draw) for _ in range(count)], draw.pick((" ", ", ", "、" if draw.zh else "; "))


def thing(draw: Draw) -> str:
    """Any name, number or word that the language of the record has."""
    kind = draw.uniform()
    if kind < 0.3:
        return draw.company()
    if kind < 0.5:
        return draw.person()
    if kind < 0.62:
        return draw.city()
    if kind < 0.72:
        return draw.product()
    if kind < 0.8:
        return draw.money().text
    return draw.code() if kind < 0.88 else draw.count() if kind < 0.93 else draw.date()


def _length(draw: Draw, low: int, high: int) -> int:
    return draw.between(low, max(low, int(low + (high - low) * (0.15 + 0.85 * draw.level))))


def repeat_text(draw: Draw) -> dict:
    """The same sequence two to four times; learnt from the second on."""
    items, joint = atoms(draw, _length(draw, 3, 22))
    text, separator = joint.join(items), draw.pick(SEPARATORS)
    marked = Marked()
    marked.add(text)
    for _ in range(draw.between(1, 3 if len(text) < 40 else 1)):
        marked.add(separator)
        marked.add(text, 1.0)
    return marked.record()


def pairs_text(draw: Draw) -> dict:
    """Several short pairs, each said twice in a row: x = x."""
    joint, end = draw.pick(((" = ", "\n"), (" -> ", "\n"), ("：", "\n"), ('="', '"\n'), (": ", "; ")))
    marked = Marked()
    for _ in range(_length(draw, 3, 8)):
        items, between = atoms(draw, draw.between(1, 4))
        text = between.join(items)
        marked.add(text + joint)
        marked.add(text, 1.0)
        marked.add(end, 1.0)
    return marked.record()


def induction_text(draw: Draw) -> dict:
    """Pairs in random order, again and again: after the first time, the second half follows from the first."""
    kind = draw.uniform() * (0.6 if draw.level < 0.3 else 1.0)
    count = _length(draw, 2, 6)
    keys = atoms(draw, count)[0] if kind < 0.6 else [thing(draw) for _ in range(count)]
    table = dict(zip(keys, atoms(draw, count)[0] if kind < 0.7 else [thing(draw) for _ in range(count)], strict=True))
    joint, end = draw.pick(
        ((" = ", "\n"), (": ", "\n"), (" -> ", "; "), (" ", ", "), ("是" if draw.zh else " is ", "\n"))
    )
    marked = Marked()
    for key, value in table.items():
        marked.add(f"{key}{joint}{value}{end}")
    keys = list(table)
    for _ in range(draw.between(count, 2 * count)):
        key = draw.pick(keys)
        marked.add(key + joint)
        marked.add(table[key] + end, 1.0)
    return marked.record()


def story_of_names(draw: Draw) -> dict:
    """A name, then the same name where the sentence calls for it again."""
    first, second = draw.person(), draw.person()
    place, thing_ = draw.city(), draw.product()
    templates = (
        [
            "{0} came from {2}. Everyone in {2} knew {0}. One day {0} bought {3}, and {3} made {0} happy.",
            "{0} met {1} in {2}. {1} said to {0}: welcome to {2}! {0} thanked {1} and gave {1} {3}.",
            "The {3} belongs to {0}. {1} wants {3} too, but {0} will not sell {3} to {1}.",
            "{0} wrote a letter. The letter began: Dear {1}, I am in {2}. It ended: Yours, {0}. {1} read it and went to {2}.",
        ],
        [
            "{0}来自{2}。{2}的人都认识{0}。有一天{0}买了{3}，{3}让{0}很高兴。",
            "{0}在{2}遇到{1}。{1}对{0}说：欢迎来{2}！{0}谢过{1}，送给{1}一个{3}。",
            "{3}是{0}的。{1}也想要{3}，可是{0}不肯把{3}卖给{1}。",
            "{0}写了一封信，开头是：{1}，你好，我在{2}。{1}读了{0}的信，就去了{2}。",
        ],
    )
    names, seen, marked = (first, second, place, thing_), set(), Marked()
    for piece in draw.pick(templates[draw.zh]).replace("{", "\0").replace("}", "\0").split("\0"):
        if piece.isdigit():
            marked.add(names[int(piece)], 1.0 if piece in seen else 0.0)
            seen.add(piece)
        else:
            marked.add(piece, 0.15)
    return marked.record()


REPEAT = (
    ["Repeat: {}", "Repeat after me: {}", "Copy this exactly: {}", "Say it again: {}", "Write the same text.\n{}", 'Repeat "{}".',
     "{}\nRepeat the line above.", "Echo: {}", "Type exactly what follows: {}", 'What stands in quotes? He said "{}" and left.'],
    ["请重复：{}", "重复这句话：{}", "照抄：{}", "原样写出：{}", "{}\n把上面的内容再写一遍。", "请重复“{}”。", "引号里是什么？他说“{}”就走了。",
     "跟我说：{}", "复制下面的文字：\n{}"],
)  # fmt: skip


def repeat(draw: Draw) -> dict:
    """Repeat what the user says, one to three times in a conversation."""
    turns = []
    for _ in range(draw.between(1, 3)):
        if draw.chance(0.5 * min(1.0, 2.0 * draw.level)):
            text = thing(draw)
        else:
            items, joint = atoms(draw, _length(draw, 2, 12))
            text = joint.join(items)
        turns += [draw.pick(REPEAT[draw.zh]).format(text), text]
    return chat("repeat", *turns)


ORDINALS = (words.items("first second third fourth fifth sixth seventh eighth"), "一二三四五六七八")


def nth(draw: Draw) -> dict:
    """The n-th, first or last item of a list, what follows an item, or how many there are."""
    count = _length(draw, 3, 8)
    items = [thing(draw) for _ in range(count)] if draw.chance(0.4) else [draw.syllable() for _ in range(count)]
    items = list(dict.fromkeys(item.replace(",", "") for item in items))
    joint = draw.pick((", ", "\n", " | ", "; ")) if not draw.zh else draw.pick(("、", "\n", "，", " | "))
    if draw.chance(0.3) and joint == "\n":
        listed = "\n".join(f"{i}. {item}" for i, item in enumerate(items, 1))
    else:
        listed = joint.join(items)
    turns = []
    for i in range(draw.between(1, 3)):
        question, answer = _about_list(draw, items)
        turns += [f"{listed}\n{question}" if i == 0 else question, answer]
    return chat("list", *turns)


def _about_list(draw: Draw, items: list[str]) -> tuple[str, str]:
    index = draw.between(0, len(items) - 1)
    kind = draw.uniform()
    if kind < 0.2:
        return draw.say(("What is the last item?", "The last one?"), ("最后一个是什么？", "最后一项？")), items[-1]
    if kind < 0.35 and len(items) > 1:
        index = draw.between(0, len(items) - 2)
        question = draw.say(("What comes after {}?", "Which item follows {}?"), ("{}后面是什么？", "{}的下一项是？"))
        return question.format(items[index]), items[index + 1]
    if kind < 0.45:
        return draw.say(("How many items are there?", "Count the items."), ("一共有几项？", "数一数有几个。")), str(
            len(items)
        )
    if kind < 0.55:
        other = thing(draw) if draw.chance(0.5) else draw.pick(items)
        yes = draw.say(("yes",), ("是",)) if other in items else draw.say(("no",), ("否",))
        return draw.say(("Is {} in the list? yes or no",), ("{}在里面吗？答是或否",)).format(other), yes
    question = draw.say(
        ("What is the {} item?", "Give the {} item.", "Which one is {}?"), ("第{}个是什么？", "写出第{}项。")
    )
    return question.format(ORDINALS[draw.zh][index]), items[index]


def lookup(draw: Draw) -> dict:
    """Keys and values, then questions by key or by value."""
    count = _length(draw, 2, 7)
    simple = draw.chance(0.4)
    keys = list(dict.fromkeys(draw.syllable() if simple else thing(draw) for _ in range(count)))
    values = list(dict.fromkeys(thing(draw) for _ in range(2 * count)))[: len(keys)]
    keys = keys[: len(values)]
    joint = draw.pick((" = ", ": ", " -> ", "=", " | ", "\t"))
    listed = draw.pick(("\n", "\n", "; ")).join(f"{k}{joint}{v}" for k, v in zip(keys, values, strict=True))
    turns = []
    for i in range(draw.between(1, min(4, len(keys)))):
        at = draw.between(0, len(keys) - 1)
        if draw.chance(0.7):
            ask, answer = (
                draw.say(("{}?", "What is {}?", "Value of {}?", "Look up {}."), ("{}？", "{}是什么？", "查一下{}。")),
                values[at],
            )
            ask = ask.format(keys[at])
        else:
            ask, answer = (
                draw.say(("Which key has {}?", "Whose value is {}?"), ("哪一项是{}？", "{}对应哪个？")),
                keys[at],
            )
            ask = ask.format(values[at])
        turns += [f"{listed}\n{ask}" if i == 0 else ask, answer]
    return chat("lookup", *turns)
