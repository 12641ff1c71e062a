"""Small arithmetic with steps, comparing, counting, sorting, reversing, letters; patterns given by examples."""

from seektune.base import words
from seektune.base.copying import chat
from seektune.base.names import Draw


def _number(draw: Draw) -> int:
    return draw.between(0, draw.pick((9, 20, 99, 99, 999)))


def arithmetic(draw: Draw) -> dict:
    """Sums and differences, one to four in a row."""
    turns: list[str] = []
    for _ in range(draw.between(1, 4)):
        a, b = _number(draw), _number(draw)
        minus = draw.chance(0.45)
        a, b = (max(a, b), min(a, b)) if minus else (a, b)
        ask = draw.say(("{}?", "What is {}?", "{} =", "Compute {}."), ("{}等于多少？", "计算{}", "{}=?", "{}是几？"))
        turns += [ask.format(f"{a} - {b}" if minus else f"{a} + {b}"), str(a - b if minus else a + b)]
    return chat("arithmetic", *turns)


def steps(draw: Draw) -> dict:
    """A sum of three numbers or a small story, thought through before the answer."""
    a, b, c = (draw.between(1, 60) for _ in range(3))
    c = min(c, a + b)
    name = draw.person()
    what = draw.pick(words.GROUPED[("food", "食物")])[draw.zh]
    ask = draw.say(
        (f"{a} + {b} - {c} = ?", f"{name} has {a} pieces of {what}, gets {b} and gives away {c}. How many are left?"),
        (f"{a} + {b} - {c} = ?", f"{name}有{a}份{what}，又得到{b}份，送出{c}份，还剩几份？"),
    )
    thought = f"{a} + {b} = {a + b}\n{a + b} - {c} = {a + b - c}"
    record = chat("steps", ask, str(a + b - c))
    if draw.chance(0.6):
        record["messages"][-1]["reasoning_content"] = thought
    else:
        record["messages"][-1]["content"] = f"{thought}\n{a + b - c}"
        record["messages"][0]["content"] += draw.say(
            (" Show the steps.", " Step by step."), ("写出步骤。", "一步一步算。")
        )
    return record


def compare(draw: Draw) -> dict:
    turns: list[str] = []
    for _ in range(draw.between(1, 4)):
        a, b = _number(draw), _number(draw)
        b = b + 1 if a == b else b
        if draw.chance(0.5):
            ask, answer = (
                draw.say(
                    ("Which is larger, {} or {}?", "The bigger one: {} or {}?"),
                    ("{}和{}哪个大？", "{}、{}中较大的是？"),
                ),
                max(a, b),
            )
        else:
            ask, answer = (
                draw.say(
                    ("Which is smaller, {} or {}?", "The lesser: {} or {}?"), ("{}和{}哪个小？", "{}、{}中较小的是？")
                ),
                min(a, b),
            )
        turns += [ask.format(a, b), str(answer)]
    return chat("compare", *turns)


def _word(draw: Draw) -> str:
    return draw.pick(words.GROUPED[draw.pick(list(words.GROUPED))])[draw.zh]


def order(draw: Draw) -> dict:
    """Sorting numbers, reversing and counting lists of words."""
    kind = draw.uniform()
    if kind < 0.4:
        numbers = [draw.between(0, 99) for _ in range(draw.between(2, 5))]
        down = draw.chance(0.4)
        ask = (
            draw.say(("Sort down: {}", "Largest first: {}"), ("从大到小排：{}", "降序：{}"))
            if down
            else draw.say(("Sort: {}", "Smallest first: {}"), ("从小到大排：{}", "升序：{}"))
        )
        return chat("order", ask.format(_join(numbers)), _join(sorted(numbers, reverse=down)))
    items = [_word(draw) for _ in range(draw.between(2, 5))]
    if kind < 0.7:
        ask = draw.say(("Reverse: {}", "Write backwards, item by item: {}"), ("倒过来写：{}", "反转顺序：{}"))
        return chat("order", ask.format(_join(items)), _join(items[::-1]))
    if kind < 0.85 and not draw.zh:
        return chat("order", f"Sort by alphabet: {_join(items)}", _join(sorted(items)))
    ask = draw.say(("How many words: {}", "Count: {}"), ("有几个词：{}", "数一数：{}"))
    return chat("order", ask.format(_join(items)), str(len(items)))


def _join(items: list) -> str:
    return ", ".join(map(str, items))


def letters(draw: Draw) -> dict:
    """Upper and lower case, first and last letters, spelling."""
    turns: list[str] = []
    for _ in range(draw.between(1, 3)):
        word = draw.pick((draw.pick(words.PLAIN_EN), draw.pick(words.ADJECTIVES)))
        task, answer = draw.pick(
            (
                ("upper case", word.upper()),
                ("capitalize", word.capitalize()),
                ("spell", "-".join(word)),
                ("first letter", word[0]),
                ("last letter", word[-1]),
                ("lower case", word),
            )
        )
        shown = word.upper() if task == "lower case" else word
        turns += [f"{task}: {shown}", answer]
    return chat("letters", *turns)


def pattern(draw: Draw) -> dict:
    """A rule shown by two or three examples, then applied."""
    kind = draw.between(0, 6)
    things = draw.some(words.PLAIN_EN, 4)
    rules = (
        lambda w: w.upper(),
        lambda w: w.capitalize(),
        lambda w: f"<{w}>",
        lambda w: f"{w} {w}",
        lambda w: w[0],
        lambda w: f'{{"word": "{w}"}}',
        lambda w: f"the {w}",
    )
    rule, joint = rules[kind], draw.pick((" -> ", ": ", " => ", " = "))
    shown = "\n".join(f"{w}{joint}{rule(w)}" for w in things[:3])
    return chat("pattern", f"{shown}\n{things[3]}{joint}".rstrip(), rule(things[3]))


def labels(draw: Draw) -> dict:
    """Made-up labels for groups of words, learnt from the examples in the question."""
    first, second = draw.some(list(words.GROUPED), 2)
    names = draw.some(("A", "B", "X", "Y", "1", "2", "red", "blue", "yes", "no", "甲", "乙"), 2)
    groups = {names[0]: words.GROUPED[first], names[1]: words.GROUPED[second]}
    shown = [(word[draw.zh], name) for name, group in groups.items() for word in draw.some(group, 3)]
    draw.random.shuffle(shown)
    asked, examples = shown[:2], shown[2:]
    lines = "\n".join(f"{word}: {name}" for word, name in examples)
    return chat("labels", f"{lines}\n{asked[0][0]}:", asked[0][1], f"{asked[1][0]}:", asked[1][1])
