"""`data look` on files whose oddities are known: each is told, with its line, and nothing else is."""

from __future__ import annotations

import json
import random
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from seektune import cli
from seektune.data.tokenizer_files import counter
from seektune.errors import DataError
from seektune.look import alike
from seektune.look.language import by_script, languages
from seektune.look.map import project
from seektune.look.page import write_page
from seektune.look.profile import distribution, look
from seektune.look.suspects import suspicions
from seektune.models.load import Model, folder_of

ENGLISH = "the bank said that the payment of {} dollars had failed and that the customer would be told in time"
CHINESE = "该公司公告称第{}季度营业收入同比增长,净利润创下历史新高,股价随之上涨"


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def plain(count: int) -> list[dict[str, Any]]:
    """Texts of two languages and two classes, no two alike."""
    draw = random.Random(3)
    words = [
        "alpha",
        "river",
        "stone",
        "cloud",
        "market",
        "window",
        "garden",
        "copper",
        "silent",
        "orange",
        "letter",
        "bridge",
    ]
    rows = []
    for i in range(count):
        english = f"{' '.join(draw.sample(words, 9))} {draw.random()} {i}"
        chinese = "".join(chr(draw.randrange(0x4E00, 0x9FA0)) for _ in range(40)) + str(i)
        rows.append({"text": english if i % 2 else chinese, "label": ("calm", "loud")[i % 3 == 0]})
    return rows


def lines(path: Path, *more: Path) -> list[str]:
    profile, _ = look([path, *more])
    return [line.replace(f"{path.parent}/", "") for line in profile["findings"]]


def test_nothing_is_said_of_a_clean_file(tmp_path: Path) -> None:
    profile, _ = look([write(tmp_path / "a.jsonl", plain(60))])
    assert profile["findings"] == []
    assert profile["records"] == 60
    assert profile["labels"]["counts"] == {"calm": 40, "loud": 20}
    assert profile["files"][0]["shape"] == "label"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("#### $$$$ %%%% ^^^^ &&&& ****", "mostly symbols"),
        ("The cafÃ© is open on all days of the week and it is cheap", "mojibake"),
        ("ä¸\xadæ\x96\x87 are two characters", "mojibake"),
        ("the cost is � 4 a month for each of the customers", "replacement characters"),
        ("a bell \x07 rings in the middle of this sentence of words", "control characters"),
        ("the first line<br/>and the second line of the page", "HTML"),
    ],
)
def test_a_suspicious_text_is_named_with_its_line(text: str, said: str, tmp_path: Path) -> None:
    rows = [*plain(20), {"text": text, "label": "calm"}, *plain(40)[20:]]
    found = [line for line in lines(write(tmp_path / "a.jsonl", rows)) if said in line]
    assert len(found) == 1
    assert found[0].startswith("a.jsonl:21")


@pytest.mark.parametrize(
    "text",
    [
        "Où est l'été ? Ça va très bien, « merci » à l'âge d'Ân.",
        "价格 < 5 元,毛利率 > 20%",
        "naïve façade: 5 € – ok…",
        "x < y && y > z",
    ],
)
def test_good_texts_are_not_suspected(text: str) -> None:
    assert list(suspicions({"text": text}, text)) == []


def test_an_answer_that_repeats_its_question(tmp_path: Path) -> None:
    rows = [
        {"instruction": f"what is {i} times {i * 3}, please", "input": "", "output": f"{i * i * 3} it is"}
        for i in range(30)
    ]
    rows[11]["output"] = rows[11]["instruction"]
    found = lines(write(tmp_path / "a.jsonl", rows))
    assert "a.jsonl:12: the answer repeats the question: 1 records" in found
    assert "a.jsonl:1: `input` is empty in 30 of 30 rows" in found


def test_lengths_are_those_that_numpy_finds() -> None:
    values = np.random.default_rng(1).lognormal(4, 1, 5000).astype(np.int64) + 1
    told = distribution(values)
    assert (told["least"], told["most"], told["total"]) == (values.min(), values.max(), values.sum())
    assert told["median"] == int(np.median(values))
    assert sum(told["counts"]) == 5000
    edges = told["edges"]
    assert told["counts"][7] == int(((values >= edges[7]) & (values < edges[8])).sum())


def test_tokens_are_counted_by_the_tokenizer(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    folder = folder_of(Model("base:tiny"))
    rows = plain(50)
    profile, _ = look([write(tmp_path / "a.jsonl", rows)], counter(folder))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    expected = [len(tokenizer.encode(row["text"], add_special_tokens=False).ids) for row in rows]
    assert profile["lengths"]["tokens"]["total"] == sum(expected)
    assert profile["lengths"]["tokens"]["most"] == max(expected)


def test_very_long_and_very_short_records(tmp_path: Path) -> None:
    rows = plain(60)
    rows[30]["text"] = "long " * 5000
    rows[40]["text"] = "ok"
    found = lines(write(tmp_path / "a.jsonl", rows))
    assert any(line.startswith("a.jsonl:31 (25,000): very long") for line in found)
    assert any(line.startswith("a.jsonl:41 (2): very short") for line in found)


def test_copies_within_and_across_files_and_labels_that_contradict(tmp_path: Path) -> None:
    rows = plain(40)
    train = write(
        tmp_path / "train.jsonl",
        [
            *rows,
            rows[3],
            rows[3],
            {"text": rows[5]["text"].upper(), "label": "calm" if rows[5]["label"] == "loud" else "loud"},
        ],
    )
    test = write(tmp_path / "test.jsonl", [*plain(90)[60:], rows[7]])
    profile, _ = look([train, test])
    told = profile["duplicates"]
    assert (told["exact"]["clusters"], told["exact"]["spare"]) == (2, 3)
    assert told["exact"]["first"][0]["places"] == [f"{train}:4", f"{train}:41", f"{train}:42"]
    assert told["in several files"]["first"][0]["places"] == [f"{train}:8", f"{test}:31"]
    assert told["of several labels"]["clusters"] == 1
    assert set(told["of several labels"]["first"][0]["labels"]) == {"calm", "loud"}


def jaccard(a: str, b: str) -> float:
    one, two = ({text[i : i + 5] for i in range(len(text) - 4)} for text in (a, b))
    return len(one & two) / len(one | two)


def test_signatures_estimate_the_share_of_common_shingles() -> None:
    """Mean error against the shares computed from the sets themselves: sqrt(J (1 - J) / 64) is at most 0.0625."""
    draw = random.Random(5)
    letters = "abcdefghij公司银行市场价格"
    base = "".join(draw.choice(letters) for _ in range(300))
    texts = [base] + [
        "".join(draw.choice(letters) if draw.random() < p else c for c in base) for p in (0.01, 0.03, 0.06, 0.1, 0.2)
    ] * 6
    signed = alike.signatures(texts)
    errors = [(signed[0] == signed[i]).mean() - jaccard(texts[0], texts[i]) for i in range(1, len(texts))]
    assert abs(np.mean(errors)) < 0.05
    assert np.abs(errors).max() < 0.25


@pytest.mark.parametrize("sentence", [ENGLISH * 3, CHINESE * 4])
def test_near_copies_are_found_and_others_not(sentence: str) -> None:
    texts = [row["text"] * 2 for row in plain(30)]
    near = [sentence.replace("{}", "4"), sentence.replace("{}", "4") + "!"]
    assert alike.near_clusters([*texts[:10], near[0], *texts[10:], near[1]]) == [[10, 31]]
    assert alike.near_clusters(texts) == []


def test_groups_are_those_of_a_dictionary() -> None:
    hashes = np.random.default_rng(2).integers(0, 40, 200).astype(np.uint64)
    by: dict[int, list[int]] = {}
    for i, value in enumerate(hashes):
        by.setdefault(int(value), []).append(i)
    expected = sorted((rows for rows in by.values() if len(rows) > 1), key=lambda rows: (-len(rows), rows[0]))
    assert [rows.tolist() for rows in alike.groups(hashes)] == expected
    assert alike.groups(np.array([], np.uint64)) == []


def test_a_frame_that_many_texts_share(tmp_path: Path) -> None:
    rows = [row | {"text": row["text"] + "\n本文仅供参考,不构成任何投资建议,投资者应自行承担风险"} for row in plain(30)]
    assert any(
        "30 sampled texts share the line '本文仅供参考" in line for line in lines(write(tmp_path / "a.jsonl", rows))
    )


def test_labels_that_are_numbers_here_and_text_there(tmp_path: Path) -> None:
    a = write(tmp_path / "a.jsonl", plain(30))
    b = write(tmp_path / "b.jsonl", [row | {"label": int(row["label"] == "loud")} for row in plain(70)[30:]])
    found = [line for line in lines(a, b) if "labels are" in line]
    assert len(found) == 1
    assert "labels are text in" in found[0] and "a number in" in found[0]


def test_a_class_with_one_record(tmp_path: Path) -> None:
    rows = plain(30)
    rows[4]["label"] = "rare"
    assert any("1 classes with one record ('rare')" in line for line in lines(write(tmp_path / "a.jsonl", rows)))


def test_an_object_where_text_belongs_and_broken_json(tmp_path: Path) -> None:
    rows = [
        {"instruction": f"say {i} in words, and say it twice", "output": f"the number {i} the number"}
        for i in range(20)
    ]
    rows[6]["output"] = {"answer": "six"}  # type: ignore[assignment]
    path = write(tmp_path / "a.jsonl", rows)
    path.write_text(path.read_text() + '{"instruction": "half', encoding="utf-8")
    found = lines(path)
    assert any(line.startswith("a.jsonl:7: `output` is an object") for line in found)
    assert any(line.startswith("a.jsonl:21: broken JSON") for line in found)


def test_a_file_of_another_shape_is_looked_at_as_it_stands(tmp_path: Path) -> None:
    rows = [{"en": row["text"], "sw": row["text"][::-1], "n": i} for i, row in enumerate(plain(30))]
    profile, _ = look([write(tmp_path / "a.jsonl", rows)])
    assert profile["files"][0]["shape"] == "raw"
    assert profile["lengths"]["characters"]["least"] == min(len(row["en"]) * 2 + 1 for row in rows)


def test_languages_of_both_kinds() -> None:
    assert [
        by_script(t) for t in ("今天天气很好", "これはペンです", "안녕하세요 여러분", "ok", "the weather is fine today")
    ] == ["zh", "ja", "ko", "", None]
    told = languages(
        ["The weather is fine today and we go out", "今天天气很好我们出去走走"] * 10
        + ["Habari ya asubuhi, jina langu ni Juma na ninaishi hapa"]
    )
    assert told["counts"] == {"zh": 10, "en": 10, "sw": 1}


def test_neighbours_on_the_map_are_of_one_topic() -> None:
    """Two vocabularies in two languages: nearly all nearest neighbours on the plane are of the same one."""
    draw = random.Random(1)
    pools = [["loan", "bank", "rate", "credit", "money", "fund"], ["goal", "match", "team", "coach", "league", "ball"]]
    texts = [" ".join(draw.choices(pools[i % 2], k=8)) + " of the" for i in range(200)]
    points = project(texts)
    assert points is not None and points.shape == (200, 2) and points.min() >= 0 and points.max() <= 1
    near = NearestNeighbors(n_neighbors=2).fit(points).kneighbors(points, return_distance=False)[:, 1]
    assert (near % 2 == np.arange(200) % 2).mean() > 0.95
    assert project(["a", "b", "c"]) is None


class Tags(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] == ["script"]:
            self.scripts.append(data)


def test_the_page_escapes_what_users_wrote_and_asks_nothing_of_the_network(tmp_path: Path) -> None:
    rows = plain(60)
    for row in rows[:20]:
        row["text"] = '<script>alert("x")</script>" onload="alert(1) ' + row["text"]
        row["label"] = "<b>bad</b>"
    path = write(tmp_path / "<i>.jsonl", [*rows, *rows[:3]])
    write_page(*look([path], counter(folder_of(Model("base:tiny")))), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    found = Tags(text)
    assert found.tags.count("script") == 2
    assert {"b", "i"} & set(found.tags) and not any("alert" in script for script in found.scripts)
    assert "<b>bad" not in text and "<i>.jsonl" not in text
    assert "http" not in text.replace("http-equiv", "")
    assert found.tags.count("circle") == 63
    assert all(heading in text for heading in ("Lengths", "Classes", "Languages", "Copies", "Map", "Fields"))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "a.jsonl", [*plain(30), plain(1)[0]])
    assert cli.main(["data", "look", str(path), "--json", "--html", str(tmp_path / "p.html")]) == 0
    assert json.loads(capsys.readouterr().out)["records"] == 31
    assert (tmp_path / "p.html").is_file()
    assert cli.main(["data", "look", str(path)]) == 0
    said = capsys.readouterr().out
    assert "What to look at" in said and f"{path}:1: 1 records are exact copies of others" in said
    assert cli.main(["data", "look", str(tmp_path / "b.jsonl")]) == 2
    assert "did you mean 'a.jsonl'?" in capsys.readouterr().err
    assert cli.main(["data", "look", str(path), "--tokenizer", str(tmp_path)]) == 2


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no tokenizer\.json here; expected the folder of a tokenizer"):
        counter(tmp_path)


def test_real_records(shared_data: Path) -> None:
    """What the folder's own README tells of these sets."""
    profile, _ = look([shared_data / "cls_chnsenticorp"])
    assert profile["records"] == 4700
    assert 131 <= profile["duplicates"]["in several files"]["clusters"] <= 140  # 131 letter by letter
    assert profile["languages"]["counts"] == {"zh": 500}
    profile, _ = look([shared_data / "instruct_en_alpaca"])
    assert profile["duplicates"]["exact"]["spare"] == 14


def test_a_file_without_a_record(tmp_path: Path) -> None:
    profile, looked = look([write(tmp_path / "a.jsonl", [{"text": 5}, {"text": ["a"]}])])
    assert (profile["records"], profile["files"][0]["rows"]) == (0, 2)
    assert [one["what"] for one in profile["unfit"]] == ["`text` is a number", "`text` is a list"]
    write_page(profile, looked, tmp_path / "page.html")
    assert "What to look at" in (tmp_path / "page.html").read_text()
