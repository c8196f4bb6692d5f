"""How fast a server answers: tokens/s, first token, from token to token, whole answer (p50, p95, p99), by the number of clients.

    python -m eval.speed http://127.0.0.1:8000/v1 --model tiny --clients 1,4,16 --tokens 64
    python -m eval.speed ours=http://127.0.0.1:8000/v1 stock=http://127.0.0.1:9000/v1 --model tiny     # side by side, in turns
    python -m eval.speed --shapes                                                                       # sparse against dense, no server

For any OpenAI-compatible server that streams; the key is OPENAI_API_KEY. Writes speed.md, speed.json, speed.svg and speed.png.
"""

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path

from data_prep.files import BadInput, written_aside
from eval import load

COLUMNS = {"first_token": "first token", "between_tokens": "token to token", "pauses": "piece to piece", "whole_answer": "whole answer"}
NOTE = (
    "Milliseconds, p50 / p95 / p99. Closed loop: each client sends its next request when the one before is answered. Token to token: the mean of an answer "
    "after its first piece; piece to piece: what a reader sees, where a server sends several tokens at once. ~: the server did not count its tokens, and "
    "a piece stands for one."
)


def table(found: dict[str, dict]) -> str:
    """A Markdown table, a row per server and number of clients."""
    lines = [["server", "clients", "requests", "failed", "tokens/s", *COLUMNS.values()]]
    lines.append(["---"] * len(lines[0]))
    for name, result in found.items():
        for row in result["levels"]:
            times = [" / ".join(f"{1000 * value:.0f}" for value in row[key].values()) or "-" for key in COLUMNS]
            rate = ("" if row["tokens_exact"] else "~") + f"{row['tokens_per_second']:,.0f}"
            lines.append([name, str(row["clients"]), str(row["requests"]), str(row["failed"]), rate, *times])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def figure(found: dict[str, dict], folder: Path) -> None:
    """Throughput and three latencies over the number of clients, as SVG and PNG. Latencies on a logarithmic axis: servers differ by factors of 50."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams["svg.hashsalt"] = "speed"  # the same figure from the same numbers
    drawing, axes = pyplot.subplots(1, 4, figsize=(15, 3.6), layout="constrained")
    every = sorted({row["clients"] for result in found.values() for row in result["levels"]})
    styles = {"p50": "-", "p95": "--", "p99": ":"}
    for colour, (name, result) in zip([f"C{i % 10}" for i in range(len(found))], found.items(), strict=True):
        rows = result["levels"]
        clients = [row["clients"] for row in rows]
        axes[0].plot(clients, [row["tokens_per_second"] for row in rows], marker="o", color=colour, label=name)
        for axis, key in zip(axes[1:], ("first_token", "between_tokens", "whole_answer"), strict=True):
            for p, style in styles.items():
                values = [1000 * row[key].get(p, float("nan")) for row in rows]
                axis.plot(clients, values, style, marker=".", color=colour)
    for axis, title in zip(
        axes, ["tokens/s, all clients together", *(f"{COLUMNS[key]}, ms" for key in ("first_token", "between_tokens", "whole_answer"))], strict=True
    ):
        axis.set(title=title, xlabel="clients", xscale="log")
        axis.set_xticks(every, labels=every, minor=False)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        if axis is not axes[0]:
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_minor_formatter("")
    axes[0].set_ylim(bottom=0)
    axes[0].legend()
    drawing.suptitle("line p50, dashes p95, dots p99", y=0, va="top", fontsize="medium")
    for kind in ("svg", "png"):
        drawing.savefig(folder / f"speed.{kind}", dpi=150, bbox_inches="tight", metadata={"Date": None} if kind == "svg" else None)
    pyplot.close(drawing)


def page(found: dict[str, dict], args: argparse.Namespace, machine: dict) -> str:
    """speed.md."""
    first = "; ".join(f"{name} {result['first_answer']['seconds']:.2f} s" for name, result in found.items())
    parts = [
        f"# Speed of {args.model}\n\n**For research, not for clinical use.**\n\n{table(found)}\n{NOTE}\n",
        f"- answers of {args.tokens} tokens at most{', the end token ignored' if args.ignore_eos else ''}, temperature {args.temperature:g}",
        f"- first answer, alone and not counted: {first}",
        f"- the load generator's machine: {machine['cores']} cores; load average {machine['load_before']:.1f} before, {machine['load_after']:.1f} after",
    ]
    errors = [f"- {name}, {row['clients']} clients: {error}" for name, result in found.items() for row in result["levels"] for error in row["errors"]]
    return "\n".join(parts + errors) + "\n"


def servers(args: argparse.Namespace) -> dict[str, load.Target]:
    """The servers named on the command line, as NAME=URL or URL."""
    targets = {}
    for word in args.servers:
        name, url = word.split("=", 1) if "=" in word.split("://")[0] else (args.model, word)
        if not url.startswith(("http://", "https://")):
            sys.exit(f"error: {url!r} is no address: it begins with http:// or https:// and ends with /v1 as a rule")
        key = os.environ.get("OPENAI_API_KEY", "")
        targets[name] = load.Target(url, args.model, key, args.tokens, args.ignore_eos, args.temperature)
    if len(targets) < len(args.servers):
        sys.exit("error: give each server a name of its own, as NAME=URL")
    return targets


def measure(args: argparse.Namespace) -> str:
    """Ask the servers, write the folder; returns what is printed."""
    targets = servers(args)
    machine = {"cores": len(os.sched_getaffinity(0)), "load_before": os.getloadavg()[0]}
    found = asyncio.run(load.measure(targets, args.clients, args.requests))
    machine["load_after"] = os.getloadavg()[0]
    for name, result in found.items():
        if result["first_answer"]["error"]:
            sys.exit(f"error: {name} at {targets[name].url} gave no answer: {result['first_answer']['error']}")
    text = page(found, args, machine)
    with written_aside(args.out) as aside:
        settings = {key: getattr(args, key) for key in ("model", "servers", "clients", "tokens", "requests", "ignore_eos", "temperature")}
        (aside / "speed.json").write_text(json.dumps({"settings": settings, "machine": machine, "servers": found}, indent=1) + "\n", encoding="utf-8")
        (aside / "speed.md").write_text(text, encoding="utf-8")
        figure(found, aside)
    return text


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("servers", nargs="*", metavar="URL", help="up to /v1; NAME=URL where there are several")
    parser.add_argument("--model", default="tiny", help="its name at the server (%(default)s)")
    parser.add_argument("--clients", type=lambda text: [int(number) for number in text.split(",")], default=[1, 4, 16], help="(1,4,16)")
    parser.add_argument("--tokens", type=int, default=64, help="of each answer, at most (%(default)s)")
    parser.add_argument("--requests", type=int, help="per number of clients (default: four a client, eight at least)")
    parser.add_argument("--temperature", type=float, default=0.0, help="(%(default)s)")
    parser.add_argument("--ignore-eos", action="store_true", help="all answers have --tokens tokens, at servers that know this field (vLLM, SGLang, ours)")
    parser.add_argument("--shapes", action="store_true", help="no server: the paper's headline, a sparse against a dense shape on random weights")
    parser.add_argument("--out", type=Path, default=Path("build/speed"), help="folder (%(default)s)")
    args = parser.parse_args()
    if bool(args.servers) == args.shapes:
        parser.error("name a server, or --shapes")
    return args


def main() -> None:
    args = parse()
    if args.out.is_dir() and (others := [path.name for path in args.out.iterdir() if path.stem != "speed"]):
        sys.exit(f"error: {args.out} is replaced as a whole, and it holds {others[0]}: name another folder with --out")
    try:
        if args.shapes:
            from eval import shapes  # torch and transformers: seconds that a load generator does not need

            text = shapes.measure(args.out)
        else:
            text = measure(args)
    except BadInput as error:
        sys.exit(f"error: {error}")
    print(text)
    print(f"{args.out}: speed.md, speed.json" + ("" if args.shapes else ", speed.svg, speed.png"))


if __name__ == "__main__":
    main()
