"""Answer the real test examples greedily with a model, with or without an adapter.

The model runs here, by transformers, or in a vLLM server started here, or answers behind an
OpenAI-compatible server. Writes OUTPUT (JSONL), one row per example. A killed run goes on where it
was.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from needlework import adapters, models, stored
from needlework.command import execute
from needlework.evaluation.predict import add_answer_flags, answer_identity, predict
from needlework.evaluation.served import Asking, Form, end_tokens_of, predict_served
from needlework.evaluation.vllm_server import API_KEY_ENV, BASE_NAME, vllm_server
from needlework.examples import read_examples
from needlework.llm.generator import Generator


def main() -> None:
    args = _arguments()
    base = models.base_of(args.base)
    {"transformers": _here, "vllm": _by_vllm, "server": _elsewhere}[args.backend](args, base)


def _here(args: argparse.Namespace, base: models.Base) -> None:
    models.limit_threads(args.threads)
    model = models.load_model(base, dtype=args.dtype, device=args.device, attention=args.attention)
    predict(
        adapters.attach(model, base, _adapters(args)),
        models.load_tokenizer(base),
        read_examples(args.examples),
        args.output,
        length=args.length,
        max_new_tokens=args.max_new_tokens,
        batch=args.batch,
        identity=_identity(args, base),
    )


def _by_vllm(args: argparse.Namespace, base: models.Base) -> None:
    dtype = models.resolve_dtype(args.dtype, args.device)
    identity = _identity(args, base, dtype)
    with vllm_server(
        base,
        _adapters(args),
        length=args.length + args.max_new_tokens,
        dtype=dtype,
        log=args.output.with_name(f"{args.output.stem}.vllm.log"),
        executable=args.vllm,
    ) as url:
        _ask(args, base, url, API_KEY_ENV, next(iter(_adapters(args)), BASE_NAME), identity)


def _elsewhere(args: argparse.Namespace, base: models.Base) -> None:
    if args.base_url is None:
        raise SystemExit("--backend server needs --base-url, the server's address ending in /v1")
    hosted = stored.read_json(args.hosted)["model"] if args.hosted else None
    model = args.served_model or hosted or base.source
    identity = _identity(args, base, args.base_url, model, args.form)
    _ask(args, base, args.base_url, args.api_key_env, model, identity)


def _ask(
    args: argparse.Namespace,
    base: models.Base,
    url: str,
    api_key_env: str | None,
    model: str,
    identity: str,
) -> None:
    tokenizer = models.load_tokenizer(base)
    form: Form = "tokens" if args.backend == "vllm" else args.form
    predict_served(
        Generator(
            base_url=url,
            model=model,
            # The port of a server started here changes, and "base" and "run" say little.
            identity=f"vllm:{identity}" if args.backend == "vllm" else url,
            api_key_env=api_key_env,
            temperature=0.0,
            max_tokens=args.max_new_tokens,
            concurrency=args.concurrency or args.batch,
        ),
        Asking(
            form,
            tokenizer,
            args.length,
            end_tokens_of(base, tokenizer) if form == "tokens" else (),
        ),
        read_examples(args.examples),
        args.output,
        cache=args.output.with_name(f"{args.output.stem}.cache.sqlite"),
        identity=identity,
    )


def _adapters(args: argparse.Namespace) -> dict[str, Path]:
    return {"run": args.adapter} if args.adapter else {}


def _identity(args: argparse.Namespace, base: models.Base, *parts: str) -> str:
    tuned = adapters.adapter_hash(args.adapter)
    return answer_identity(args, base.model_dump(), tuned, args.backend, *parts)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_answer_flags(parser)
    add = parser.add_argument
    add("--adapter", type=Path, help="folder of an adapter; none: untuned")
    add("--output", type=Path, required=True, help="answers to write (JSONL)")
    add("--backend", choices=["transformers", "vllm", "server"], default="transformers")
    add("--vllm", default="vllm", help="command of vLLM, for its back end (%(default)s)")
    add("--base-url", help="address of the server, ending in /v1")
    add("--api-key-env", help="environment variable that holds the server's key")
    add("--served-model", help="its name there; none: the hosted or the base model's")
    add("--hosted", type=Path, help="hosted.json of a model that was tuned there")
    add("--form", choices=["tokens", "chat"], default="tokens", help="what the server is sent")
    add("--concurrency", type=int, help="requests at once, of a server (--batch)")
    models.add_compute_flags(parser)
    return parser.parse_args()


if __name__ == "__main__":
    execute(main)
