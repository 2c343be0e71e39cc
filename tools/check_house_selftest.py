"""The self-test of tools/check_house: a small tree that breaks every rule, where each break must be found on its line,
and code that only looks as if it broke one, where nothing may be found."""
import sys
import tempfile
from pathlib import Path

CMAKE = "phalanx_module(base PURE)\nphalanx_module(data PURE)\nphalanx_module(tensor)\nphalanx_module(comm)\n" \
        "phalanx_module(mesh PURE)\nphalanx_module(kernels)\nphalanx_module(nn)\nphalanx_module(model)\n"


def header(path, rest):
    return f"// File: {path}\n//\n// Purpose: shows a mistake.\n#pragma once\n{rest}"


def function(lines, head="int f(int a,\n      int b) {"):
    """A function of so many lines whose head takes two, as a long parameter list does."""
    return head + "\n" + "  a += b;\n" * (lines - 3) + "}\n"


# path: (content, [(line, rule)]); the words of two rules are split, so that this file keeps them.
BAD = {
    "phalanx/base/long_file.cc": ("int f();\n" * 401, [(1, "size")]),
    "phalanx/base/long_function.cc": ("int g() { return 0; }\n" + function(81), [(2, "size")]),
    "phalanx/base/long_member.cc": (
        "class A {\n public:\n  A(int a)\n      : a_{a}, b_{a} {\n" + "    f();\n" * 80 + "  }\n  int a_, b_;\n};\n",
        [(3, "size")]),
    "phalanx/kernels/op/op_cpu.cc": (function(151) + '#include "c10/core/Device.h"\n', [(1, "size"), (152, "layers")]),
    "tools/long.py": ("pass\n" * 401, [(1, "size")]),
    "examples/01_long.cc": ("int f();\n" * 121, [(1, "size")]),
    "phalanx/base/no_banner.h": ("#pragma once\n\n\n\n", [(1, "banner")]),
    "phalanx/base/other_path.h": (header("phalanx/base/moved.h", ""), [(1, "banner")]),
    "phalanx/base/no_purpose.h": ("// File: phalanx/base/no_purpose.h\n//\n// What: nothing.\n#pragma once\n", [(1, "banner")]),
    "phalanx/base/upwards.cc": ('#include "phalanx/data/x.h"\n', [(1, "layers")]),
    "phalanx/mesh/tensors.cc": ('#include "phalanx/tensor/x.h"\n', [(1, "layers")]),
    "phalanx/data/aten.cc": ("#include <ATen/ATen.h>\n", [(1, "layers")]),
    "phalanx/model/world.cc": ('#include "phalanx/mesh/x.h"\n#include "phalanx/comm/group.h"\n', [(1, "layers"), (2, "layers")]),
    "phalanx/base/app.cc": ('#include "apps/phalanx/verbs.h"\n', [(1, "layers")]),
    "phalanx/unknown/x.cc": ("int f();\n", [(1, "layers")]),
    "phalanx/data/print.cc": ('#include <cstdio>\nvoid f() {\n  std::cout << 1;\n  printf("x");\n  std::fputs("x", stdout);\n}\n',
                              [(3, "stdout"), (4, "stdout"), (5, "stdout")]),
    "phalanx/base/switch.h": (header("phalanx/base/switch.h", "#ifdef FAST\n#else\n#endif\n"), [(5, "ifdef"), (6, "ifdef")]),
    "phalanx/nn/tape.cc": ("#include <torch/csrc/autograd/autograd.h>\nvoid f(Tensor x) {\n  x.requires_grad_();\n"
                           "  x.sum().backward();\n}\n", [(1, "autograd"), (3, "autograd"), (4, "autograd")]),
    "phalanx/nn/globals.cc": (
        "namespace {\nint counter = 0;\nstd::map<int, std::function<void(int)>> registry;\nconst char* name = \"x\";\n"
        "thread_local Tensor workspace;\nint a, b;\n}\nclass A {\n  static int count_;\n  int fine_ = 0;\n};\n"
        "int next() {\n  const int fine = 1;\n  static int calls = 0;\n  return ++calls + fine;\n}\n",
        [(2, "globals"), (3, "globals"), (4, "globals"), (5, "globals"), (6, "globals"), (9, "globals"), (14, "globals")]),
    "docs/path.md": ("see /wo" "rk/main\n", [(1, "machine")]),
    "phalanx/base/later.cc": ("// TO" "DO: finish\n", [(1, "unfinished")]),
    "tests/fixtures/big.bin": ("x" * 1_000_001, [(1, "bytes")]),
}
MISSING = [("phalanx/kernels/op", 1, "kernel")] * 3 + [
    (f"phalanx/{folder}", 1, "readme") for folder in ("base", "data", "kernels", "mesh", "model", "nn")]

CLEAN = {
    "phalanx/base/fine.h": header("phalanx/base/fine.h", "int f();\n"),
    "phalanx/base/words.cc": '// std::cout, printf(, int counter = 0; requires_grad\n/* static int x = 0; */\n'
                             'const char* const kText = "std::cout << \\"{\\" // no comment";\n'
                             'constexpr const char* kRaw = R"(a { brace and a " quote)";\nconstexpr char kQuote = \'"\';\n'
                             'void f() { std::fprintf(stderr, "x"); }\n',
    "phalanx/nn/data.cc": "namespace a::b {\nconstexpr int kTable[] = {\n" + "  1,\n" * 100 + "};\n"
                          "const std::map<int, int> kMap = {{1, 2}};\nusing Table = std::map<int, int>;\nstruct S;\nint f(int);\n"
                          "bool operator==(S a, S b);\nbool operator()(int a);\nenum class E { kA, kB };\n"
                          "struct Options {\n  int lines = 0;\n  std::string text;\n};\n"
                          "void g() {\n  static const bool fast = f(1);\n  static constexpr int kSize = 2;\n"
                          "  static const Tensor* const p = nullptr;\n  y = module->backward(dy, batch);\n}\n}  // namespace\n",
    "phalanx/nn/just_fits.cc": function(80) + "\n" + function(80),
    "phalanx/nn/x_test.cc": "void f() { std::cout << x.requires_grad(); x.backward(); }\n",
    "phalanx/kernels/ok/ok.h": header("phalanx/kernels/ok/ok.h", ""),
    "phalanx/kernels/ok/ok_ref.cc": '#include "phalanx/tensor/x.h"\n#include <ATen/ATen.h>\n' + function(150),
    "phalanx/kernels/ok/ok_test.cc": "TEST(Ok, Works) {}\n",
    **{f"phalanx/{folder}/README.md": "# What lives here\n" for folder in ("base", "kernels", "nn")},
    "apps/phalanx/main.cc": '#include "phalanx/nn/x.h"\nint main() { printf("x"); }\n',
}


def found(checker, files):
    with tempfile.TemporaryDirectory() as folder:
        for path, content in {**files, "CMakeLists.txt": CMAKE}.items():
            (Path(folder) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / path).write_text(content)
        return [violation[:3] for violation in checker(folder, sorted(files)).check()]


def self_test(checker, rules):
    wrong = [f"false alarm: {v}" for v in found(checker, CLEAN)]
    expected = [(path, line, rule) for path, (_, breaks) in BAD.items() for line, rule in breaks] + MISSING
    got = found(checker, {path: content for path, (content, _) in BAD.items()})
    wrong += [f"not found: {v}" for v in expected if got.count(v) < expected.count(v)]
    wrong += [f"false alarm: {v}" for v in got if got.count(v) > expected.count(v)]
    wrong += [f"no test breaks the rule {rule}" for rule in rules if rule not in {v[2] for v in expected}]
    for line in wrong:
        print(f"check_house --self-test: {line}", file=sys.stderr)
    print(f"check_house --self-test: {len(rules)} rules, {len(expected)} breaks, {len(wrong)} wrong", file=sys.stderr)
    return 1 if wrong else 0
