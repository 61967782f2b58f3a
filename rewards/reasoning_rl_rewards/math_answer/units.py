"""Units, currencies and counters: which words and signs are one, which are the same, how they convert."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

_F = Fraction
#: Name -> (dimension, factor to the first unit of that dimension).
_TABLE: dict[str, tuple[str, Fraction]] = {}


def _define(dimension: str, **units: tuple[str, object]) -> None:
    for names, factor in units.values():
        for name in names.split():
            _TABLE[name] = (dimension, Fraction(str(factor)))


_define("length", a=("m meter metre 米", 1), b=("cm centimeter centimetre 厘米", "1/100"),
        c=("mm millimeter millimetre 毫米", "1/1000"), d=("km kilometer kilometre 千米 公里", 1000),
        e=("dm decimeter decimetre 分米", "1/10"), f=("in inch inche", "127/5000"), g=("ft foot feet", "381/1250"),
        h=("yd yard", "1143/1250"), i=("mi mile", "201168/125"), j=("nm nanometer nanometre", "1/1000000000"))  # fmt: skip
_define("time", a=("s sec second 秒", 1), b=("min minute 分钟 分", 60), c=("h hr hour 小时", 3600),
        d=("day 天 日", 86400), e=("week 周", 604800), f=("ms millisecond", "1/1000"))  # fmt: skip
_define("month", a=("month 月", 1), b=("year yr 年", 12))
_define("mass", a=("g gram gramme 克", 1), b=("kg kilogram kilo 千克 公斤", 1000), c=("mg milligram 毫克", "1/1000"),
        d=("t ton tonne 吨", 1000000), e=("lb lbs pound-mass", "45359237/100000"))  # fmt: skip
_define("volume", a=("l liter litre 升", 1), b=("ml milliliter millilitre 毫升", "1/1000"))
_define("dollar", a=("\\$ dollar usd buck", 1), b=("cent ¢ \\cent", "1/100"))
_define("pound", a=("\\pounds gbp pound", 1))
_define("euro", a=("\\euro euro eur", 1))
_define("yuan", a=("yuan 元 rmb cny", 1))
_define("yen", a=("\\yen yen jpy", 1))
_define("rupee", a=("\\rupee rupee rs inr", 1))
_define("degree", a=("\\circ degree deg °", 1))
_define("radian", a=("rad radian", 1))
_define("°C", a=("°c celsius", 1))
_define("°F", a=("°f fahrenheit", 1))
_define("energy", a=("j joule", 1), b=("kj kilojoule", 1000), c=("ev", "801088317/5000000000000000000000000000"))
_define("power", a=("w watt", 1), b=("kw kilowatt", 1000))
_define("force", a=("n newton", 1))
_define("frequency", a=("hz hertz", 1))
_define("voltage", a=("v volt", 1))
_define("amount", a=("mol mole", 1))
_define("temperature", a=("k kelvin", 1))
_define("", a=("unit 单位", 1))
_SINGLE = frozenset(["m", "g", "s", "h", "l", "t", "w", "j", "n", "v", "k"])
#: Units of one or two letters that are read as such even when they are written like variables.
_PLAIN = frozenset([
    "cm", "mm", "km", "dm", "nm", "kg", "mg", "ml", "ft", "yd", "mi", "in", "min", "hr", "lb", "lbs", "mph",
    "hz", "kw", "kj", "rad", "deg", "usd", "sec", "mol", "rs", "day"
])  # fmt: skip
#: Words after a number that are no unit: they change what is said.
_FORBIDDEN = frozenset([
    "not", "no", "never", "isn", "wrong", "incorrect", "false", "is", "are", "was", "or", "nor", "except",
    "but", "without", "maybe", "perhaps", "approximately", "about", "if", "unless", "than", "least", "most",
    "only", "however", "mod", "modulo", "above", "below", "up"
])  # fmt: skip
#: Words of a number that stand where a unit does: 5 million dollars.
_SCALES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_POWERS = {"square": 2, "sq": 2, "squared": 2, "cubic": 3, "cubed": 3, "平方": 2, "立方": 3}
_FILLERS = frozenset(["of", "the", "a", "an", "per"])
_PLURAL_KEPT = frozenset(("s", "ms", "celsius", "lbs", "rs"))


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as powers of dimensions, and its factor to the base units; `is_known` when all of it is in the table.

    `scale` is that of words such as million, which belong to the number and not to what is counted.

    Counters that are not (apples, people) say what is counted, not how much: they are not compared.
    """

    dimensions: Mapping[str, int]
    factor: Fraction
    is_known: bool = True
    scale: Fraction = Fraction(1)

    @property
    def is_angle_in_degrees(self) -> bool:
        return dict(self.dimensions) == {"degree": 1}


def is_unit_letters(letters: str, spaced: bool) -> bool:
    """Whether one to three letters behind a number are a unit and not variables."""
    low = letters.lower()
    return low in _PLAIN or (spaced and low in _SINGLE and letters not in ("n", "k", "v", "j"))


def is_unit_word(word: str) -> bool:
    """Whether a word is in the table."""
    return _stem(word.lower()) in _TABLE


def read_unit(text: str) -> Unit | None:
    """The unit that a text such as `cm ^ 2`, `km / h` or `square apples` names; `None` when it says something else."""
    text = text.replace("\\text", " ").replace("{", " ").replace("}", " ").replace("*", " ").replace("(", " ")
    text = text.replace(")", " ").replace("°", " \\circ ").replace("- ", "-")
    text = re.sub(r"\bper\b", " / ", text)
    text = re.sub(r"\bmph\b", "mile / hour", re.sub(r"\bkm?ph\b|\bkmh\b", "km / hour", text))
    text = text.replace("平方", " square ").replace("立方", " cubic ")
    words = re.findall(r"\\\$|\\[a-z]+|\^|/|-?\d+|[^\W\d_]+", text)
    if not words or len(words) > 8:
        return None
    dimensions: dict[str, int] = {}
    factor, scale, is_known = Fraction(1), Fraction(1), True
    sign, power_before, last = 1, 1, None
    index = 0
    while index < len(words):
        word = words[index]
        low = word.lower()
        index += 1
        if low in _FORBIDDEN:
            return None
        if low in _FILLERS:
            continue
        if size := _SCALES.get(_stem(low)):
            scale *= size
        elif word == "/":
            sign = -1
        elif word == "^":
            if last is None or index >= len(words) or not re.fullmatch(r"-?[1-9]", words[index]):
                return None
            extra = int(words[index]) - 1
            index += 1
            dimensions[last[0]] = dimensions.get(last[0], 0) + last[2] * extra
            factor *= Fraction(last[1]) ** (last[2] * extra)
        elif low in ("squared", "cubed") and last is not None:
            extra = _POWERS[low] - 1
            dimensions[last[0]] = dimensions.get(last[0], 0) + last[2] * extra
            factor *= last[1] ** (last[2] * extra)
        elif low in _POWERS:
            power_before = _POWERS[low]
        elif re.fullmatch(r"-?\d+", word):
            return None
        else:
            if low in ("c", "f") and last and last[0] == "degree":
                return Unit({"°" + low.upper(): 1}, Fraction(1))
            is_known = is_known and _stem(low) in _TABLE
            dimension, size = _TABLE.get(_stem(low), (_stem(low), Fraction(1)))
            if dimension:
                dimensions[dimension] = dimensions.get(dimension, 0) + sign * power_before
                factor *= size ** (sign * power_before)
            last = (dimension, size, sign)
            power_before = 1
    return Unit({name: power for name, power in dimensions.items() if power and name}, factor, is_known, scale)


def _stem(word: str) -> str:
    if len(word) > 2 and word.endswith("s") and word not in _PLURAL_KEPT and not word.endswith("ss"):
        word = word[:-1]
    return word
