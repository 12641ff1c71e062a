"""Words and sentences of two languages: translation, opposites, groups, language, sentiment, talk and little stories."""

from seektune.base import words
from seektune.base.copying import Marked, chat
from seektune.base.frames import CATEGORIES, with_article
from seektune.base.names import Draw

GROUPS = list(words.GROUPED)
PAIRS = [pair for pairs in words.GROUPED.values() for pair in pairs] + words.CITIES + words.COUNTRIES
SENTENCES = [
    ("I like {0}.", "我喜欢{1}。"),
    ("Where is the {0}?", "{1}在哪里？"),
    ("This is a {0}.", "这是{1}。"),
    ("I see a {0} and a {2}.", "我看见{1}和{3}。"),
    ("The {0} is near the {2}.", "{1}在{3}附近。"),
    ("We have no {0} today.", "今天我们没有{1}。"),
    ("Do you want the {0} or the {2}?", "你要{1}还是{3}？"),
    ("My {0} is new.", "我的{1}是新的。"),
    ("There is a {0} here.", "这里有{1}。"),
    ("She drew a {0}.", "她画了{1}。"),
]


def translate(draw: Draw) -> dict:
    """Words, then a sentence made of them."""
    turns: list[str] = []
    to_zh = draw.chance(0.5)
    for i in range(draw.between(1, 4)):
        if draw.chance(0.35):
            first, second = (draw.pick(words.GROUPED[draw.pick(GROUPS)]) for _ in range(2))
            english, chinese = (with_article(s.format(*first, *second)) for s in draw.pick(SENTENCES))
        else:
            english, chinese = draw.pick(PAIRS)
        source, goal = (english, chinese) if to_zh else (chinese, english)
        head = (
            ("Chinese: ", "Translate into Chinese: ", "翻译成中文：", "用中文怎么说：")
            if to_zh
            else ("English: ", "Translate into English: ", "翻译成英文：", "英文：")
        )
        turns += [source if i else draw.pick(head) + source, goal]
    return chat("translate", *turns)


def opposite(draw: Draw) -> dict:
    turns: list[str] = []
    for _ in range(draw.between(1, 3)):
        pair = draw.pick(words.OPPOSITES)
        pair = pair[2:] if draw.zh else pair[:2]
        a, b = pair if draw.chance(0.5) else pair[::-1]
        head = draw.say(
            ("Opposite of {}?", "The opposite: {}", "Antonym of {}"), ("{}的反义词？", "反义词：{}", "与{}相反的是？")
        )
        turns += [head.format(a), b]
    return chat("opposite", *turns)


def group(draw: Draw) -> dict:
    """To which group a word belongs, or which word does not belong."""
    if draw.chance(0.4):
        first, second = draw.some(GROUPS, 2)
        odd = draw.pick(words.GROUPED[second])[draw.zh]
        items = [pair[draw.zh] for pair in draw.some(words.GROUPED[first], 3)]
        items.insert(draw.between(0, 3), odd)
        return chat(
            "group",
            draw.say(("Which does not belong: {}?", "The odd one: {}"), ("哪个不同类：{}？", "找出不同的：{}")).format(
                ", ".join(items)
            ),
            odd,
        )
    turns: list[str] = []
    for _ in range(draw.between(1, 3)):
        kinds = draw.some(GROUPS, draw.between(2, 4))
        kind = draw.pick(kinds)
        word = draw.pick(words.GROUPED[kind])[draw.zh]
        listed = draw.say((", ", " or ", "/"), ("、", "/", "还是")).join(k[draw.zh] for k in kinds)
        turns += [
            draw.say(("{} is which: {}?", "Group of {} ({})?"), ("{}属于哪类：{}？", "{}是什么（{}）？")).format(
                word, listed
            ),
            kind[draw.zh],
        ]
    return chat("group", *turns)


def language(draw: Draw) -> dict:
    turns: list[str] = []
    for _ in range(draw.between(1, 3)):
        pair, zh = draw.pick(PAIRS), draw.chance(0.5)
        sentence = with_article(draw.pick(SENTENCES)[zh].format(*pair, *draw.pick(PAIRS)))
        head = draw.say(("Which language? ", "Language of: "), ("什么语言？", "语言是："))
        name = ("Chinese" if zh else "English") if not draw.zh else ("中文" if zh else "英文")
        turns += [head + sentence, name]
    return chat("language", *turns)


REVIEWS = (
    ["The {0} was {1}.", "{1}, this {0}!", "I bought a {0} and it is {1}.", "My new {0}: {1}.", "The hotel had a {0} that was {1}.",
     "We came for the {0}. It was {1}.", "{1}! That is all about the {0}.", "Nobody told me that the {0} is {1}."],
    ["这个{0}{1}。", "我买了{0}，{1}。", "新买的{0}：{1}。", "酒店的{0}{1}。", "大家都说{0}{1}。", "{0}用了两天，{1}。", "说实话，{0}{1}！"],
)  # fmt: skip


def sentiment(draw: Draw) -> dict:
    mood = CATEGORIES["mood"]
    labels = draw.pick(mood.labels_zh if draw.zh else mood.labels_en)
    shown = draw.say(("/", " or ", ", "), ("/", "还是", "、")).join(draw.some(labels, 2))
    turns: list[str] = []
    for i in range(draw.between(1, 4)):
        index = draw.between(0, 1)
        thing = draw.pick(words.GROUPED[draw.pick(GROUPS)])[draw.zh]
        text = draw.pick(REVIEWS[draw.zh]).format(thing, draw.pick((mood.zh if draw.zh else mood.en)[index]))
        head = draw.say(("Sentiment ({}): ", "Is it {}? ", "{}? "), ("情感（{}）：", "{}？", "判断{}：")).format(shown)
        turns += [text if i else head + text, labels[index]]
    return chat("sentiment", *turns)


TALK = (
    [
        ("Hello!|Hi!|Good morning!|Hey there.", "Hello! How can I help you?"),
        ("Hello, my name is {0}.|I am {0}.|{0} here, hi.", "Hello, {0}! How can I help you?"),
        ("Thank you!|Thanks a lot.|Thanks!", "You are welcome!"),
        ("Goodbye!|Bye.|See you later.", "Goodbye! Have a nice day."),
        ("How are you?|How is it going?", "I am fine, thank you. How can I help you?"),
        ("Who are you?|What are you?", "I am a small language model."),
        ("Can you help me?|I need help.", "Of course. What do you need?"),
        ("I live in {1}.|I come from {1}.", "Nice! How is life in {1}?"),
        ("Please call me {0}.|You can call me {0}.", "Of course, {0}."),
    ],
    [
        ("你好！|您好。|早上好！|嗨！", "你好！有什么可以帮你？"),
        ("你好，我叫{0}。|我是{0}。", "你好，{0}！有什么可以帮你？"),
        ("谢谢！|多谢。|非常感谢！", "不客气！"),
        ("再见！|拜拜。|回头见。", "再见！祝你愉快。"),
        ("你好吗？|最近怎么样？", "我很好，谢谢。有什么可以帮你？"),
        ("你是谁？|你是什么？", "我是一个小语言模型。"),
        ("能帮我吗？|我需要帮助。", "当然可以，需要什么？"),
        ("我住在{1}。|我来自{1}。", "真好！{1}的生活怎么样？"),
        ("请叫我{0}。|可以叫我{0}。", "好的，{0}。"),
    ],
)


def talk(draw: Draw) -> dict:
    turns: list[str] = []
    name, city = draw.person(), draw.city()
    for ask, answer in draw.some(TALK[draw.zh], draw.between(1, 3)):
        turns += [draw.pick(ask.split("|")).format(name, city), answer.format(name, city)]
    if draw.chance(0.5) and any(name in turn for turn in turns):
        turns += [draw.say(("What is my name?", "Who am I?"), ("我叫什么？", "我是谁？")), name]
    return chat("talk", *turns)


STORIES = (
    [
        "{name} had a {adjective} {animal}. Every {time} the {animal} went to the {place}.",
        "There was a {adjective} {place} near the {nature}. A {animal} lived there with a {other}.",
        "The {animal} was hungry. It found some {food} under the {thing} and ate it.",
        "{name} wanted to buy {food}. The {job} gave it to {name} and smiled.",
        "One {time} the {animal} saw a {adjective} {other}. They became friends.",
        "It was cold. {name} put on a {wear} and walked to the {place}.",
        "The {job} worked in the {place}. At home a {adjective} {animal} waited.",
        "In the end, everybody was happy and went home.",
    ],
    [
        "{name}有一只{animal}。每天{time}，{animal}都去{place}。",
        "{nature}旁边有一个{place}，里面住着{animal}和{other}。",
        "{animal}饿了，它在{thing}下面找到一些{food}，就吃了。",
        "{name}想买{food}，{job}笑着把{food}给了{name}。",
        "有一天{time}，{animal}看见了{other}，它们成了好朋友。",
        "天很冷，{name}穿上{wear}，走到{place}去。",
        "{job}在{place}工作，家里的{animal}在等着。",
        "最后，大家都很高兴，一起回家了。",
    ],
)


def story(draw: Draw) -> dict:
    """Plain prose, learnt a little."""
    pick = {key: words.GROUPED[pair] for key, pair in STORY_WORDS.items()}
    values = {key: draw.pick(pairs)[draw.zh] for key, pairs in pick.items()}
    values["time"] = draw.say(("morning", "evening", "night"), ("早上", "晚上", "夜里"))
    values |= {"name": draw.person(), "adjective": draw.pick(words.ADJECTIVES)}
    lines = draw.some(STORIES[draw.zh][:-1], draw.between(2, 4)) + ([STORIES[draw.zh][-1]] if draw.chance(0.4) else [])
    marked = Marked()
    seen = False
    for line in lines:
        pieces = with_article(line.format_map(values | {"name": "\0"})).split("\0")
        for i, piece in enumerate(pieces):
            if i:
                marked.add(values["name"], 0.7 if seen else 0.0)
                seen = True
            marked.add(piece, 0.2)
        marked.add("" if draw.zh else " ")
    return marked.record()


STORY_WORDS = {
    "animal": ("animal", "动物"),
    "other": ("animal", "动物"),
    "place": ("building", "建筑"),
    "nature": ("nature", "自然"),
    "food": ("food", "食物"),
    "thing": ("furniture", "家具"),
    "job": ("job", "职业"),
    "wear": ("clothing", "衣物"),
}
