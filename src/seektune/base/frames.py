"""A frame is a kind of fact: its slots, the sentences that state it in two languages, the questions about it and the key names.

`fill` turns a frame into a passage with every value that can be asked for; `extraction.py` asks.
"""

from dataclasses import dataclass, field
from re import compile as pattern
from string import Formatter
from typing import Any, NamedTuple

from seektune.base.names import Draw
from seektune.base.words import items

Labels = list[tuple[str, ...]]
VOWEL_AHEAD = pattern(r"\b([Aa]) (?=[aeiou])")


class Category(NamedTuple):
    """Surface words that stand for a class; the names of the classes vary from record to record."""

    labels_en: Labels
    labels_zh: Labels
    en: list[list[str]]
    zh: list[list[str]]


def _split(text: str) -> list[list[str]]:
    return [part.strip().split("/") for part in text.split("|")]


def _labels(text: str) -> Labels:
    return [tuple(part.split("/")) for part in text.split()]


UP = "up/down rise/fall higher/lower gain/loss plus/minus increase/decrease growth/decline rising/falling"
UP_ZH = "上涨/下跌 升/降 增/减 涨/跌 up/down rise/fall 上升/下降 +/-"
STATUS = "shipped/delivered/cancelled/pending sent/done/dropped/waiting on_the_way/arrived/cancelled/open"
STATUS_ZH = "已发货/已送达/已取消/待处理 在途/完成/取消/等待 shipped/delivered/cancelled/pending"
SKY, SKY_ZH = (
    "sunny/rainy/snowy/cloudy sun/rain/snow/clouds clear/wet/snow/gray",
    "晴/雨/雪/多云 晴天/雨天/雪天/阴天 sun/rain/snow/cloud",
)
CATEGORIES = {
    "rises": Category(
        _labels(UP),
        _labels(UP_ZH),
        _split(
            "rises/climbs/jumps/grows/surges/goes up/advances/soars/increases|falls/drops/slips/shrinks/sinks/slides/goes down/declines/plunges"
        ),
        _split("上涨/增长/上升/攀升/大涨/提高/增加/猛增/走高|下跌/下降/下滑/减少/大跌/回落/降低/暴跌/走低"),
    ),
    "rose": Category(
        _labels(UP),
        _labels(UP_ZH),
        _split(
            "rose/climbed/jumped/grew/surged/went up/advanced/soared/increased|fell/dropped/slipped/shrank/sank/slid/went down/declined/plunged"
        ),
        _split("涨了/上升了/增长了/提高了/多了/上涨了|跌了/下降了/减少了/降低了/少了/下跌了"),
    ),
    "staff": Category(
        _labels("hiring/layoffs adds/cuts more/fewer growing/shrinking"),
        _labels("招聘/裁员 增员/减员 hire/cut 增/减"),
        _split("hires/takes on/recruits/adds/will employ|cuts/lays off/fires/sheds/lets go of"),
        _split("招聘/新招/招收/录用/新增|裁减/裁掉/解雇/辞退/削减"),
    ),
    "status": Category(
        _labels(STATUS),
        _labels(STATUS_ZH),
        _split(
            "has been shipped/is on its way/left the warehouse/was sent out|was delivered/has arrived/reached the customer|"
            "was cancelled/was called off/has been withdrawn|is still waiting/has not been processed/is pending"
        ),
        _split(
            "已经发货/正在路上/已经寄出/已出库|已送达/已签收/已经收到|被取消/已撤销/已作废|还在等待/尚未处理/待处理"
        ),
    ),
    "passed": Category(
        _labels("pass/fail passed/failed yes/no ok/not_ok"),
        _labels("通过/未通过 合格/不合格 pass/fail 是/否"),
        _split("passed/got through/succeeded in|failed/did not pass/fell short in"),
        _split("通过了/顺利过了/考过了|没通过/没考过/未能通过"),
    ),
    "sky": Category(
        _labels(SKY),
        _labels(SKY_ZH),
        _split(
            "bright sunshine/a clear blue sky/plenty of sun|heavy rain/light showers/a rainy day|snow/thick snowfall/a lot of snow|"
            "gray clouds/an overcast sky/many clouds"
        ),
        _split("阳光明媚/晴空万里/天气晴朗|大雨/小雨/阵雨|大雪/小雪/雪花飘飘|多云/阴云密布/云很多"),
    ),
    "mood": Category(
        _labels("positive/negative good/bad happy/unhappy like/dislike satisfied/dissatisfied"),
        _labels("正面/负面 好评/差评 满意/不满意 positive/negative 喜欢/不喜欢"),
        _split(
            "wonderful/excellent/a delight/great/better than expected/very good/lovely/perfect|"
            "terrible/awful/a disappointment/boring/worse than expected/very bad/useless/poor"
        ),
        _split("非常好/很棒/令人满意/出色/超出预期/很喜欢/物超所值|很差/糟糕/令人失望/无聊/不如预期/很难用/不值得"),
    ),
    "opened": Category(
        _labels("open/closed yes/no opening/closing"),
        _labels("开/关 营业/停业 open/closed 开业/关闭"),
        _split("opens/starts/inaugurates/sets up|closes/shuts/shuts down/gives up"),
        _split("开设/新开/启用/设立|关闭/关停/停用/撤销"),
    ),
}

# Words that are copied as they stand.
CHOICES = {
    "role": (
        items(
            "chief executive/finance chief/chairman/head of sales/technical director/board member/president/legal adviser",
            "/",
        ),
        items("首席执行官/财务总监/董事长/销售主管/技术总监/董事/总裁/法律顾问/总经理", "/"),
    ),
    "site": (
        items("factory/office/shop/warehouse/laboratory/school/clinic/data center/research center/branch", "/"),
        items("工厂/办事处/门店/仓库/实验室/学校/诊所/数据中心/研发中心/分行", "/"),
    ),
    "goods": (
        items("oil/gold/silver/wheat/rice/copper/coffee/sugar/natural gas/cotton/steel/corn/rubber/coal", "/"),
        items("原油/黄金/白银/小麦/大米/铜/咖啡/白糖/天然气/棉花/钢材/玉米/橡胶/煤炭", "/"),
    ),
    "metric": (
        items(
            "profit/revenue/net profit/quarterly sales/turnover/annual revenue/net income/operating profit/output/exports",
            "/",
        ),
        items("利润/营收/净利润/季度销售额/营业额/全年收入/净收入/营业利润/产量/出口额", "/"),
    ),
    "reason": (
        items(
            "a stolen design/late deliveries/a broken contract/unpaid bills/a patent/false advertising/a data leak", "/"
        ),
        items("抄袭设计/延迟交货/违反合同/拖欠货款/专利纠纷/虚假宣传/数据泄露", "/"),
    ),
    "job": (
        items(
            "teacher/doctor/nurse/farmer/driver/cook/lawyer/engineer/painter/writer/singer/pilot/baker/plumber/dentist",
            "/",
        ),
        items("老师/医生/护士/农民/司机/厨师/律师/工程师/画家/作家/歌手/飞行员/面包师/会计/警察", "/"),
    ),
    "item": (
        items(
            "lamps/chairs/printers/bottles/notebooks/boots/cables/mugs/blankets/bicycles/pencils/towels/umbrellas/batteries",
            "/",
        ),
        items("台灯/椅子/打印机/水瓶/笔记本/靴子/电缆/杯子/毯子/自行车/铅笔/毛巾/雨伞/电池", "/"),
    ),
    "subject": (
        items(
            "the monthly report/holiday plans/a lost key/the new budget/the team lunch/a late payment/the garden wall/travel costs",
            "/",
        ),
        items("月度报告/假期安排/丢失的钥匙/新预算/团队午餐/逾期付款/花园围墙/差旅费用", "/"),
    ),
    "course": (
        items("mathematics/history/physics/music/chemistry/biology/geography/English/art", "/"),
        items("数学/历史/物理/音乐/化学/生物/地理/英语/美术", "/"),
    ),
    "ride": (items("train/bus/plane/car/ship/bicycle/ferry", "/"), items("火车/大巴/飞机/汽车/轮船/自行车/渡轮", "/")),
    "pet": (
        items("cat/dog/horse/parrot/rabbit/goat/turtle/pony", "/"),
        items("猫/狗/马/鹦鹉/兔子/山羊/乌龟/小马", "/"),
    ),
    "color": (
        items("red/blue/green/black/white/brown/gray/yellow", "/"),
        items("红色/蓝色/绿色/黑色/白色/棕色/灰色/黄色", "/"),
    ),
}


@dataclass
class Frame:
    """Sentences one per line; `slots`, `keys` and `asks` are written `slot = a, b | 甲, 乙`."""

    name: str
    labels: str  # what this kind of fact may be called: "deal, purchase | 交易, 收购"
    slots: str  # "buyer: company, price: money"
    keys: str
    asks: str
    en: str
    zh: str
    kinds: dict[str, str] = field(init=False)
    tables: dict[bool, "Tables"] = field(init=False)

    def __post_init__(self) -> None:
        self.kinds = dict(part.strip().split(": ") for part in self.slots.split(","))
        self.tables = {zh: Tables(self, zh) for zh in (False, True)}


def _fields(text: str) -> frozenset[str]:
    return frozenset(name for _, name, _, _ in Formatter().parse(text) if name)


class Tables:
    """One language of a frame, cut into lists once."""

    def __init__(self, frame: Frame, zh: bool) -> None:
        sentences = [line.strip() for line in (frame.zh if zh else frame.en).strip().splitlines()]
        self.sentences = [(line[0].upper() + line[1:], _fields(line)) for line in sentences]
        self.keys = {slot: pair[zh].split(", ") for slot, pair in _lines(frame.keys)}
        self.asks = {slot: [(ask, _fields(ask)) for ask in pair[zh].split("; ")] for slot, pair in _lines(frame.asks)}
        self.labels = [label.strip() for label in frame.labels.split("|")[zh].split(",")]


def _lines(block: str) -> list[tuple[str, tuple[str, str]]]:
    rows = []
    for line in block.strip().splitlines():
        slot, _, rest = line.strip().partition(" = ")
        english, _, chinese = rest.partition(" | ")
        rows.append((slot, (english.strip(), chinese.strip())))
    return rows


class Askable(NamedTuple):
    """One value of a passage: under which keys, by which questions, with which classes (for a category)."""

    slot: str
    value: Any
    keys: list[str]
    asks: list[str]
    options: tuple[str, ...] = ()
    usual: bool = False  # the classes have their usual names, so they need not be listed


class Passage(NamedTuple):
    frame: Frame
    text: str
    askables: list[Askable]
    values: dict[str, str]


NUMBER_KEYS = {False: ["amount", "number", "sum", "figure"], True: ["金额", "数额", "amount", "数值"]}
NUMBER_ASKS = {
    False: [
        "What is the amount, without the currency?",
        "Only the number, please: how much money?",
        "Give the sum without currency.",
    ],
    True: ["金额是多少（不带币种）？", "只写数字：多少钱？", "不带货币单位，金额是多少？"],
}
CODE_KEYS = {
    False: ["currency", "currency_code", "money_type", "currency_used"],
    True: ["货币", "币种", "currency", "货币代码"],
}
CODE_ASKS = {
    False: [
        "Which currency? Give the code.",
        "In which currency (ISO code)?",
        "Currency code?",
        "What is the currency code of the sum?",
    ],
    True: ["用的是哪种货币？写代码。", "货币代码是什么？", "币种（ISO 代码）？", "是哪种货币，请写出代码。"],
}


def fill(draw: Draw, frame: Frame) -> Passage:
    """A sentence of the frame with fresh values, and what can be asked about it."""
    tables = frame.tables[draw.zh]
    sentence, used = draw.pick(tables.sentences)
    values: dict[str, str] = {}
    askables: list[Askable] = []
    for slot, kind in frame.kinds.items():
        if slot in used:
            values[slot] = _value(draw, tables, slot, kind, askables)
    text = sentence.format_map(values)
    text = text if draw.zh else with_article(text)
    ready = [a._replace(asks=_askable(draw, tables, a, used, values)) for a in askables]
    return Passage(frame, text, ready, values)


def with_article(text: str) -> str:
    """ "a old owl" becomes "an old owl"."""
    return VOWEL_AHEAD.sub(r"\1n ", text)


def _askable(draw: Draw, tables: Tables, askable: Askable, used: frozenset[str], values: dict[str, str]) -> list[str]:
    if askable.asks:
        return askable.asks
    asks = [ask for ask, fields in tables.asks.get(askable.slot, ()) if fields <= used]
    return [draw.pick(asks).format_map(values)] if asks else []


def _value(draw: Draw, tables: Tables, slot: str, kind: str, askables: list[Askable]) -> str:
    keys = tables.keys[slot]
    if kind in CATEGORIES:
        category = CATEGORIES[kind]
        named = category.labels_zh if draw.zh else category.labels_en
        labels = named[0] if draw.chance(0.35) else draw.pick(named)
        index = draw.between(0, len(labels) - 1)
        askables.append(Askable(slot, labels[index], keys, [], labels, labels is named[0]))
        return draw.pick((category.zh if draw.zh else category.en)[index])
    if kind == "money":
        money = draw.money()
        askables.append(Askable(slot, money.text, keys, []))
        askables.append(Askable(slot, money.number, NUMBER_KEYS[draw.zh], NUMBER_ASKS[draw.zh]))
        askables.append(Askable(slot, money.code, CODE_KEYS[draw.zh], CODE_ASKS[draw.zh]))
        return money.text
    text = draw.pick(CHOICES[kind][draw.zh]) if kind in CHOICES else _plain(draw, kind)
    whole = kind in ("age", "count", "small") and text.isdecimal()
    askables.append(Askable(slot, int(text) if whole else text, keys, []))
    return text


def _plain(draw: Draw, kind: str) -> str:
    if kind == "age":
        return str(draw.between(3, 95))
    if kind == "small":
        return str(draw.between(0, 12) if draw.chance(0.7) else draw.between(13, 120))
    if kind == "degrees":
        return str(draw.between(-25, 41))
    if kind == "phone":
        return draw.pick(("{}-{}", "{} {}", "{}{}")).format(draw.digits(3), draw.digits(4))
    return getattr(draw, kind)()
