"""Write what is generated from the configuration's code: the JSON schema and its page.

`python workflow/schemas/write_schema.py --check` only says whether they are in step.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from needlework.study import sections

ROOT = Path(__file__).parents[2]


def schema() -> str:
    """The JSON schema that editors complete and check a study file by."""
    content = sections.Study.model_json_schema()
    return json.dumps({"$schema": "http://json-schema.org/draft-07/schema#"} | content, indent=1)


def page() -> str:
    """docs/configuration.md: every key, its default, its meaning and where the default is from."""
    lines = [
        "# Configuration\n",
        "<!-- Written by `make schema` from needlework/study/. -->\n",
        "A study is one YAML file. `snakemake --cores all` reads `config.yaml`; `--configfile "
        "studies/x.yaml` replaces it. An unknown key, a wrong type or an impossible combination "
        "stops the run before its first job. Where a default says *ours*, the papers do not "
        "publish the value.\n",
        "## Study\n",
        *_table(sections.Study),
    ]
    for title, kind in _sections(sections.Study, ""):
        lines += [f"\n## `{title}`\n", f"{kind.__doc__}\n", *_table(kind)]
    return "\n".join(lines) + "\n"


def _sections(section: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """The sections below one, each with the path of its keys, in the order of the file."""
    for name, field in section.model_fields.items():
        kinds = [k for k in _types(field.annotation) if issubclass(k, BaseModel)]
        mapping = "<name>" if get_origin(field.annotation) is dict else ""
        for kind in kinds:
            title = ".".join(filter(None, (path, name, mapping)))
            yield title, kind
            yield from _sections(kind, title)


def _types(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type):
        yield annotation
    for argument in get_args(annotation):
        yield from _types(argument)


def _table(section: type[BaseModel]) -> Iterator[str]:
    yield "| key | default | meaning |"
    yield "| --- | --- | --- |"
    for name, field in section.model_fields.items():
        if field.default is PydanticUndefined:
            default = "needed"
        elif isinstance(field.default, BaseModel):
            default = "see below"
        else:
            default = f"`{json.dumps(field.default)}`"
        meaning = field.description or (field.default.__doc__ or "").split("\n")[0]
        yield f"| `{name}` | {default} | {meaning} |"


def main() -> None:
    """Write both files, or with --check stop at the first that is behind the code."""
    check = "--check" in sys.argv
    written = {
        ROOT / "workflow/schemas/study.schema.json": schema() + "\n",
        ROOT / "docs/configuration.md": page(),
    }
    for path, content in written.items():
        if check and (not path.is_file() or path.read_text(encoding="utf-8") != content):
            sys.exit(f"{path.relative_to(ROOT)} is behind needlework/study.py: run `make schema`")
        if not check:
            path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
