"""What no source of needlework does: run data as code, use a shell, listen beyond this machine."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDERS = ("needlework", "scripts", "workflow", "envs")

# Imported, each runs what is in a file.
MODULES = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "code"}
CALLS = {
    "eval", "exec", "__import__", "os.system", "os.popen", "os.execv", "os.execvp", "pty.spawn",
    "subprocess.getoutput", "subprocess.getstatusoutput", "asyncio.create_subprocess_shell",
    "torch.load", "pd.read_pickle", "pandas.read_pickle", "datasets.load_dataset", "load_dataset",
    "yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "tempfile.mktemp",
    "shutil.unpack_archive", "runpy.run_path", "runpy.run_module",
}  # fmt: skip
METHODS = {"extract", "extractall"}  # of archives; a regular expression has none of these
# Loaders of the hub's libraries, each of which would run a model's own code if it were let.
WEIGHTS = {f"{name}.from_pretrained" for name in ("AutoModel", "AutoModelForCausalLM")}
LOADERS = {"AutoConfig.from_pretrained", "AutoTokenizer.from_pretrained", *WEIGHTS}
ALLOWED = {
    # The model file inside a pinned and hashed package: one GGUF file, in a folder without code.
    ("needlework/models/bundled.py", "AutoTokenizer.from_pretrained"),
    ("needlework/models/bundled.py", "AutoModelForCausalLM.from_pretrained"),
    # The same file, in benchmarks.
    ("workflow/bench_symbolic.py", "AutoTokenizer.from_pretrained"),
    ("workflow/bench_mdqa.py", "AutoTokenizer.from_pretrained"),
}
EVERYWHERE = re.compile(r"\b0\.0\.0\.0\b|\[?::\]?:|INADDR_ANY")


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((each.value for each in call.keywords if each.arg == name), None)


def is_constant(value: ast.expr | None, wanted: object) -> bool:
    return isinstance(value, ast.Constant) and value.value is wanted


def of_call(call: ast.Call) -> Iterator[str]:
    name = ast.unparse(call.func)
    if name in CALLS:
        yield name
    if isinstance(call.func, ast.Attribute) and call.func.attr in METHODS:
        yield f".{call.func.attr}"
    if (shell := keyword(call, "shell")) is not None and not is_constant(shell, False):
        yield "shell="
    if name in ("np.load", "numpy.load") and not is_constant(keyword(call, "allow_pickle"), False):
        yield f"{name} without allow_pickle=False"
    trust = keyword(call, "trust_remote_code")
    if trust is not None and not is_constant(trust, False):
        yield "trust_remote_code"
    if name in LOADERS and trust is None:
        yield name  # left to itself, it asks at the terminal whether to run the model's code
    elif name in WEIGHTS and not is_constant(keyword(call, "use_safetensors"), True):
        yield name  # left to itself, it takes pickles where there is nothing else
    if name.endswith(("HTTPServer", "create_server", "TCPServer", ".bind")) and call.args:
        address = ast.unparse(call.args[0])
        if not address.startswith(("('127.0.0.1',", "(_HOST,")):
            yield f"{name}{address}"


def findings(text: str) -> Iterator[str]:
    """What in a source is not to be there; the same thing may come twice."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            yield from of_call(node)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names]
            whole = [node.module or ""] if isinstance(node, ast.ImportFrom) else names
            yield from (name for name in whole if name.split(".")[0] in MODULES)
            yield from (name for name in names if f"{whole[0]}.{name}" in CALLS)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from EVERYWHERE.findall(node.value)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("eval(text)", ["eval"]),
        ("model.eval()", []),
        ("import pickle", ["pickle"]),
        ("from joblib import load", ["joblib"]),
        ("from os import system", ["system"]),
        ("torch.load(path)", ["torch.load"]),
        ("yaml.safe_load(text)", []),
        ("yaml.load(text, Loader=yaml.SafeLoader)", ["yaml.load"]),
        ("np.load(path)", ["np.load without allow_pickle=False"]),
        ("np.load(path, allow_pickle=False)", []),
        ("run(command, shell=True)", ["shell="]),
        ("run(command, shell=chosen)", ["shell="]),
        ("archive.extractall(folder)", [".extractall"]),
        ("AutoConfig.from_pretrained(folder)", ["AutoConfig.from_pretrained"]),
        ("AutoConfig.from_pretrained(folder, trust_remote_code=False)", []),
        ("f(trust_remote_code=args.trust)", ["trust_remote_code"]),
        (
            "AutoModel.from_pretrained(folder, trust_remote_code=False)",
            ["AutoModel.from_pretrained"],
        ),
        ("HTTPServer(('', 0), Handler)", ["HTTPServer('', 0)"]),
        ("ThreadingHTTPServer(('127.0.0.1', 0), Handler)", []),
        ("listener.bind(('', 0))", ["listener.bind('', 0)"]),
        ("host = '0.0.0.0'", ["0.0.0.0"]),
    ],
)
def test_the_search_finds_what_it_is_for(line: str, found: list[str]) -> None:
    assert list(findings(line)) == found


def test_no_source_does_any_of_it(root: Path) -> None:
    used = set()
    for folder in FOLDERS:
        for path in (root / folder).rglob("*.py"):
            name = path.relative_to(root).as_posix()
            for what in findings(path.read_text(encoding="utf-8")):
                assert (name, what) in ALLOWED, f"{name}: {what}"
                used.add((name, what))
    assert used == ALLOWED, "an exception that nothing needs"


def test_no_test_server_listens_beyond_this_machine(root: Path) -> None:
    opening = ("HTTPServer", "TCPServer", "start_server", "create_server", ".bind")
    found = [
        (path.name, ast.unparse(node))
        for path in (root / "tests").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(opening)
    ]
    assert found
    # The stand-in listens where its command line says, which the library writes: see test_servers.
    named = ("'127.0.0.", "args.host")
    assert [each for each in found if not any(word in each[1] for word in named)] == []


def test_no_rule_runs_python_or_a_shell_of_its_own(root: Path) -> None:
    words = r"\b(eval|exec|pickle|os\.system|subprocess|yaml\.load|trust_remote_code)\b"
    for path in [root / "Snakefile", *(root / "workflow/rules").glob("*.smk")]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(words, text), path.name
        assert not re.search(r"^\s+(run|script|notebook|wrapper):", text, re.MULTILINE), path.name


def test_no_rule_puts_the_environment_into_its_parameters(root: Path) -> None:
    """Snakemake writes parameters into its log and its records; a program reads its key itself."""
    reads = r"(?:environ\b(?!\.(?:update|setdefault)\()|getenv|envvars)"
    for path in [root / "Snakefile", *(root / "workflow/rules").glob("*.smk")]:
        assert not re.search(reads, path.read_text(encoding="utf-8")), path.name
