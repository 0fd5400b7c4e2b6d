#!/usr/bin/env python3
"""Time a stage's forward and backward pass beside PyTorch's, turn by turn, and compare every result.

Opt-in, because it downloads PyTorch (into target/peer-venv): `just peer [ARGS]`. Both sides get the same weights,
input and output gradient (or labels), at the same shapes and number of threads, in float32. Ours and PyTorch's are
processes that live through the whole comparison and make one iteration when told, so that neither pays for its
start; their order alternates from round to round. PyTorch runs plain operations with
scaled_dot_product_attention and torch.autograd.grad; `--compile` adds the same function under torch.compile.

Printed for each number of threads: medians of tokens per second and per CPU second, the ratio ours / theirs as the
median over rounds (a round's two iterations are neighbours in time), and each process's peak memory, in all and above
what it held before its first iteration. Before that, output, loss, input gradient and every weight gradient are
compared; the script exits with 1 when one differs by more than LIMIT (|ours - theirs| / |theirs|, Euclidean norms).
"""

import argparse
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
LIMIT = 1e-4
WARM_UP = 2


def environment(arguments):
    """The python of the virtual environment, making the default one first where it does not exist."""
    folder = Path(arguments.venv) if arguments.venv else ROOT / "target" / "peer-venv"
    python = folder / "bin" / "python"
    if arguments.venv:
        if not python.exists():
            sys.exit(f"--venv: expected a virtual environment with PyTorch, got {folder} without bin/python")
        return str(python)
    if not (folder / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        packages = ["torch", "numpy"]
        only_cpu = ["--index-url", "https://download.pytorch.org/whl/cpu", "--extra-index-url", "https://pypi.org/simple"]
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        if subprocess.run(pip + only_cpu + packages).returncode != 0:
            print("PyTorch's own index is out of reach; taking the larger package from PyPI", file=sys.stderr)
            subprocess.run(pip + packages, check=True)
        (folder / "complete").touch()
    return str(python)


# PyTorch's side: a process of its own.


def memory():
    """Bytes held now and at most so far, from /proc; zeros where there is none."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0, 0
    held, most = (re.search(rf"{name}:\s+(\d+) kB", status) for name in ("VmRSS", "VmHWM"))
    return int(held[1]) * 1024, int(most[1]) * 1024


def theirs(folder, threads, compiled):
    """Answer each line on standard input: `run` with the time of one iteration, `check` with the differences."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import numpy
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    case = json.loads((folder / "case.json").read_text())
    model, part, sequences = case["model"], case["part"], case["sequences"]
    width, heads, kv_heads, positions = (model[key] for key in ("d_model", "heads", "kv_heads", "seq_len"))
    head_dim = width // heads
    first, last = part in ("first", "whole"), part in ("last", "whole")

    def read(name):
        return torch.from_numpy(numpy.fromfile(folder / name, "<f4"))

    def by_name(name):
        values, at, tensors = read(name), 0, {}
        for tensor in case["tensors"]:
            size = int(numpy.prod(tensor["shape"]))
            tensors[tensor["name"]] = values[at : at + size].view(tensor["shape"]).clone()
            at += size
        assert at == len(values), f"{name} has {len(values)} values, the tensors have {at}"
        return tensors

    weights = {name: tensor.requires_grad_() for name, tensor in by_name("weights.bin").items()}
    labels = torch.tensor(case["labels"])
    if first:
        given = torch.tensor(case["tokens"]).view(sequences, positions)
    else:
        given = read("input.bin").view(sequences, positions, width).requires_grad_()
    output_gradient = None if last else read("output_gradient.bin").view(sequences, positions, width)
    half = torch.arange(0, head_dim, 2, dtype=torch.float64)
    angle = torch.arange(positions, dtype=torch.float64)[:, None] / model["rope_theta"] ** (half / head_dim)
    cos, sin = (torch.cat([f(angle)] * 2, -1).float() for f in (torch.cos, torch.sin))

    def norm(x, gain):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + model["norm_eps"]) * gain

    def rotate(x):  # [sequences, heads, positions, head_dim], half-split pairing
        a, b = x.chunk(2, -1)
        return x * cos + torch.cat([-b, a], -1) * sin

    def stage(x, weights):
        if first:
            x = F.embedding(x, weights["model.embed_tokens.weight"])
        for layer in range(model["first_layer"], model["first_layer"] + model["blocks"]):
            w = {name: weights[f"model.layers.{layer}.{name}.weight"] for name in names}
            y = norm(x, w["input_layernorm"])
            q, k, v = (
                F.linear(y, w[f"self_attn.{name}_proj"]).view(sequences, positions, count, head_dim).transpose(1, 2)
                for name, count in (("q", heads), ("k", kv_heads), ("v", kv_heads))
            )
            if model["qk_norm"]:
                q, k = norm(q, w["self_attn.q_norm"]), norm(k, w["self_attn.k_norm"])
            q, k = rotate(q), rotate(k)
            if kv_heads != heads:
                k, v = (t.repeat_interleave(heads // kv_heads, 1) for t in (k, v))
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + F.linear(mixed.transpose(1, 2).reshape(sequences, positions, width), w["self_attn.o_proj"])
            y = norm(x, w["post_attention_layernorm"])
            inner = F.silu(F.linear(y, w["mlp.gate_proj"])) * F.linear(y, w["mlp.up_proj"])
            x = x + F.linear(inner, w["mlp.down_proj"])
        return F.linear(norm(x, weights["model.norm.weight"]), weights["lm_head.weight"]) if last else x

    names = ["input_layernorm", "post_attention_layernorm"]
    names += [f"self_attn.{name}_proj" for name in "qkvo"] + [f"mlp.{name}_proj" for name in ("gate", "up", "down")]
    names += ["self_attn.q_norm", "self_attn.k_norm"] if model["qk_norm"] else []
    function = torch.compile(stage) if compiled else stage
    wanted = ([] if first else [given]) + list(weights.values())

    def iteration():
        output = function(given, weights)
        if last:
            loss = F.cross_entropy(output.flatten(0, 1), labels)
            return output, loss, torch.autograd.grad(loss, wanted)
        return output, None, torch.autograd.grad(output, wanted, output_gradient)

    def check():
        output, loss, gradients = iteration()
        gradients = list(gradients)

        def error(ours, theirs):
            ours, theirs = ours.double().flatten(), theirs.detach().double().flatten()
            return ((ours - theirs).norm() / theirs.norm()).item()

        rows = {"output": error(read("output.bin"), output)}
        if last:
            rows["loss"] = abs(case["loss"] - loss.item()) / abs(loss.item())
        if not first:
            rows["input gradient"] = error(read("input_gradient.bin"), gradients.pop(0))
        ours = by_name("gradients.bin")
        rows.update({name: error(ours[name], gradient) for name, gradient in zip(weights, gradients)})
        return rows

    def answer(value):
        print(json.dumps(value), flush=True)

    answer({"ready": True, "resident_bytes": memory()[0], "version": torch.__version__})
    for line in sys.stdin:
        if line.strip() == "check":
            answer(check())
            continue
        wall, cpu = time.perf_counter(), time.process_time()
        result = iteration()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        del result
        held, most = memory()
        answer({"wall_s": wall, "cpu_s": cpu, "resident_bytes": held, "peak_bytes": most})


# Our side: tells both when to run.


class Child:
    """A process that answers one line of JSON to each line."""

    def __init__(self, name, command):
        self.name, self.samples = name, []
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ready = self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended with status {self.process.wait()}; its own message is above")
        return json.loads(line)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.answer()

    def run(self):
        self.samples.append(self.ask("run"))

    def end(self):
        self.process.stdin.close()
        self.process.wait()

    def median(self, key, start=0):
        return statistics.median(sample[key] for sample in self.samples[start:])


def machine():
    """The machine as the stored results of `tessera bench` name it."""
    try:
        cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())[1].strip()
    except (OSError, TypeError):
        cpu = platform.machine()
    return cpu, re.sub(r"[^a-z0-9]+", "-", f"{cpu}-{os.cpu_count()}".lower()).strip("-")


def progress(text):
    """Show what is being done, on one line of a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def compare(arguments, ours, python, folder, shape, threads):
    """Measure with `threads` threads; returns result rows, the differences found and PyTorch's version."""
    tokens = arguments.tokens
    script = [python, str(Path(__file__).resolve()), "--child", str(folder), "--threads", str(threads)]
    mine = Child("ours", [*ours, "stage", *shape, "--threads", str(threads), "--serve"])
    peers = [Child("eager", script)]
    if arguments.compile:
        peers.append(Child("compile", [*script, "--compile"]))
    children = [mine, *peers]
    for number in range(WARM_UP + arguments.rounds):
        order = children if number % 2 == 0 else children[::-1]
        for child in order:
            progress(f"round {number - WARM_UP + 1}/{arguments.rounds} with {threads} threads: {child.name}")
            child.run()
    progress("")
    peaks = {child.name: child.samples[-1]["peak_bytes"] for child in children}
    # Last, because comparing needs memory of its own.
    differences = {peer.name: peer.ask("check") for peer in peers}
    rows = []
    for child in children:
        child.samples = child.samples[WARM_UP:]
        row = {
            "name": f"model::stage/{arguments.keys}/side={child.name}/threads={threads}",
            "tokens_per_s": tokens / child.median("wall_s"),
            "tokens_per_cpu_s": tokens / child.median("cpu_s"),
            "peak_MB": peaks[child.name] / 1e6,
            "peak_above_start_MB": (peaks[child.name] - child.ready["resident_bytes"]) / 1e6,
        }
        if child is not mine:
            pairs = list(zip(mine.samples, child.samples))
            for key in ("wall", "cpu"):
                ratios = [theirs[f"{key}_s"] / own[f"{key}_s"] for own, theirs in pairs]
                row[f"ours_over_theirs_{key}"] = statistics.median(ratios)
                row[f"ours_over_theirs_{key}_rounds"] = [round(ratio, 3) for ratio in ratios]
            row["memory_ratio"] = peaks["ours"] / peaks[child.name]
            own = peaks["ours"] - mine.ready["resident_bytes"]
            row["memory_above_start_ratio"] = own / max(peaks[child.name] - child.ready["resident_bytes"], 1)
            row["worst_difference"] = max(differences[child.name].values())
        rows.append(row)
        child.end()
    return rows, differences, peers[0].ready["version"]


def table(rows):
    """Lines of the result, aligned."""
    width = max(len(row["name"]) for row in rows)
    yield f"{'':{width}}  tokens/s  tokens/CPU s  ratio wall  ratio CPU  peak MB  above start  ratio  ratio above start"
    for row in rows:
        line = f"{row['name']:{width}}  {row['tokens_per_s']:8.0f}  {row['tokens_per_cpu_s']:12.0f}"
        if "memory_ratio" in row:
            line += f"  {row['ours_over_theirs_wall']:10.3f}  {row['ours_over_theirs_cpu']:9.3f}"
        else:
            line += " " * 23
        line += f"  {row['peak_MB']:7.1f}  {row['peak_above_start_MB']:11.1f}"
        if "memory_ratio" in row:
            line += f"  {row['memory_ratio']:5.3f}  {row['memory_above_start_ratio']:17.3f}"
        yield line


def store(result, fingerprint):
    """Replace the stored rows of the same names; the file is never written in place."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"peer-pytorch-{fingerprint}.json"
    stored = json.loads(path.read_text()) if path.exists() else {"kind": "peer-pytorch", "rows": {}}
    about = {key: result[key] for key in ("date", "revision", "load", "rounds", "torch")}
    stored["machine"] = result["machine"]
    stored["rows"].update({row["name"]: {**about, **row} for row in result["rows"]})
    beside = path.with_suffix(f".json.{os.getpid()}")
    beside.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n")
    beside.rename(path)
    return path


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1, got {text}")
    return number


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog="Other flags are those of `tessera bench stage`, for example --preset base."
    )
    parser.add_argument("--threads", default="1,2", help="numbers of threads, default 1,2")
    parser.add_argument("--rounds", type=positive, default=9, help="rounds of each, default 9")
    parser.add_argument("--compile", action="store_true", help="also measure torch.compile")
    parser.add_argument("--venv", help="virtual environment that has torch and numpy, instead of target/peer-venv")
    parser.add_argument("--ours", help="the program to measure instead of building tessera-bench")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--store", action="store_true", help="keep the result under bench/results")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments, shape = parser.parse_known_args()
    try:
        threads = [positive(number) for number in arguments.threads.split(",")]
    except ValueError:
        parser.error(f"--threads: expected numbers like 1,2, got {arguments.threads}")
    if arguments.child:
        return theirs(arguments.child, threads[0], arguments.compile)
    python = environment(arguments)
    if arguments.ours:
        ours = [arguments.ours]
    else:
        subprocess.run(["cargo", "build", "--quiet", "--release", "-p", "tessera-bench"], cwd=ROOT, check=True)
        ours = [str(Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "tessera-bench")]
    folder = ROOT / "target" / "peer"
    subprocess.run([*ours, "stage", *shape, "--threads", str(max(threads)), "--dump", str(folder)], check=True)
    case = json.loads((folder / "case.json").read_text())
    arguments.tokens = case["sequences"] * case["model"]["seq_len"]
    arguments.keys = f"{case['keys']}/pass={case['pass']}"
    cpu, fingerprint = machine()
    revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    result = {
        "kind": "peer-pytorch", "machine": {"cpu": cpu, "cores": os.cpu_count()},
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "revision": os.environ.get("TESSERA_REVISION") or revision.stdout.strip() or None,
        "load": os.getloadavg()[0], "rounds": arguments.rounds, "limit": LIMIT, "rows": [], "differences": {},
    }
    for count in threads:
        rows, differences, result["torch"] = compare(arguments, ours, python, folder, shape, count)
        result["rows"] += rows
        result["differences"][str(count)] = differences
    missed = sorted(
        {f"{name} ({side}, {count} threads): {error:.1e}"
         for count, sides in result["differences"].items() for side, errors in sides.items()
         for name, error in errors.items() if not error <= LIMIT}
    )
    if arguments.store and not missed:
        result["stored"] = str(store(result, fingerprint))
    if arguments.json:
        print(json.dumps(result))
    else:
        print(f"{arguments.keys}: {arguments.tokens} tokens, PyTorch {result['torch']} on {cpu}, load {result['load']:.2f}\n")
        print("\n".join(table(result["rows"])))
        worst = max(error for sides in result["differences"].values() for errors in sides.values() for error in errors.values())
        print(f"\nratio: ours / theirs, median over {arguments.rounds} rounds; of memory, less is better")
        print(f"results differ by at most {worst:.1e} of {LIMIT:.0e} allowed")
    for line in missed:
        print(f"MISSED {line}", file=sys.stderr)
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
