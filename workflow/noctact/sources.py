"""The code of a stage as hashes, one a file: what tells whether its results are still its own.

Standard library only: every job of a cluster run parses the Snakefile, which imports this.
"""

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

LIBRARY = Path(__file__).parents[1]
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def source_file(module: str) -> Path | None:
    """The file of `module`, such as noctact.models.gru; None for what is no module of ours."""
    path = LIBRARY.joinpath(*module.split("."))
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if file.exists()), None)


def imported(tree: ast.Module, package: list[str]) -> Iterator[str]:
    """What a file in `package` with the syntax `tree` imports: modules, and names in them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (part.name for part in node.names)
        if isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            # `from noctact import video` names a file, `from noctact.video import decode` not.
            yield from (f"{origin}.{part.name}" for part in node.names)


def essence(node: object) -> object:
    """What a syntax tree does, as nested tuples: no comments, docstrings, layout or positions.

    Empty fields are left out: versions of Python differ in them.
    """
    if isinstance(node, list):
        return tuple(essence(part) for part in node)
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = dict(ast.iter_fields(node))
    if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
        fields["body"] = node.body[1:]
    kept = [(name, essence(part)) for name, part in fields.items() if part not in (None, [])]
    return (type(node).__name__, *kept)


@functools.cache
def read_source(file: Path) -> tuple[str, list[str]]:
    """A hash of what the code in `file` does, 16 hex digits, and what it imports."""
    tree = ast.parse(file.read_bytes(), file)
    digest = hashlib.sha256(repr(essence(tree)).encode()).hexdigest()
    package = [*file.relative_to(LIBRARY).parent.parts]
    return digest[:16], sorted(set(imported(tree, package)))


def code(*modules: str) -> list[str]:
    """`<file> <hash>` of each file that `modules` of the library, such as models.gru, run: their
    own, those that they import, and the packages that these lie in. Sorted.

    The hashes change with what the code does; comments, docstrings and layout don't count. Raises
    SyntaxError for a file that is no Python.
    """
    names, waiting = set(), [f"noctact.{name}" for name in modules]
    found = {}
    while waiting:
        name = waiting.pop()
        if name in names or name.split(".", 1)[0] != "noctact":
            continue
        names.add(name)
        waiting.append(name.rpartition(".")[0])
        if file := source_file(name):
            found[file], imports = read_source(file)
            waiting += imports
    return sorted(f"{file.relative_to(LIBRARY)} {digest}" for file, digest in found.items())
