"""One record's dice: names composed of syllables, characters and words, and the written forms of money, dates and numbers.

A name is held out when its checksum says so; training text draws only the others, the held-out set only these.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple, TypeVar
from zlib import crc32

from seektune.base import words
from seektune.base.words import items

T = TypeVar("T")
ONSETS = (
    items(
        "b br c ch cl d dr f fl fr g gl gr h j k kl kr l m n p pl pr qu r s sc sh sk sl sn sp st t th tr v w y z b d f g k l m n "
        "p r s t v"
    )
    + [""] * 4
)
VOWELS = items("a e i o u a e i o u a e i o u ai au ea ee ei ia ie io oa oo ou ue y")
CODAS = [""] * 16 + items("n r l s m t x k d n r l s ck nd nt rd rk rn rt st th sh ng mp lt ss ll")
SUFFIXES_EN = items(
    "Inc|Inc.|Group|Holdings|Labs|Ltd|Ltd.|LLC|AG|SA|Co|Co.|Company|Industries|Foods|Energy|Motors|Bank|Air|Media|Robotics|"
    "Pharma|Software|Capital|Logistics|Mining|Steel|Textiles|Health|Insurance|Studios|Brothers|& Sons|Networks|Retail|"
    "Chemicals|Electronics|Shipping|Brewery|Farms|Hotels|Games|Power|Water|Trading|Ventures|Bio|AI|Solar|Digital",
    "|",
)
SUFFIXES_ZH = items(
    "科技 集团 股份 银行 公司 有限公司 控股 电子 汽车 食品 医药 能源 证券 保险 航空 传媒 物流 地产 电器 化工 钢铁 软件 网络 生物 "
    "重工 服饰 乳业 酒业 矿业 实业 投资 基金 电力 光电 半导体 机器人 教育 旅游 影业 百货 超市 家居 智能 材料 环保 纺织"
)
THINGS_EN = items(
    "phone camera watch scooter drone tablet laptop speaker heater blender printer router bicycle jacket tent"
)
THINGS_ZH = items("手机 相机 手表 平板 音箱 耳机 冰箱 空调 电脑 打印机 自行车 无人机 吹风机 电视 背包")
PLACES_EN = items(
    "{}ton|{}ville|{}burg|{}ford|{}field|{}port|{}ham|{}stad|{} Bay|{} Falls|{}dale|{}a|{}o|{}|{}|New {}|Port {}|San {}",
    "|",
)
PLACES_ZH = items("市 县 镇 村 港 城 州 山 湖 岭 湾 桥") + [""] * 3

# Han twice, Latin, Greek, Cyrillic, kana, Hangul, faces.
SCRIPTS = [(0x4E00, 0x9FA5), (0x4E00, 0x9FA5), (0xC0, 0xFF), (0x391, 0x3A1), (0x410, 0x44F)]
SCRIPTS += [(0x3041, 0x3093), (0x30A1, 0x30F6), (0xAC00, 0xD7A3), (0x1F600, 0x1F64F)]
ACCENTS = str.maketrans("aeouncs", "áéöüñçš")
# A name must not look like the sentence around it, so words of grammar stay out of Chinese names.
GRAMMAR = set(
    "的一是不了在人有我他这个们中来上和到以说时要出会也你对而那得于着下自之过后去如把都从被向给为与因将就又很最由并及比或"
)
GRAMMAR |= set("即未已再才只还没等做当叫住买卖花付价岁件号年月日点分元万亿第几两二三四五六七八九十谁什么呢吗吧请用")
NAME_CHARACTERS = [c for c in words.CHARACTERS if c not in GRAMMAR]


class Money(NamedTuple):
    text: str
    number: str
    code: str


def is_held(name: str) -> bool:
    return crc32(name.encode()) % 8 == 0


class Draw:
    """The dice of one record: everything random about it comes from here."""

    def __init__(self, seed: int, held: bool = False, level: float = 1.0, zh: bool | None = None) -> None:
        self.random = Random(seed)
        self.uniform = self.random.random
        self.held = held
        self.level = level  # 0 at the start of the curriculum, 1 after it
        self.zh = self.uniform() < 0.45 if zh is None else zh

    def pick(self, items: Sequence[T]) -> T:
        return items[int(self.uniform() * len(items))]

    def chance(self, probability: float) -> bool:
        return self.uniform() < probability

    def between(self, low: int, high: int) -> int:
        return low + int(self.uniform() * (high - low + 1))

    def some(self, items: Sequence[T], count: int) -> list[T]:
        return self.random.sample(items, min(count, len(items)))

    def say(self, english: Sequence[str], chinese: Sequence[str]) -> str:
        return self.pick(chinese if self.zh else english)

    def named(self, make: Callable[[], str]) -> str:
        name = make()
        while is_held(name) != self.held:
            name = make()
        return name

    # names

    def syllable(self) -> str:
        return self.pick(ONSETS) + self.pick(VOWELS) + self.pick(CODAS)

    def stem(self) -> str:
        parts = [self.pick(ONSETS) + self.pick(VOWELS) for _ in range(self.pick((0, 1, 1, 1, 1, 1, 2)))]
        if parts and self.chance(0.3):
            parts[0] += self.pick("nrlsmtxkd")
        stem = ("".join(parts) + self.syllable()).capitalize()
        return stem if self.chance(0.98) else stem.translate(ACCENTS)

    def letters(self, low: int, high: int, alphabet: str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ") -> str:
        return "".join(self.pick(alphabet) for _ in range(self.between(low, high)))

    def digits(self, count: int) -> str:
        return "".join(self.pick("0123456789") for _ in range(count))

    def characters(self, count: int) -> str:
        return "".join(self.pick(words.CHARACTERS) for _ in range(count))

    def odd(self) -> str:
        """A character of any script, so that the bytes of rare ones are known too."""
        return chr(self.between(*self.pick(SCRIPTS)))

    def name_characters(self, count: int) -> str:
        return "".join(self.pick(NAME_CHARACTERS) for _ in range(count))

    def company(self) -> str:
        foreign = self.zh and self.chance(0.08)
        return self.named(self._company_zh if self.zh and not foreign else self._company_en)

    def _company_en(self) -> str:
        kind = self.uniform()
        if kind < 0.45:
            name = self.stem()
        elif kind < 0.60:
            name = f"{self.pick(words.PLAIN_EN).capitalize()} {self.pick(words.PLAIN_EN).capitalize()}"
        elif kind < 0.68:
            name = self.letters(2, 5)
        elif kind < 0.76:
            name = self.stem() + self.stem()
        elif kind < 0.82:
            name = f"{self.stem()} {self.pick(('&', 'and', '-'))} {self.stem()}".replace(" - ", "-")
        elif kind < 0.90:
            name = f"{self.stem()} {self.pick(words.PLAIN_EN).capitalize()}"
        elif kind < 0.94:
            name = f"{self.stem()}{self.pick(('.io', '.com', '.ai', '24', '360', '+', ' 9', '-7', 'ly', 'ify'))}"
        else:
            name = self.pick(words.PLAIN_EN).capitalize() + self.pick(("", "ly", "base", "works", "soft"))
        return name if self.chance(0.5) else f"{name} {self.pick(SUFFIXES_EN)}"

    def _company_zh(self) -> str:
        name = self.name_characters(self.pick((2, 2, 2, 2, 3, 3, 4)))
        name = name if self.chance(0.25) else name + self.pick(SUFFIXES_ZH)
        return name if self.chance(0.97) else self.pick(words.CITIES)[1] + name

    def person(self) -> str:
        return self.named(self._person_zh if self.zh and self.chance(0.93) else self._person_en)

    def _person_en(self) -> str:
        given = self.pick(words.GIVEN_EN) if self.chance(0.6) else self.stem()
        if self.chance(0.1):
            return given
        family = self.pick(words.FAMILY_EN) if self.chance(0.4) else self.stem()
        return f"{given} {self.letters(1, 1)}. {family}" if self.chance(0.04) else f"{given} {family}"

    def _person_zh(self) -> str:
        given = words.GIVEN_ZH if self.chance(0.6) else NAME_CHARACTERS
        name = self.pick(words.SURNAMES_ZH) + self.pick(given)
        return name + self.pick(given) if self.chance(0.75) else name

    def city(self) -> str:
        return self.named(self._city)

    def _city(self) -> str:
        if self.chance(0.4):
            return self.pick(words.CITIES)[1 if self.zh else 0]
        if self.zh:
            return self.name_characters(2) + self.pick(PLACES_ZH)
        return self.pick(PLACES_EN).format(self.stem())

    def product(self) -> str:
        return self.named(self._product_zh if self.zh and self.chance(0.8) else self._product_en)

    def _product_en(self) -> str:
        mark = self.pick(
            (f"{self.between(1, 99)}", self.letters(1, 2) + self.digits(self.between(1, 3)), self.stem(), "Pro", "Mini")
        )
        return f"{self.stem()} {mark}" if self.chance(0.7) else f"{self.stem()} {self.pick(THINGS_EN)}"

    def _product_zh(self) -> str:
        name = self.name_characters(2)
        return name + self.pick(
            (self.pick(THINGS_ZH), f"{self.between(1, 99)}", self.letters(1, 1) + self.digits(1), "")
        )

    def code(self) -> str:
        shape = self.pick(
            ("AA-0000", "A00000", "0000000", "AAA000", "A-00-00", "00-AA-000", "#00000", "000-000", "AA00A0")
        )
        return "".join(
            self.pick("ABCDEFGHJKLMNPQRSTUVWXYZ") if c == "A" else self.digits(1) if c == "0" else c for c in shape
        )

    # written forms

    def number(self) -> str:
        kind = self.uniform()
        if kind < 0.4:
            return f"{self.between(1, 99)}.{self.between(1, 9)}"
        if kind < 0.75:
            return str(self.between(1, 99))
        return (
            str(self.between(100, 999))
            if kind < 0.9
            else f"{self.between(1, 99)}.{self.between(1, 9)}{self.between(1, 9)}"
        )

    def money(self) -> Money:
        sign, code, word, word_zh = words.CURRENCIES[int(self.uniform() ** 1.6 * len(words.CURRENCIES))]
        number = self.number()
        if self.zh:
            return self._money_zh(number, sign, code, word_zh)
        scale = self.pick(
            (" million", " million", " billion", " billion", "bn", "m", " trillion", "k", "", " thousand", "mn")
        )
        number += scale
        kind = self.uniform()
        if sign and kind < 0.55:
            return Money(sign + number, number, code)
        if kind < 0.75:
            return Money(f"{code} {number}" if self.chance(0.7) else f"{number} {code}", number, code)
        return Money(f"{number} {word}", number, code)

    def _money_zh(self, number: str, sign: str, code: str, word: str) -> Money:
        whole = number.isdecimal()
        number += self.pick(
            ("亿", "亿", "亿", "亿", "万", "万", "万", "万亿", "", "余万" if whole else "万", "多亿" if whole else "亿")
        )
        kind = self.uniform()
        if code == "CNY" and kind < 0.2:
            return Money(f"人民币{number}元" if self.chance(0.6) else f"¥{number}", number, code)
        if sign and kind < 0.12:
            return Money(sign + number, number, code)
        return Money(f"{code} {number}" if kind > 0.95 else number + word, number, code)

    def percent(self) -> str:
        number = str(self.between(1, 99)) if self.chance(0.6) else f"{self.between(0, 40)}.{self.between(1, 9)}"
        if self.zh:
            return number + ("%" if self.chance(0.8) else "个百分点")
        return number + self.pick(("%", "%", "%", " percent"))

    def count(self) -> str:
        number = self.between(2, 99) if self.chance(0.4) else self.between(100, 9999)
        return f"{number:,}" if number > 999 and self.chance(0.5) else str(number)

    def date(self) -> str:
        month, day, year = self.between(1, 12), self.between(1, 28), self.between(1990, 2035)
        kind = self.uniform()
        if kind < 0.2:
            return f"{year}-{month:02d}-{day:02d}"
        if self.zh:
            return (
                f"{year}年{month}月{day}日"
                if kind < 0.4
                else f"{month}月{day}日"
                if kind < 0.85
                else self.pick(words.DAYS_ZH)
            )
        name = words.MONTHS[month - 1]
        forms = (
            f"{name} {day}",
            f"{day} {name}",
            f"{name} {day}, {year}",
            f"{day} {name} {year}",
            self.pick(words.DAYS),
        )
        return self.pick(forms)

    def clock(self) -> str:
        return f"{self.between(0, 23)}:{self.pick(('00', '05', '10', '15', '20', '30', '40', '45', '50'))}"
