"""Characters of other scripts, layout and LaTeX spacing to plain LaTeX, by table. Knows no mathematics.

Linear in the length of the text. Raises on characters that have no place in an answer.
"""

from __future__ import annotations

import re
import unicodedata

from reasoning_rl_rewards.math_answer.errors import UnreadableError

#: Control characters and those that turn the direction of writing: what a reader sees is not what stands there.
_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad\ufe0e\ufe0f"))
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ", "0123456789+-=()ni")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎", "0123456789+-=()")
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ]+")
_LOWERED = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎]+")
_ROOT = re.compile(r"(?:√|∛|∜)\s*(\d+(?:\.\d+)?|[A-Za-zπ]|\{[^{}]*\}|\([^()]*\))?")
_ROOT_INDEX = {"√": "", "∛": "[3]", "∜": "[4]"}
#: Mathematical letters and digits: bold, italic, script.
_STYLED_LETTER = re.compile("[\U0001d400-\U0001d7ff]+")
_SPACES = dict.fromkeys(
    map(ord, "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u00a0"), r"\,"
)
_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ζ": "zeta", "η": "eta", "θ": "theta",
    "λ": "lambda", "μ": "mu", "µ": "mu", "ν": "nu", "ξ": "xi", "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau",
    "φ": "phi", "ϕ": "phi", "χ": "chi", "ψ": "psi", "ω": "omega", "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta",
    "Λ": "Lambda", "Π": "Pi", "Σ": "Sigma", "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega",
}  # fmt: skip
_COMMANDS = {
    "∞": "infty", "≤": "le", "⩽": "le", "≦": "le", "≥": "ge", "⩾": "ge", "≧": "ge", "≠": "ne", "×": "times",
    "·": "cdot", "⋅": "cdot", "∙": "cdot", "•": "cdot", "∗": "cdot", "÷": "div", "±": "pm", "∓": "mp", "∪": "cup",
    "∩": "cap", "∈": "in", "∅": "emptyset", "⌀": "emptyset", "Ø": "emptyset", "≈": "approx", "≃": "approx",
    "≅": "approx", "≡": "equiv", "→": "to", "⇒": "Rightarrow", "⟹": "Rightarrow", "∠": "angle", "⌊": "lfloor",
    "⌋": "rfloor", "⌈": "lceil", "⌉": "rceil", "∖": "setminus", "ℝ": "mathbb{R}", "ℤ": "mathbb{Z}",
    "ℕ": "mathbb{N}", "ℚ": "mathbb{Q}", "ℂ": "mathbb{C}", "⟨": "langle", "⟩": "rangle", "〈": "langle", "〉": "rangle",
    "∑": "sum", "∫": "int", "∏": "prod", "∧": "land", "∨": "lor", "¬": "neg", "△": "triangle", "∆": "Delta",
    "⊥": "perp", "∥": "parallel", "£": "pounds", "…": "ldots", "⋯": "ldots", "∘": "circ", "ℓ": "ell",
}  # fmt: skip
_PLAIN = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "‒": "-", "﹣": "-", "∶": ":", "：": ":", "，": ",",
    "、": ",", "；": ";", "。": ".", "“": '"', "”": '"', "‘": "'", "’": "'", "′": "'", "°": r"^{\circ}",
    "º": r"^{\circ}", "℃": r"^{\circ}\text{C}", "℉": r"^{\circ}\text{F}", "∕": "/", "⁄": "/", "％": r"\%",
    "€": r"\euro ", "¥": r"\yen ", "￥": r"\yen ", "₹": r"\rupee ", "¢": r"\cent ", "＄": r"\$", "\u2028": "\n", "‰": r"\permil ", "或": r"\text{ or }", "和": r"\text{ and }", "且": r"\text{ and }",
}  # fmt: skip
_TABLE = str.maketrans(
    {**{k: f"\\{v} " for k, v in {**_GREEK, **_COMMANDS}.items()}, **_PLAIN} | {chr(k): v for k, v in _SPACES.items()}
)
_VULGAR = re.compile("(\\d)?([¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞])")
#: LaTeX spaces between digits that set off groups of three: 1\,000, 1~000, 1{,}000, 12,\!000.
_GROUP = re.compile(r"(?<=\d)(?:\s*\{\s*,\s*\}\s*|,?\\!\s*,?(?:\\!)?|\\[,:; ]\s*|~| )(?=\d{3}(?!\d))")
_BLANKS = re.compile(r" {2,}")
_SINGLE = re.compile(r"\{\s*([:=])\s*\}")
_UNIT_FRACTION = re.compile(
    r"\\[dt]?frac\s*\{\s*\\(?:text|mathrm)\s*\{([A-Za-z ]+)\}\s*\}\s*\{\s*\\(?:text|mathrm)\s*\{([A-Za-z ]+)\}\s*\}"
)
_ORDINAL = re.compile(
    r"(?<=\d)(?:\^?\\(?:text|mathrm|textsuperscript)\s*\{\s*(?:st|nd|rd|th)\s*\}|\^\s*\{\s*(?:st|nd|rd|th)\s*\}"
    r"|\^\s*\{\s*\\(?:text|mathrm)\s*\{\s*(?:st|nd|rd|th)\s*\}\s*\}|(?:st|nd|rd|th)(?![A-Za-z]))"
)
#: What an exact value is about: "(approximately 4.148)" after it.
_APPROXIMATELY = re.compile(
    r"(?:\\q?quad|\\[,;: ]|\s)*(?:\\(?:text|mbox)\s*\{\s*)?[(\[]\s*(?:\\(?:text|mbox)\s*\{\s*)?"
    r"(?:approx\.?|approximately|about|roughly|or about|\\approx|\\simeq)(?![a-z])[^()\[\]]*[)\]]\s*\}?\s*\.?$"
)
#: The brace before a system of equations, closed by an invisible one.
_SYSTEM = re.compile(r"\\left\s*\\\{(?=\s*\\begin)|\\right\s*\.")
#: Combinations and permutations with the first number before the letter: {}_5C_2, {}^5P_2.
_CHOSEN = re.compile(
    r"(?:\{\s*\}|^)\s*[_^]\s*\{?\s*(\w{1,4})\s*\}?\s*(?:\\(?:mathrm|text|rm)\s*\{\s*)?([CP])\s*\}?\s*_\s*\{?\s*(\w{1,4})\s*\}?"
)
#: A letter and digits without a sign between: `x1`, `a12`. Behind a numeral or a letter it may be a product.
_PLAIN_INDEX = re.compile(r"(?<![\\\w.}])(?<!frac )(?<!binom )([A-Za-z])(\d{1,2})(?![\w.{^])")
#: `5 p.m.` as a time like `5:00 p.m.`.
_HOUR = re.compile(
    r"(?<![\d:.,])(\d{1,2})(?=(?:\s|~|\\[,;: ])*(?:\\(?:text|mathrm|textrm)\s*\{\s*(?:[aApP]\.?\s?[mM]\b)|[aApP]\.\s?[mM]\.))"
)
#: "Hence" before the answer.
_HENCE = re.compile(
    r"(?:\s|\\[,;: ]|\\q?quad)*(?:\\(?:therefore|Rightarrow|rightarrow|Longrightarrow|implies|to)(?![A-Za-z])|=>?)\s*(?=\S)"
)
#: Marks of emphasis or quotation around the whole answer.
_QUOTED = re.compile(r"(\*\*|\*|`|\"|')([^*`\"']+)\1")
_EXCEPT = re.compile(
    r"(?:\\text\s*\{)?\s*all (?:the )?real (?:numbers|values)(?: (?:of )?\$?[a-z]\$?)? (?:except|other than|excluding)(?: for)?\s*\}?\s*(?:[a-z]\s*=)?"
)
_ENDLESS = re.compile(r"(\d{0,20}\.\d{0,6}?)(\d{1,6}?)\2{1,20}(?:\\[lc]?dots|\.\.\.)")
_GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?:(?:\s*\{\s*,\s*\}\s*|\s*,?\\!\s*,?(?:\\!)?|\\[,:; ]\s*|~| )\d{3})+(?!\d)")


def normalise(text: str) -> str:
    """The text in ASCII LaTeX wherever there is a way to say it; other letters (CJK, …) stay.

    Raises:
        UnreadableError: it holds control characters or turns the direction of writing.
    """
    if _FORBIDDEN.search(text):
        raise UnreadableError("control characters")
    if not text.isascii():
        text = _ascii(text)
    if "  " in text:
        text = _BLANKS.sub(" ", text)
    if "{" in text:
        text = _SINGLE.sub(r"\1", text)
        text = _UNIT_FRACTION.sub(r"\\text{\1/\2}", text)
        text = _SYSTEM.sub("", text)
    if "C" in text or "P" in text:
        text = _CHOSEN.sub(r"\2(\1,\3)", text)
    if "pprox" in text or "about" in text or "rough" in text:
        text = _APPROXIMATELY.sub("", text)
    if "st" in text or "nd" in text or "rd" in text or "th" in text:
        text = _ORDINAL.sub("", text)
    if "m" in text or "M" in text:
        text = _HOUR.sub(r"\1:00", text)
    text = _PLAIN_INDEX.sub(r"\1_{\2}", text)
    if text.endswith("\\") and not text.endswith("\\\\"):
        text = text[:-1]  # a blank with a backslash, cut off at the end
    if quoted := _QUOTED.fullmatch(text):
        text = quoted[2].strip()
    if "real" in text and (whole := _EXCEPT.match(text)):
        text = f"\\mathbb{{R}} \\setminus \\{{{text[whole.end() :].rstrip(' .}')}\\}}"
    if hence := _HENCE.match(text):
        text = text[hence.end() :]
    if "." in text:
        text = _ENDLESS.sub(_cycle, text)
    if "\\" in text or "~" in text or " " in text or "{" in text:
        text = _GROUPED.sub(lambda match: _GROUP.sub("", match[0]), text)
    return text.strip()


def _cycle(match: re.Match[str]) -> str:
    """`0.333…` as a repeating decimal, when what repeats is seen three times or has two digits."""
    times = (match.end(2) - match.start(2)) and len(match[0].rstrip(".ldotsc\\")) - match.start(2) + match.start()
    if times < 3:
        return match[0]
    return f"{match[1]}\\overline{{{match[2]}}}"


def _ascii(text: str) -> str:
    text = _STYLED_LETTER.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text.translate(_INVISIBLE))
    text = _VULGAR.sub(_vulgar, text)
    text = _RAISED.sub(lambda match: "^{" + match[0].translate(_SUPERSCRIPTS) + "}", text)
    text = _LOWERED.sub(lambda match: "_{" + match[0].translate(_SUBSCRIPTS) + "}", text)
    text = _ROOT.sub(_root, text)
    text = text.translate(_TABLE)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
        text = "".join(_digit(character) for character in text)
    return text


def _digit(character: str) -> str:
    if character.isascii() or not character.isdecimal():
        return character
    return str(unicodedata.decimal(character))


def _vulgar(match: re.Match[str]) -> str:
    top, _, bottom = unicodedata.normalize("NFKC", match[2]).partition("⁄")
    return f"{match[1] or ''}\\frac{{{top}}}{{{bottom}}}"


def _root(match: re.Match[str]) -> str:
    inside = match[1] or ""
    if inside[:1] in "({":
        inside = inside[1:-1]
    return f"\\sqrt{_ROOT_INDEX[match[0][0]]}" + (f"{{{inside}}}" if inside else "")
