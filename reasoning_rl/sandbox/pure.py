"""Tells test code that cannot leave anything behind in its process. Decides by syntax, from a list of what is harmless.

Such code computes with plain data, calls the program and asserts; it has no name, no attribute and no statement by which
it could change a module, a class, or a setting of the interpreter. Of modules it may use `math`, whose functions have no
effects. For everything else, the answer is no.
"""

from __future__ import annotations

import ast
from collections.abc import Collection

_BUILTINS = """
abs all any bin bool bytes chr complex dict divmod enumerate filter float frozenset hash hex int isinstance len list map max
min oct ord pow range repr reversed round set sorted str sum tuple zip
"""
_STATEMENTS = (
    *(ast.Module, ast.Assert, ast.Expr, ast.Assign, ast.AugAssign, ast.Pass, ast.FunctionDef, ast.Return),
    *(ast.If, ast.For, ast.While, ast.Break, ast.Continue, ast.Import, ast.alias),
)
_EXPRESSIONS = (
    *(ast.Constant, ast.Name, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.Starred, ast.Subscript, ast.Slice),
    *(ast.Compare, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.IfExp, ast.Call, ast.keyword, ast.Lambda),
    *(ast.JoinedStr, ast.FormattedValue, ast.Attribute),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.comprehension),
)
_PARTS = (ast.arguments, ast.arg, ast.expr_context, ast.cmpop, ast.boolop, ast.operator, ast.unaryop)
_HARMLESS = (*_STATEMENTS, *_EXPRESSIONS, *_PARTS)


def leaves_nothing(tree: ast.Module, names: Collection[str]) -> bool:
    """Whether the code is made of harmless parts only. `names` are those that the program defines."""
    nodes = list(ast.walk(tree))
    if not all(isinstance(node, _HARMLESS) for node in nodes):
        return False
    bound = {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    bound |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    modules = {node.asname or node.name for node in nodes if isinstance(node, ast.alias)}
    if any(node.name != "math" for node in nodes if isinstance(node, ast.alias)) or modules & {*names, *bound}:
        return False  # a module's name must stay that of the module, for attributes are looked up on it
    known = {*modules, *names, *_BUILTINS.split(), *bound}
    for node in nodes:
        if isinstance(node, ast.Name) and (node.id not in known or node.id.startswith("__")):
            return False  # such as `__builtins__`, through which everything could be had
        if isinstance(node, ast.Attribute) and not _is_of_module(node, modules):
            return False
        if isinstance(node, ast.FunctionDef) and (node.decorator_list or node.name.startswith("__")):
            return False
        if isinstance(node, ast.arg) and node.arg.startswith("__"):
            return False
    return True


def _is_of_module(node: ast.Attribute, modules: Collection[str]) -> bool:
    is_read = isinstance(node.ctx, ast.Load) and not node.attr.startswith("_")
    return is_read and isinstance(node.value, ast.Name) and node.value.id in modules
