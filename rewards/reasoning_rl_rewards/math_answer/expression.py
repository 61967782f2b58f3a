"""Tokens of one expression to a tree: numbers, letters, operators, functions. A Pratt parser, linear.

Lists, intervals, relations and units are not its business.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from reasoning_rl_rewards.math_answer.commands import FUNCTIONS
from reasoning_rl_rewards.math_answer.errors import UnreadableError
from reasoning_rl_rewards.math_answer.tokens import Token
from reasoning_rl_rewards.math_answer.tree import Node, symbols

#: Functions of one argument that is read without brackets: \sin 2x, \ln x.
_PREFIX = FUNCTIONS - {"gcd", "lcm", "max", "min", "mod", "abs", "floor", "ceil", "sqrt", "cbrt", "Gamma"}
_MANY = frozenset({"gcd", "lcm", "max", "min"})
_CLOSING = {"(": ")", "[": "]", "\\{": "\\}", "{": "}", "\\lfloor": "\\rfloor", "\\lceil": "\\rceil", "<|": "|>"}
_INVERSE = {"sin": "arcsin", "cos": "arccos", "tan": "arctan", "cot": "arccot", "sec": "arcsec", "csc": "arccsc",
            "sinh": "arcsinh", "cosh": "arccosh", "tanh": "arctanh"}  # fmt: skip
_SUM, _PRODUCT, _UNARY = 10, 20, 30
_ONE_HUNDREDTH = ("n", Fraction(1, 100))
_DEGREE = ("/", ("s", "\\pi"), ("n", Fraction(180)))


def parse_expression(tokens: Sequence[Token]) -> Node:
    """The tree of all tokens.

    Raises:
        UnreadableError: they are no single expression.
    """
    parser = _Parser(tokens)
    node = parser.whole()
    if parser.at < len(parser.tokens):
        raise UnreadableError(f"unexpected {parser.peek()!r}")
    return node


class _Parser:
    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = [part for token in tokens for part in _letters(token)]
        self.at = 0
        self.in_bars = 0

    def peek(self, ahead: int = 0) -> str:
        position = self.at + ahead
        return self.tokens[position].text if position < len(self.tokens) else ""

    def take(self, text: str = "") -> Token:
        if self.at >= len(self.tokens) or (text and self.tokens[self.at].text != text):
            raise UnreadableError(f"expected {text or 'more'}, found {self.peek()!r}")
        self.at += 1
        return self.tokens[self.at - 1]

    def whole(self) -> Node:
        """An expression, or two of them with \\choose or \\over between."""
        node = self.expression(0)
        if self.peek() not in ("\\choose", "\\over"):
            return node
        over = self.take().text == "\\over"
        return ("/", node, self.expression(0)) if over else ("f", "binom", node, self.expression(0))

    def expression(self, level: int) -> Node:
        left = self.prefix()
        while self.at < len(self.tokens):
            operator = self.peek()
            if operator in ("+", "-", "\\pm", "\\mp") and level < _SUM:
                self.at += 1
                left = ({"\\pm": "pm", "\\mp": "mp"}.get(operator, operator), left, self.expression(_SUM))
            elif operator in ("*", "/") and level < _PRODUCT:
                self.at += 1
                left = (operator, left, self.divisor(left) if operator == "/" else self.expression(_PRODUCT))
            elif operator == "\\mod" and level < _PRODUCT:
                self.at += 1
                left = ("f", "mod", left, self.expression(_PRODUCT))
            elif operator == "\\cup" or not self.starts_factor() or level >= _UNARY:
                return left
            else:
                left = self.times(left)
        return left

    def divisor(self, left: Node) -> Node:
        """What is divided by: `a/2b` is a/(2b), but after a constant the numeral alone: `1/2 n`, `\\sqrt{3}/2 i`."""
        if self.at < len(self.tokens) and self.tokens[self.at].kind == "num" and not symbols(left):
            return self.postfix(self.primary())
        return self.expression(_PRODUCT)

    def times(self, left: Node) -> Node:
        """The product of a factor and the one that follows without a sign, or a mixed number."""
        right = self.juxtaposed(left)
        return ("+", *right[1:]) if right[0] == "mixed" else ("*", left, right)

    def juxtaposed(self, left: Node) -> Node:
        """The factor after a factor without a sign; after an integer a fraction of integers makes a mixed number."""
        before = self.tokens[self.at - 1]
        right = self.postfix(self.primary())
        if before.kind == "num" and left[0] == "n" and self.is_mixed(before, right):
            return ("mixed", left, right)
        if before.kind == "num" and self.tokens[self.at - 1].kind == "num" and right[0] == "n":
            raise UnreadableError("two numbers side by side")
        return right

    def is_mixed(self, before: Token, right: Node) -> bool:
        return (
            before.places == 0
            and right[0] == "/"
            and right[1][0] == right[2][0] == "n"
            and right[1][1].denominator == right[2][1].denominator == 1
            and 0 < right[1][1] < right[2][1]
        )

    def starts_factor(self) -> bool:
        token = self.tokens[self.at]
        if token.kind in ("num", "sym", "letters"):
            return True
        if token.kind == "open":
            return True
        if token.text == "|":
            return not self.in_bars
        if token.text == "\\mod":
            return False
        return token.kind == "cmd" and (token.text[1:] in FUNCTIONS or token.text in _FACTOR_COMMANDS)

    def prefix(self) -> Node:
        operator = self.peek()
        if operator == "-":
            self.at += 1
            return ("neg", self.expression(_SUM))
        if operator == "+":
            self.at += 1
            return self.expression(_SUM)
        if operator in ("\\pm", "\\mp"):
            self.at += 1
            if self.peek() in ("\\pm", "\\mp"):
                raise UnreadableError("a sign of both signs")
            return (operator[1:], ("n", Fraction(0)), self.expression(_SUM))
        return self.product()

    def product(self) -> Node:
        """Factors side by side, bound more loosely than powers and as tightly as a sign of multiplication."""
        left = self.plain_mixed() or self.postfix(self.primary())
        while self.at < len(self.tokens) and self.starts_factor():
            left = self.times(left)
        return left

    def plain_mixed(self) -> Node | None:
        """`3 1/2`: an integer, a blank, a proper fraction."""
        four = self.tokens[self.at : self.at + 4]
        if len(four) < 4 or [token.kind for token in four] != ["num", "num", "op", "num"] or four[2].text != "/":
            return None
        whole, top, _, bottom = (token.value for token in four)
        if not four[1].spaced or any(four[i].places for i in (0, 1, 3)) or not whole or not top or not bottom:
            return None
        if top >= bottom:
            return None
        self.at += 4
        return ("n", whole + top / bottom)

    def postfix(self, node: Node) -> Node:
        while True:
            operator = self.peek()
            if operator == "^":
                self.at += 1
                node = self.power(node)
            elif operator == "!":
                count = 0
                while self.peek() == "!":
                    self.at += 1
                    count += 1
                node = ("f", {1: "factorial", 2: "factorial2"}.get(count, "many factorials"), node)
            elif operator == "\\%":
                self.at += 1
                node = ("*", node, _ONE_HUNDREDTH)
            elif operator == "\\circ":
                self.at += 1
                node = ("*", node, _DEGREE)
            elif operator == "'" and node[0] == "s":
                self.at += 1
                node = ("s", node[1] + "'")
            else:
                return node

    def power(self, base: Node) -> Node:
        if self.peek() == "\\circ" or (self.peek() == "{" and self.peek(1) == "\\circ" and self.peek(2) == "}"):
            self.at += 1 if self.peek() == "\\circ" else 3
            return ("*", base, _DEGREE)
        if self.peek() == "{" and self.peek(1) == "}":
            raise UnreadableError("an empty exponent")
        if self.peek() in ("'", "*"):
            raise UnreadableError("a decorated letter")
        exponent = self.argument()
        return ("^", base, self.postfix(exponent) if self.peek() == "^" else exponent)

    def argument(self) -> Node:
        """What stands after a command, `^` or `_`: a group, a sign and a factor, or a single digit of a numeral."""
        token = self.take()
        if token.text in ("-", "+"):
            return ("neg", self.argument()) if token.text == "-" else self.argument()
        if token.kind == "num":
            return ("n", token.value)
        self.at -= 1
        return self.primary()

    def digits_argument(self) -> Node:
        r"""As `argument`, but `\frac12` has two arguments."""
        token = self.tokens[self.at] if self.at < len(self.tokens) else None
        if token and token.kind == "num" and len(token.text) > 1 and token.text.isdigit() and not self.split:
            self.split = token.text[1:]
            return ("n", Fraction(int(token.text[0])))
        if token and self.split:
            rest, self.split = self.split, ""
            self.at += 1
            if len(rest) > 1:
                raise UnreadableError("digits after a fraction without braces")
            return ("n", Fraction(int(rest)))
        return self.argument()

    split = ""

    def group(self, opened: str) -> Node:
        node = self.whole()
        closed = self.take().text
        if _CLOSING.get(opened) != closed:
            raise UnreadableError("brackets that do not match")
        return node

    def primary(self) -> Node:
        token = self.take()
        if token.kind == "num":
            return ("n", token.value)
        if token.kind in ("sym", "letters"):
            return self.symbol(token.text)
        if token.kind == "open":
            bars, self.in_bars = self.in_bars, 0
            if token.text == "<|":
                raise UnreadableError("angle brackets inside an expression")
            node = self.group(token.text)
            self.in_bars = bars
            if token.text in ("\\lfloor", "\\lceil"):
                return ("f", "floor" if token.text == "\\lfloor" else "ceil", node)
            return node
        if token.text == "|":
            self.in_bars += 1
            node = self.expression(0)
            self.take("|")
            self.in_bars -= 1
            return ("f", "abs", node)
        if token.kind == "cmd":
            return self.command(token.text[1:])
        raise UnreadableError(f"unexpected {token.text!r}")

    def symbol(self, name: str) -> Node:
        if name in ("C", "P") and self.peek() == "(" and (counted := self.counted(name)):
            return counted
        if self.peek() == "_":
            self.at += 1
            index = self.subscript()
            return self.combinations(name, index) or ("s", f"{name}_{index}")
        return ("s", name)

    def counted(self, name: str) -> Node | None:
        """`C(n, k)`: combinations; `P(n, k)`: permutations. `None` when there are not two arguments."""
        depth, commas = 0, 0
        for token in self.tokens[self.at :]:
            depth += {"open": 1, "close": -1}.get(token.kind, 0)
            commas += depth == 1 and token.text in (",", ";")
            if not depth:
                break
        if commas != 1:
            return None
        self.take("(")
        n = self.expression(0)
        self.at += 1
        k = self.expression(0)
        self.take(")")
        if name == "C":
            return ("f", "binom", n, k)
        return ("/", ("f", "factorial", n), ("f", "factorial", ("-", n, k)))

    def combinations(self, name: str, index: str) -> Node | None:
        """`C_5^2` and `C_n^k` with numerals: binomial coefficients."""
        if name != "C" or self.peek() != "^" or not index.isdigit():
            return None
        start = self.at
        self.at += 1
        chosen = self.argument()
        if chosen[0] == "n" and 0 <= chosen[1] <= int(index[:6]) and int(index[:6]) > 1:
            return ("f", "binom", ("n", Fraction(int(index[:6]))), chosen)
        self.at = start
        return None

    def subscript(self) -> str:
        if self.peek() != "{":
            return self.take().text
        self.at += 1
        parts = []
        while self.peek() not in ("}", ""):
            parts.append(self.take().text)
        self.take("}")
        return "".join(parts)

    def command(self, name: str) -> Node:
        if name == "frac":
            top = self.digits_argument()
            bottom = self.digits_argument()
            return ("/", top, bottom)
        if name == "binom":
            top = self.digits_argument()
            return ("f", "binom", top, self.digits_argument())
        if name in ("sqrt", "cbrt"):
            return self.root(name)
        if name == "infty":
            return ("s", "\\infty")
        if name == "ldots":
            return ("s", "\\ldots")
        if name in ("angle", "triangle", "bigtriangleup", "odot"):
            return ("s", f"\\{name} {self.take().text}")
        if name in _MANY:
            return self.many(name)
        if name in ("abs", "floor", "ceil", "Gamma"):
            return ("f", name, self.argument())
        if name in _PREFIX:
            return self.function(name)
        raise UnreadableError(f"the command {name}")

    def root(self, name: str) -> Node:
        index: Node = ("n", Fraction(3 if name == "cbrt" else 2))
        if self.peek() == "[":
            self.at += 1
            index = self.group("[")
        return ("root", self.argument(), index)

    def many(self, name: str) -> Node:
        opened = self.take().text
        if opened not in ("(", "{", "\\{", "["):
            raise UnreadableError(f"{name} without brackets")
        if opened == "{" and self.peek() in ("(", "\\{"):
            raise UnreadableError(f"{name} of a bracket")
        items = [self.expression(0)]
        while self.peek() in (",", ";"):
            self.at += 1
            items.append(self.expression(0))
        if self.take().text != _CLOSING[opened]:
            raise UnreadableError("brackets that do not match")
        return ("f", name, *items)

    def function(self, name: str) -> Node:
        base: Node | None = None
        exponent: Node | None = None
        while self.peek() in ("_", "^"):
            if self.take().text == "_":
                base = self.argument()
            elif self.peek() == "{" and self.peek(1) == "\\circ":
                raise UnreadableError("a function without argument")
            else:
                exponent = self.argument()
        if exponent in (("neg", ("n", Fraction(1))), ("n", Fraction(-1))):
            if name not in _INVERSE:
                raise UnreadableError(f"the inverse of {name}")
            name, exponent = _INVERSE[name], None
        inside = self.function_argument()
        node: Node = ("f", name, inside) if base is None else ("f", name, inside, base)
        if base is not None and name != "log":
            raise UnreadableError(f"{name} with a base")
        return node if exponent is None else ("^", node, exponent)

    def function_argument(self) -> Node:
        """A bracket, or the factors up to the next sign or function: \\sin 2x, \\sin b \\cos a."""
        token = self.tokens[self.at] if self.at < len(self.tokens) else None
        if token is None:
            raise UnreadableError("a function without argument")
        if token.text in ("(", "[", "\\{", "{"):
            return self.primary()
        if token.text == "-":
            self.at += 1
            return ("neg", self.function_argument())
        node = self.postfix(self.primary())
        while self.at < len(self.tokens) and self.starts_factor() and self.peek()[1:] not in FUNCTIONS - {"sqrt"}:
            if self.peek() in ("(", "["):
                break
            node = self.times(node)
        return node


_FACTOR_COMMANDS = frozenset({"\\frac", "\\binom", "\\infty", "\\angle", "\\triangle"})


def _letters(token: Token) -> list[Token]:
    """`xy` is a product; capitals side by side are a name, whose order matters (segments, angles)."""
    if token.kind != "letters" or token.text.isupper():
        return [token]
    return [Token("sym", letter, spaced=token.spaced and not at) for at, letter in enumerate(token.text)]
