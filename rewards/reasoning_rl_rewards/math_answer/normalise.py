"""Characters of other scripts, layout and LaTeX spacing to plain LaTeX, by table. Knows no mathematics.

Linear in the length of the text. Raises on characters that have no place in an answer.
"""

from __future__ import annotations

import re
import unicodedata

from reasoning_rl_rewards.math_answer.errors import Unreadable

#: Control characters and those that turn the direction of writing: what a reader sees is not what stands there.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad\ufe0e\ufe0f"))
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ", "0123456789+-=()ni")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎", "0123456789+-=()")
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ]+")
_LOWERED = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎]+")
_ROOT = re.compile(r"(?:√|∛|∜)\s*(\d+(?:\.\d+)?|[A-Za-zπ]|\{[^{}]*\}|\([^()]*\))?")
_ROOT_INDEX = {"√": "", "∛": "[3]", "∜": "[4]"}
_SPACES = dict.fromkeys(map(ord, "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u00a0"), r"\,")
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
    "€": r"\euro ", "¥": r"\yen ", "￥": r"\yen ", "₹": r"\rupee ", "¢": r"\cent ", "＄": r"\$", "\u2028": "\n", "‰": r"\permil ",
}  # fmt: skip
_TABLE = str.maketrans(
    {**{k: f"\\{v} " for k, v in {**_GREEK, **_COMMANDS}.items()}, **_PLAIN} | {chr(k): v for k, v in _SPACES.items()}
)
_VULGAR = re.compile("(\\d)?([¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞])")
#: LaTeX spaces between digits that set off groups of three: 1\,000, 1~000, 1{,}000, 12,\!000.
_GROUP = re.compile(r"(?<=\d)(?:\s*\{\s*,\s*\}\s*|,?\\!\s*,?(?:\\!)?|\\[,:; ]\s*|~| )(?=\d{3}(?!\d))")
_GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?:(?:\s*\{\s*,\s*\}\s*|\s*,?\\!\s*,?(?:\\!)?|\\[,:; ]\s*|~| )\d{3})+(?!\d)")


def normalise(text: str) -> str:
    """The text in ASCII LaTeX wherever there is a way to say it; other letters (CJK, …) stay.

    Raises:
        Unreadable: it holds control characters or turns the direction of writing.
    """
    if _FORBIDDEN.search(text):
        raise Unreadable("control characters")
    if not text.isascii():
        text = _ascii(text)
    if "\\" in text or "~" in text or " " in text or "{" in text:
        text = _GROUPED.sub(lambda match: _GROUP.sub("", match[0]), text)
    return text.strip()


def _ascii(text: str) -> str:
    text = text.translate(_INVISIBLE)
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
