#!/usr/bin/env python3
"""Check logits, loss and every gradient of the model against PyTorch's automatic differentiation.

Opt-in, because it downloads PyTorch (into target/gradients-venv): `just gradients [PRESET]`. It runs the
example `dump_gradients`, builds the same decoder in plain PyTorch, in float64 and in float32, and compares.
float64 says how far the canonical f32 arithmetic is from the true gradient, float32 how far PyTorch's own f32 is.

The error of a tensor is |ours - theirs| / |theirs|, Euclidean norms, against LIMIT. Gradients are written as
multiples of a grid (see crates/model/src/gradient.rs); the column `grid` is the error that this rounding alone may
cause: half the spacing times sqrt(values), relative to the same norm. The check exits with 1 when a tensor misses.
"""

import argparse
import json
import math
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / "target" / "gradients-venv"
LIMIT = 1e-4


def enter_virtual_environment():
    """Continue in the virtual environment, making it first where it does not exist."""
    python = VENV / "bin" / "python"
    if Path(sys.prefix) == VENV:
        return
    if not (VENV / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        packages = ["torch", "numpy", "safetensors"]
        only_cpu = ["--index-url", "https://download.pytorch.org/whl/cpu", "--extra-index-url", "https://pypi.org/simple"]
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        if subprocess.run(pip + only_cpu + packages).returncode != 0:
            print("PyTorch's own index is out of reach; taking the larger package from PyPI", file=sys.stderr)
            subprocess.run(pip + packages, check=True)
        (VENV / "complete").touch()
    os.execv(python, [str(python), *sys.argv])


def forward(weights, model, tokens):
    """Logits [sequences, positions, vocab] of a Llama-style decoder with Hugging Face's weight names."""
    import torch

    width, heads, kv_heads = model["d_model"], model["heads"], model["kv_heads"]
    head_dim = width // heads
    sequences, positions = tokens.shape
    x = weights["model.embed_tokens.weight"][tokens]
    half = torch.arange(0, head_dim, 2, dtype=torch.float64)
    angle = torch.arange(positions, dtype=torch.float64)[:, None] / model["rope_theta"] ** (half / head_dim)
    cos, sin = (torch.cat([f(angle)] * 2, -1).to(x.dtype) for f in (torch.cos, torch.sin))
    future = torch.full((positions, positions), -math.inf, dtype=x.dtype).triu(1)

    def norm(x, gain):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + model["norm_eps"]) * gain

    def rotate(x):  # [sequences, heads, positions, head_dim], half-split pairing
        first, second = x.chunk(2, -1)
        return x * cos + torch.cat([-second, first], -1) * sin

    for layer in range(model["layers"]):
        def weight(name):
            return weights[f"model.layers.{layer}.{name}.weight"]

        y = norm(x, weight("input_layernorm"))
        q, k, v = (
            (y @ weight(f"self_attn.{name}_proj").T).view(sequences, positions, count, head_dim).transpose(1, 2)
            for name, count in (("q", heads), ("k", kv_heads), ("v", kv_heads))
        )
        if model["qk_norm"]:
            q, k = norm(q, weight("self_attn.q_norm")), norm(k, weight("self_attn.k_norm"))
        q, k = rotate(q), rotate(k)
        k, v = (t.repeat_interleave(heads // kv_heads, 1) for t in (k, v))
        scores = (q @ k.transpose(-1, -2) / math.sqrt(head_dim) + future).softmax(-1)
        mixed = (scores @ v).transpose(1, 2).reshape(sequences, positions, width)
        x = x + mixed @ weight("self_attn.o_proj").T
        y = norm(x, weight("post_attention_layernorm"))
        inner = torch.nn.functional.silu(y @ weight("mlp.gate_proj").T) * (y @ weight("mlp.up_proj").T)
        x = x + inner @ weight("mlp.down_proj").T
    return norm(x, weights["model.norm.weight"]) @ weights["lm_head.weight"].T


def theirs(case, initial, dtype):
    """PyTorch's logits, loss and gradients by name, in `dtype`."""
    import torch

    model = case["model"]
    weights = {name: tensor.to(dtype).requires_grad_() for name, tensor in initial.items()}
    shape = (case["sequences"], model["seq_len"])
    logits = forward(weights, model, torch.tensor(case["tokens"]).view(shape)).flatten(0, 1)
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(case["labels"]))
    loss.backward()
    return logits.detach().double(), loss.item(), {name: w.grad.double() for name, w in weights.items()}


def check(folder):
    """Compare one case and print its table; returns the number of misses."""
    import torch
    from safetensors.torch import load_file

    case = json.loads((folder / "case.json").read_text())
    initial, ours = load_file(folder / "weights.safetensors"), load_file(folder / "gradients.safetensors")
    logits = load_file(folder / "logits.safetensors")["logits"].double()
    exact, rounded = (theirs(case, initial, dtype) for dtype in (torch.float64, torch.float32))
    assert ours.keys() == exact[2].keys(), "the models have different tensors"

    def error(a, b):
        return ((a - b).norm() / b.norm()).item()

    rows = [
        ("loss", abs(case["loss"] - exact[1]) / exact[1], abs(rounded[1] - exact[1]) / exact[1], 0.0),
        ("logits", error(logits, exact[0]), error(rounded[0], exact[0]), 0.0),
    ]
    for name in sorted(ours):
        reference = exact[2][name]
        grid = case["grids"][name] / 2 * math.sqrt(reference.numel()) / reference.norm().item()
        rows.append((name, error(ours[name].double(), reference), error(rounded[2][name], reference), grid))
    print(f"\n{folder.name}: preset {case['preset']}, step {case['step']}, loss {case['loss']:.6f} nats")
    print(f"{'':52}{'ours':>10}{'PyTorch f32':>13}{'grid':>10}   (relative error against float64)")
    misses = 0
    for name, mine, other, grid in rows:
        missed = not mine <= LIMIT
        misses += missed
        print(f"{name:52}{mine:10.1e}{other:13.1e}{grid:10.1e}{'   MISSED' if missed else ''}")
    print(f"worst {max(row[1] for row in rows):.1e} of {LIMIT:.0e} allowed")
    return misses


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset", nargs="?", default="tiny")
    arguments = parser.parse_args()
    enter_virtual_environment()
    folder = ROOT / "target" / "gradients" / arguments.preset
    dump = ["cargo", "run", "--quiet", "-p", "tessera-model", "--example", "dump_gradients", "--"]
    subprocess.run([*dump, arguments.preset, str(folder)], cwd=ROOT, check=True)
    misses = sum(check(folder / name) for name in ("initial", "trained", "without-qk-norm"))
    print("\nall within the limit" if misses == 0 else f"\n{misses} missed the limit")
    sys.exit(misses != 0)


if __name__ == "__main__":
    main()
