"""Finds the declarations of a C++ file without a compiler: enough for tools/check_house, no more.

blank() removes what is not code; declarations() walks namespaces and classes and yields what is declared there.
"""
import re
from typing import NamedTuple

_LITERAL = re.compile(r'R"(?P<tag>[^()\\\s]{0,16})\(.*?\)(?P=tag)"'  # raw string
                      r'|//[^\n]*|/\*.*?\*/'
                      r'|"(?:\\.|[^"\\\n])*"'
                      r"|(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+'", re.S)  # a quote between digits is a separator
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_SCOPE = re.compile(r"(template\s*<.*>\s*)?((inline\s+)?namespace|class|struct|union|enum|extern\s*\"\s*\")\b", re.S)


class Declaration(NamedTuple):
    kind: str   # function, variable or other
    scope: str  # namespace or class
    first: int  # line numbers
    last: int
    head: str   # the text before the body or the initial value
    body: str


def blank(text):
    """The text with comments and the insides of literals as spaces; line breaks stay, so line numbers hold."""
    def spaces(found):
        token = found.group(0)
        keep = '""' if token[0] in '"R' else ""
        return keep + re.sub(r"[^\n]", " ", token)[len(keep):]
    return _LITERAL.sub(spaces, text)


def _close(code, opening):
    """Where the bracket at `opening` closes."""
    stack = []
    for i in range(opening, len(code)):
        c = code[i]
        if c in _CLOSING:
            stack.append(_CLOSING[c])
        elif stack and c == stack[-1]:
            stack.pop()
            if not stack:
                return i
    return len(code) - 1


def plain(head):
    """A head without attributes and template arguments."""
    head = re.sub(r"\[\[.*?\]\]", " ", head, flags=re.S)
    before = None
    while before != head:
        before, head = head, re.sub(r"<[^<>]*>", " ", head)
    return head


def _classify(head):
    # Operators are spelled with the characters that are looked for below.
    text = re.sub(r"\boperator\s*[^\s(]+", "operator ", plain(head)).strip()
    if "(" in text or not text:
        return "function"
    if re.match(r"(using|typedef|namespace|class|struct|union|enum|static_assert|friend|extern|concept|template)\b", text):
        return "other"
    name = r"[*&]*\w+(\s*\[\s*\w*\s*\])*"
    return "variable" if re.search(rf"[\w\]>&*]\s*[\s*&]{name}(\s*,\s*{name})*$", text) else "other"


def declarations(code, start=0, end=None, scope="namespace"):
    """Every declaration of a blanked text at namespace or class level, in order."""
    if start == 0:
        code = re.sub(r"^[ \t]*#(\\\n|[^\n])*", lambda m: re.sub(r"[^\n]", " ", m.group(0)), code, flags=re.M)
    end = len(code) if end is None else end
    i, begin, head_end, in_class = start, None, None, False

    def finish(stop):
        head = code[begin:stop if head_end is None else head_end]
        kind = "other" if in_class else _classify(head)
        line = code.count("\n", 0, begin) + 1
        return Declaration(kind, scope, line, line + code.count("\n", begin, stop), head, code[begin:stop])

    while i < end:
        c = code[i]
        if begin is None:
            label = re.compile(r"(public|private|protected)\s*:(?!:)").match(code, i, end)
            if label or c.isspace() or c in ";}":
                i = label.end() if label else i + 1
                continue
            begin, head_end, in_class = i, None, False
        if c in "([":
            i = _close(code, i) + 1
        elif c == ";":
            yield finish(i)
            begin, i = None, i + 1
        elif c == "=" and head_end is None and not re.search(r"\boperator\s*[^\s\w(]*$", code[begin:i]):
            head_end, i = i, i + 1
        elif c == "{":
            close = _close(code, i)
            found = _SCOPE.match(code, begin, i)
            if found and "(" not in plain(code[begin:i]) and head_end is None:
                word = found.group(2)
                if not word.startswith("enum"):
                    outer = "namespace" in word or "extern" in word
                    yield from declarations(code, i + 1, close, "namespace" if outer else "class")
                    if outer:
                        begin = None
                in_class = True
                i = close + 1
                continue
            head_end = i if head_end is None else head_end
            i = close + 1
            following = code[i:end].lstrip()[:1]
            # After a body a new declaration starts; after an initialiser this one goes on.
            if not following or following.isalnum() or following in "_~[}":
                yield finish(i)
                begin = None
        else:
            i += 1
