"""LaTeX commands by what they are: functions, letters, layout, relations, text, brackets. Tables only."""

from __future__ import annotations

FUNCTIONS = frozenset([
    "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "arccot", "arcsec", "arccsc",
    "sinh", "cosh", "tanh", "coth", "sech", "csch", "arcsinh", "arccosh", "arctanh", "asin", "acos", "atan",
    "asinh", "acosh", "atanh", "ln", "log", "lg", "exp", "sqrt", "cbrt", "abs", "floor", "ceil", "gcd", "lcm",
    "max", "min", "Gamma", "mod"
])  # fmt: skip
FUNCTION_ALIASES = {
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh",
    "arsinh": "arcsinh", "arcosh": "arccosh", "artanh": "arctanh", "tg": "tan", "ctg": "cot", "cosec": "csc",
    "arctg": "arctan", "sh": "sinh", "ch": "cosh", "th": "tanh", "bmod": "mod", "lcm": "lcm", "sgn": "sign", "hcf": "gcd",
    "GCD": "gcd", "LCM": "lcm", "Max": "max", "Min": "min",
}  # fmt: skip
GREEK = frozenset([
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu",
    "xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega", "Delta", "Theta", "Lambda",
    "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega", "ell", "hbar"
])  # fmt: skip
GREEK_ALIASES = {"varepsilon": "epsilon", "vartheta": "theta", "varphi": "phi", "varrho": "rho", "varsigma": "sigma"}
LAYOUT = frozenset([
    "left", "right", "middle", "big", "Big", "bigg", "Bigg", "bigl", "bigr", "Bigl", "Bigr", "biggl", "biggr",
    "Biggl", "Biggr", "bigm", "displaystyle", "textstyle", "scriptstyle", "limits", "nolimits", "large",
    "Large", "small", "normalsize", "mathstrut", "strut", "nonumber", "boldmath", "unboldmath", "(",
    ")", "[", "]", "mathopen", "mathclose", "mathord", "mathrel", "mathbin", "thinspace", "negthinspace",
    "hfill", "noindent", "mathop", "protect", "centering"
])  # fmt: skip
#: Commands whose first argument says how something looks.
SKIPPED_ARGUMENT = frozenset(["hspace", "vspace", "phantom", "color", "textcolor"])
SPACE_COMMANDS = frozenset(
    [
        r"\quad",
        r"\qquad",
        r"\,",
        r"\;",
        r"\:",
        r"\!",
        r"\>",
        r"\enspace",
        r"\enskip",
        r"\thickspace",
        r"\medspace",
        r"\checkmark",
    ]
) | {
    "\\ ",
    "\\\n",
}
RELATIONS = {
    "=": "=", "<": "<", ">": ">", "<=": "<=", ">=": ">=", "!=": "!=", "=<": "<=", "=>": "implies", "->": "to",
    "==": "=", ":=": "=", "\\le": "<=", "\\leq": "<=", "\\leqslant": "<=", "\\leqq": "<=", "\\ge": ">=", "\\geq": ">=",
    "\\geqslant": ">=", "\\geqq": ">=", "\\ne": "!=", "\\neq": "!=", "\\lt": "<", "\\gt": ">", "\\in": "in",
    "\\approx": "approx", "\\simeq": "approx", "\\doteq": "approx", "\\cong": "cong", "\\sim": "sim", "\\equiv": "equiv",
    "\\to": "to", "\\rightarrow": "to", "\\mapsto": "to", "\\Rightarrow": "implies", "\\implies": "implies",
    "\\iff": "iff", "\\Leftrightarrow": "iff", "\\coloneqq": "=", "\\triangleq": "=", "\\mid": "mid", "\\vert": "|",
    "\\perp": "perp", "\\parallel": "parallel", "\\subset": "subset", "\\subseteq": "subset", "\\notin": "notin",
    "\\propto": "propto",
}  # fmt: skip
TEXT_COMMANDS = frozenset([
    "text", "textbf", "textrm", "textit", "textsf", "texttt", "textnormal", "textup", "textsc", "mbox", "hbox", "emph",
    "boxed", "fbox"
])  # fmt: skip
LETTER_COMMANDS = frozenset([
    "mathrm", "mathbf", "mathit", "mathsf", "mathtt", "boldsymbol", "bm", "pmb", "operatorname", "rm", "bf",
    "it", "mathnormal", "mathscr", "mathcal", "vec", "overrightarrow", "hat", "widehat", "tilde", "bar",
    "overline", "underline", "mathring", "uline"
])  # fmt: skip
#: Letters that stay different from the plain ones.
ACCENTS = frozenset(["bar", "overline", "hat", "widehat", "tilde", "mathring"])
COMMAND_ALIASES = {
    "\\dfrac": "\\frac", "\\tfrac": "\\frac", "\\cfrac": "\\frac", "\\sfrac": "\\frac", "\\flatfrac": "\\frac",
    "\\dbinom": "\\binom", "\\tbinom": "\\binom", "\\choose": "\\choose", "\\times": "*", "\\cdot": "*",
    "\\ast": "*", "\\star": "*", "\\div": "/", "\\over": "\\over", "\\varnothing": "\\emptyset", "\\O": "\\emptyset",
    "\\lnot": "\\neg", "\\lor": "or", "\\land": "and", "\\vee": "or", "\\wedge": "and", "\\colon": ":", "\\dots": "\\ldots",
    "\\cdots": "\\ldots", "\\backslash": "\\setminus", "\\smallsetminus": "\\setminus", "\\bigcup": "\\cup",
    "\\bigcap": "\\cap", "\\prime": "'", "\\degree": "\\circ", "\\lvert": "|", "\\rvert": "|", "\\vert": "|",
    "\\lVert": "\\|", "\\rVert": "\\|", "\\textdegree": "\\circ", "\\pounds": "\\pounds", "\\textsterling": "\\pounds",
    "\\texteuro": "\\euro", "\\textdollar": "\\$", "\\mathdollar": "\\$", "\\dollar": "\\$",
    "\\plusmn": "\\pm", "\\textpm": "\\pm", "\\e": "e", "\\i": "i", "\\dd": "d", "\\d": "d", "\\textbackslash": "\\setminus",
}  # fmt: skip
OPENING = {"(": "(", "[": "[", "{": "{", "\\{": "\\{", "\\lbrace": "\\{", "\\langle": "<|", "\\lfloor": "\\lfloor",
         "\\lceil": "\\lceil", "\\lbrack": "[", "\\lparen": "("}  # fmt: skip
CLOSING = {")": ")", "]": "]", "}": "}", "\\}": "\\}", "\\rbrace": "\\}", "\\rangle": "|>", "\\rfloor": "\\rfloor",
          "\\rceil": "\\rceil", "\\rbrack": "]", "\\rparen": ")"}  # fmt: skip
OTHER_COMMANDS = frozenset([
    "frac", "sqrt", "binom", "choose", "over", "pm", "mp", "infty", "cup", "cap", "setminus", "emptyset",
    "circ", "pmod", "%", "$", "pounds", "euro", "yen", "rupee", "cent", "permil", "ldots", "angle", "triangle",
    "sum", "prod", "int", "lim", "iint", "oint", "partial", "nabla", "forall", "exists", "det", "vdots",
    "ddots", "hline", "mathfrak", "|", "overset", "stackrel", "neg", "complement", "operatornamewithlimits",
    "dot", "arg", "Re", "Im", "odot", "bigtriangleup"
])  # fmt: skip
#: Short runs of letters that are words and no product of letters.
SHORT_WORDS = frozenset(["the", "for", "all", "are", "any", "has", "not", "was", "but", "its", "of", "is"])
#: Words that are something else inside mathematics.
WORDS = {"infinity": "\\infty", "infty": "\\infty", "inf": "\\infty", "oo": "\\infty", "Infinity": "\\infty"}
