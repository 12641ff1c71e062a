"""The task of the quickstart: a news headline in English or Chinese becomes one JSON object.

The base text knows neither these keys nor these sentences, and the companies are composed in a way of their own; the companies
of the two parts are disjoint down to the stem.
"""

import json
from random import Random
from typing import Literal
from zlib import crc32

from seektune.base.words import items

INSTRUCTION = (
    "Report company, event, amount, currency and direction of this headline.",
    "写出这条标题的 company、event、amount、currency、direction。",
)
# Stem and style of company names.
FIRST = items(
    "Ardo Belu Cori Dexa Evio Fyno Galu Heli Inva Jura Kelo Lumo Miro Nexo Ovi Pryo Quilo Rhea Sylo Tavi Ulmo Varo Wexo Xeno "
    "Yaro Zeph Axi Bryn Cyra Delo Emba Fara Giro Hexa Iso Koba Lyra Mago Nuva Orbi"
)
MIDDLE = ["", "", "", "", "ra", "li", "no", "me", "da", "su"]
LAST = items(
    "dyne tra lix gen via core mont quest pan tron vex lume phor zen dara kott wick ster nova plex mark sys bit fin dex cell "
    "lane rix mar zon"
)
STYLES = [
    "",
    "",
    "",
    " Corp",
    " PLC",
    " Partners",
    " Technologies",
    " International",
    " Systems",
    " Works",
    " Global",
    " Motive",
]
FIRST_ZH = "晟沃灵启云迅宁弘朗川岳澄腾格优博曜奥纵聚凌顶锐卓百极鸣安星蓝"
LAST_ZH = "图芯途拓域康禾尔迈普步舟桥森梯帆盾源客辉线脉塔拉米立维特能"
STYLES_ZH = ["", "", "", "通讯", "药业", "出行", "电气", "精密", "时代", "国际", "工业", "动力", "技术", "新材"]

# ISO code, sign, English word, Chinese word, how often
CURRENCIES = [
    ("USD", "$", "dollars", "美元", 4, 2),
    ("EUR", "€", "euros", "欧元", 2, 1),
    ("GBP", "£", "pounds", "英镑", 2, 1),
    ("JPY", "", "yen", "日元", 2, 1),
    ("CNY", "", "yuan", "元", 2, 5),
]
UP = ["shares jump", "stock rallies", "shares climb", "stock gains ground", "investors cheer as shares rise"]
DOWN = ["shares tumble", "stock sinks", "shares slide", "stock loses ground", "investors flee as shares fall"]
UP_ZH = ["股价大涨", "股价走高", "股票上涨", "股价应声上升", "盘后股价攀升"]
DOWN_ZH = ["股价大跌", "股价走低", "股票下跌", "股价应声下滑", "盘后股价回落"]
BETTER = ["leaps", "soars", "improves", "grows", "jumps", "climbs"]
WORSE = ["tumbles", "plunges", "weakens", "shrinks", "sinks", "slides"]
BETTER_ZH = ["大增", "猛增", "上升", "增长", "走高", "攀升"]
WORSE_ZH = ["大减", "锐减", "下滑", "缩水", "走低", "回落"]

# {c} company, {m} money, {v} the verb that gives the direction of earnings
EARNINGS = """{c} quarterly profit {v} to {m}
Net income at {c} {v}, reaching {m}
{c} earnings: annual profit {v} to {m}
Quarterly revenue of {c} {v} to {m}
Full-year profit {v} to {m} in earnings report of {c}
{c} posts results as profit {v} to {m}
Earnings season: {c} turnover {v} to {m}
Profit {v} to {m} in a busy quarter for {c}
{c} says half-year profit {v} to {m}
Operating profit {v} at {c}: {m} for the year
{m} in the books: revenue {v} at {c}
Third-quarter earnings at {c}: profit {v} to {m}"""
ACQUISITION = """{c} snaps up smaller rival in {m} deal
{c} to acquire a chip designer for {m}
Acquisition: {c} swallows its supplier for {m}
In a {m} takeover, {c} wins a toy maker
{c} completes {m} purchase of a rival airline
{c} strikes {m} deal to acquire a food chain
Takeover battle ends: {c} pays {m} for competitor
{m} acquisition makes {c} the market leader
Rival gives in to {m} takeover bid by {c}
{c} bids {m} to acquire an online bookshop
Regulator clears {m} takeover by {c}
{c} acquires a family brewery, paying {m}"""
FUNDING = """{c} secures {m} in fresh funding
Startup {c} raises {m} from early backers
Series B: {c} raises {m}
{c} lands {m} funding round to build robots
Venture funds hand {c} {m}
Funding round brings {c} {m}
{m} raised: {c} plans a bigger team
{c} closes seed round of {m}
Backers pour {m} into startup {c}
New funding: {m} for {c}
{c} attracts {m} from venture investors
Investors back {c} with {m} in series A"""
LAYOFFS = """{c} to slash workforce and save {m}
Layoffs at {c} will cost {m} in severance
{c} announces layoffs in {m} savings plan
Job cuts at {c} aim to save {m}
{c} sheds a tenth of its staff to save {m}
To save {m}, {c} starts mass layoffs
{c} sends thousands home, severance totals {m}
{m} savings drive: {c} plans job cuts
Workers protest as {c} layoffs save {m}
{c} sets aside {m} for severance after job cuts
Redundancies at {c} trim costs by {m}
{c} trims headcount, hoping to save {m}"""
LAWSUIT = """{c} hit with {m} lawsuit over patents
Jury orders {c} to hand over {m} in damages
Former staff file {m} lawsuit against {c}
{c} settles privacy lawsuit for {m}
Court fines {c} {m} for misleading ads
Judge throws out {m} claim against {c}
{c} faces trial over {m} in unpaid royalties
Class action seeks {m} from {c}
Lawsuit: customers demand {m} from {c}
{c} appeals against {m} court ruling
{m} in damages at stake as {c} trial opens
{c} loses patent trial and owes {m}"""
CONTRACT = """{c} wins {m} contract to build trains
Navy awards {c} a {m} contract
{c} signs {m} supply agreement with hospitals
{m} order for {c} from the rail operator
City picks {c} for {m} bridge contract
{c} bags {m} order for wind turbines
Contract worth {m} goes to {c}
{c} will supply batteries in {m} agreement
Ministry hands {c} {m} order for trucks
{c} clinches {m} airport contract
Ten-year contract brings {c} {m}
Supplier {c} signs {m} order with carmaker"""
EARNINGS_ZH = """{c}季度净利{v}至{m}
{c}财报：全年利润{v}至{m}
{c}发布财报，营收{v}至{m}
财报季：{c}净利润{v}，录得{m}
{c}上半年业绩出炉，利润{v}至{m}
三季报显示{c}营收{v}至{m}
全年业绩：{c}销售收入{v}至{m}
{c}年报披露，盈利{v}至{m}
利润{v}至{m}，{c}交出成绩单
录得{m}！{c}季度营收{v}
{c}业绩快报：净利{v}至{m}
一季度{c}盈利{v}至{m}"""
ACQUISITION_ZH = """{c}斥资{m}收购同行
{c}拟{m}收购一家芯片厂
收购落定：{c}耗资{m}拿下供应商
{m}并购案获批，{c}成行业老大
{c}完成对老牌食品厂的{m}收购
{c}出价{m}竞购玩具厂
监管放行{c}的{m}并购计划
以{m}全资收购，{c}再添一家酒厂
{c}豪掷{m}并购竞争对手
同行接受{c}{m}的收购要约
{c}宣布收购网上书店，作价{m}
并购大单：{c}动用{m}"""
FUNDING_ZH = """{c}完成{m}B轮融资
初创企业{c}融资{m}
{c}获{m}天使轮融资
多家基金向{c}注资{m}
融资{m}，{c}要造机器人
{c}宣布新一轮融资，规模{m}
A轮融资{m}，{c}扩充团队
风投看好{c}，注入{m}
{c}拿下{m}种子轮融资
获{m}融资，{c}加快研发
老股东跟投，{c}融资{m}
{m}融资到账，{c}准备出海"""
LAYOFFS_ZH = """{c}大规模裁员，预计节省{m}
{c}启动裁员，遣散费{m}
为节省{m}，{c}裁员一成
裁员风波：{c}要省下{m}
{c}精简人手，省下{m}
{c}裁员千人，补偿金共{m}
节流{m}，{c}公布裁员计划
{c}为裁员准备{m}补偿金
员工抗议{c}裁员，公司称可省{m}
{c}砍掉多个团队，裁员省{m}
遣散费达{m}，{c}裁员收尾
{c}再裁员，每年少花{m}"""
LAWSUIT_ZH = """{c}遭遇{m}专利诉讼
法院判{c}赔偿{m}
{c}败诉，须赔{m}
前员工起诉{c}，索赔{m}
{c}以{m}和解隐私诉讼
虚假广告案：{c}被罚{m}
法官驳回对{c}的{m}索赔
用户集体诉讼，向{c}索赔{m}
{c}不服{m}判决，提出上诉
涉案{m}，{c}出庭受审
版权官司开庭，{c}面临{m}索赔
{c}被诉侵权，涉案金额{m}"""
CONTRACT_ZH = """{c}中标{m}地铁项目
{c}签下{m}供货合同
医院与{c}签{m}设备合同
{c}拿到{m}风电订单
{m}大单花落{c}
{c}斩获{m}机场合同
铁路局向{c}下{m}订单
十年合同为{c}带来{m}
{c}中标大桥工程，合同额{m}
合同额{m}，{c}将供应电池
车企与{c}签署{m}订单
{c}接到{m}海外订单"""
EVENTS = {
    "earnings": (EARNINGS, EARNINGS_ZH),
    "acquisition": (ACQUISITION, ACQUISITION_ZH),
    "funding": (FUNDING, FUNDING_ZH),
    "layoffs": (LAYOFFS, LAYOFFS_ZH),
    "lawsuit": (LAWSUIT, LAWSUIT_ZH),
    "contract": (CONTRACT, CONTRACT_ZH),
}
TEMPLATES = {name: tuple(text.split("\n") for text in pair) for name, pair in EVENTS.items()}


def headlines(seed: int, count: int, part: Literal["train", "valid"]) -> list[dict]:
    """Alpaca-like records, the same for the same seed; about half of them Chinese."""
    return [_headline(Random(f"{seed} {part} {i}"), part == "valid") for i in range(count)]


def company(dice: Random, valid: bool, zh: bool) -> str:
    while True:
        stem = _stem(dice, zh)
        if (crc32(stem.encode()) % 5 == 0) == valid:
            return stem + dice.choice(STYLES_ZH if zh else STYLES)


def _stem(dice: Random, zh: bool) -> str:
    if zh:
        third = dice.choice(LAST_ZH) if dice.random() < 0.3 else ""
        return dice.choice(FIRST_ZH) + dice.choice(LAST_ZH) + third
    return dice.choice(FIRST) + dice.choice(MIDDLE) + dice.choice(LAST)


def money(dice: Random, zh: bool, small: bool = False) -> tuple[str, str, str]:
    """As it stands in the headline, the amount in it, and the ISO code."""
    code, sign, word, word_zh, *_ = dice.choices(CURRENCIES, [row[5] if zh else row[4] for row in CURRENCIES])[0]
    number = str(dice.randint(2, 980)) if dice.random() < 0.5 else f"{dice.randint(1, 98)}.{dice.randint(1, 9)}"
    if zh:
        amount = number + ("万" if small else dice.choice(("亿", "亿", "万")))
        return amount + word_zh, amount, code
    amount = number + dice.choice((" million", "m") if small else (" million", " billion", "m", "bn"))
    return (f"{sign}{amount}" if sign and dice.random() < 0.7 else f"{amount} {word}"), amount, code


def _headline(dice: Random, valid: bool) -> dict:
    zh = dice.random() < 0.5
    event = dice.choice(list(TEMPLATES))
    text, amount, code = money(dice, zh, small=event == "layoffs")
    name = company(dice, valid, zh)
    template = dice.choice(TEMPLATES[event][zh])
    direction, verb, tail = _direction(dice, event, zh)
    headline = template.format(c=name, m=text, v=verb) + tail
    answer = {"company": name, "event": event, "amount": amount, "currency": code, "direction": direction}
    return {"instruction": INSTRUCTION[zh], "input": headline, "output": json.dumps(answer, ensure_ascii=False)}


def _direction(dice: Random, event: str, zh: bool) -> tuple[str, str, str]:
    """The direction, and the words that say it: the verb of earnings, or what the shares do after other news."""
    if event == "earnings":
        up = dice.random() < 0.5
        return "up" if up else "down", dice.choice(((WORSE, BETTER), (WORSE_ZH, BETTER_ZH))[zh][up]), ""
    direction = dice.choice(("none", "none", "up", "down"))
    if direction == "none":
        return direction, "", ""
    words = {"up": (UP, UP_ZH), "down": (DOWN, DOWN_ZH)}[direction][zh]
    return direction, "", ("，" if zh else ", ") + dice.choice(words)
