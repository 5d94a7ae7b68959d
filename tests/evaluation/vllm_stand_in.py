"""The command `vllm serve` as far as needlework uses it: its flags, its endpoints, its answers.

The answers are transformers' own, computed by `generate` with stop strings. Flags, statuses and
bodies are those of vLLM 0.33; a flag that it does not know ends it, as it does vLLM. Like vLLM, it
has a child process, which here ignores being asked to end.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import nullcontext
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_CHILD = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()"
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
_TURN = threading.Lock()  # one answer at a time: the adapter is switched off and on
JSON = dict[str, Any]


def arguments() -> argparse.Namespace:
    """The flags, strictly."""
    parser = argparse.ArgumentParser(prog="vllm", allow_abbrev=False)
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("model")
    add = parser.add_argument
    add("--served-model-name", default=None)
    add("--host", default="")
    add("--port", type=int, default=8000)
    add("--dtype", choices=["auto", "half", "float16", "bfloat16", "float", "float32"])
    add("--seed", type=int)
    add("--generation-config", default="auto")
    add("--disable-uvicorn-access-log", action="store_true")
    add("--max-model-len", type=int, required=True)
    add("--hf-overrides", type=json.loads, default={})
    add("--enable-lora", action="store_true")
    add("--max-loras", type=int, default=1)
    add("--max-lora-rank", type=int, choices=_RANKS, default=16)
    add("--lora-modules", nargs="*", default=[])
    return parser.parse_args()


def check(args: argparse.Namespace) -> None:
    """Refuse what vLLM refuses when it starts."""
    config = json.loads((Path(args.model) / "config.json").read_text(encoding="utf-8"))
    most = (config | args.hf_overrides)["max_position_embeddings"]
    if args.max_model_len > most:
        raise ValueError(
            f"User-specified max_model_len ({args.max_model_len}) is greater than the derived "
            f"max_model_len (max_position_embeddings={most})."
        )
    for name, folder in adapters(args).items():
        tuned = json.loads((Path(folder) / "adapter_config.json").read_text(encoding="utf-8"))
        if not args.enable_lora or tuned["r"] > args.max_lora_rank:
            raise ValueError(f"{name}: LoRA rank {tuned['r']} is greater than max_lora_rank")


def adapters(args: argparse.Namespace) -> dict[str, str]:
    """Folders by name."""
    return dict(module.split("=", 1) for module in args.lora_modules)


@cache
def loaded(folder: str, dtype: str, tuned: tuple[tuple[str, str], ...]) -> tuple[Any, Any]:
    """The model and its tokenizer; loaded with the first request, so that most tests need not."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
    for name, adapter in tuned:
        model = PeftModel.from_pretrained(model, adapter, adapter_name=name)
    return model.eval(), AutoTokenizer.from_pretrained(folder)


def complete(args: argparse.Namespace, body: JSON) -> tuple[int, JSON]:
    """POST /v1/completions."""
    if body["model"] not in {args.served_model_name, *adapters(args)}:
        return error(404, f"The model `{body['model']}` does not exist.", "NotFoundError")
    prompt = body["prompt"]
    assert isinstance(prompt, list)
    assert all(isinstance(token, int) for token in prompt)
    if len(prompt) > args.max_model_len:
        message = (
            f"This model's maximum context length is {args.max_model_len} tokens. However, your "
            f"request has {len(prompt)} input tokens."
        )
        return error(400, message, "BadRequestError")
    assert body["temperature"] == 0
    most = min(body["max_tokens"], args.max_model_len - len(prompt))
    with _TURN:
        text, reason, stopped = generated(args, body, prompt, most)
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}
    usage = {"prompt_tokens": len(prompt), "completion_tokens": most, "total_tokens": 0}
    choices = [choice | {"stop_reason": stopped}]
    return 200, {
        "id": "cmpl-1", "object": "text_completion", "model": body["model"], "choices": choices,
        "usage": usage,
    }  # fmt: skip


def generated(
    args: argparse.Namespace, body: JSON, prompt: list[int], most: int
) -> tuple[str, str, str | int | None]:
    """Text, finish_reason and stop_reason."""
    import torch

    model, tokenizer = loaded(args.model, args.dtype, tuple(adapters(args).items()))
    stops = body.get("stop") or None
    ends = {tokenizer.eos_token_id, *body.get("stop_token_ids", [])}
    untuned = bool(adapters(args)) and body["model"] == args.served_model_name
    ids = torch.tensor([prompt])
    with model.disable_adapter() if untuned else nullcontext():
        made = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False,
            max_new_tokens=most, eos_token_id=sorted(ends), pad_token_id=tokenizer.pad_token_id,
            stop_strings=stops, tokenizer=tokenizer,
        )[0, len(prompt) :].tolist()  # fmt: skip
    text = tokenizer.decode(made, skip_special_tokens=True)
    if made[-1] in ends:
        # vLLM names only the end tokens that a request adds.
        return text, "stop", None if made[-1] == tokenizer.eos_token_id else made[-1]
    for stop in stops or ():
        if stop in text:
            return text.partition(stop)[0], "stop", stop
    return text, "length", None


def error(status: int, message: str, kind: str) -> tuple[int, JSON]:
    """vLLM's error body."""
    return status, {"error": {"message": message, "type": kind, "param": None, "code": status}}


def handler(args: argparse.Namespace) -> type[BaseHTTPRequestHandler]:
    """Routes; /v1 wants the key."""
    key = os.environ["VLLM_API_KEY"]
    assert len(key) > 20
    assert not any(key in word for word in sys.argv)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *words: Any) -> None:
            """No access log."""

        def reply(self, status: int, body: JSON | None) -> None:
            content = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def allowed(self) -> bool:
            if self.headers["Authorization"] == f"Bearer {key}":
                return True
            self.reply(401, {"error": "Unauthorized"})
            return False

        def do_GET(self) -> None:
            if self.path == "/health":
                self.reply(200, None)
            elif self.path == "/v1/models" and self.allowed():
                names = [args.served_model_name, *adapters(args)]
                self.reply(200, {"object": "list", "data": [{"id": name} for name in names]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/v1/completions" and self.allowed():
                print(f"asked {body['model']}", flush=True)
                self.reply(*complete(args, body))

    return Handler


def main() -> None:
    args = arguments()
    check(args)
    child = subprocess.Popen([sys.executable, "-c", _CHILD])
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    print(f"processes {os.getpid()} {child.pid}", flush=True)
    print(f"flags {json.dumps(sys.argv[1:])}", flush=True)
    ThreadingHTTPServer((args.host, args.port), handler(args)).serve_forever()


if __name__ == "__main__":
    main()
