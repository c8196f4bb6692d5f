"""Put a merged model and its adapter on the Hugging Face Hub. A dry run unless --upload is given.

    python -m axolotl_configs.publish build/models/tiny/merged --repo owner/name
    HF_TOKEN=.. python -m axolotl_configs.publish build/models/tiny/merged --repo owner/name --upload

The merged model goes to owner/name, the adapter to owner/name-adapter, each as one commit with the card. The card is written again first, with
figures and scores as they are now; then verify.py must pass, and nothing may name a private path. Repositories are private unless --public is given.
"""

import argparse
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from axolotl_configs import config as configs
from data_prep import hub
from data_prep.files import BadInput, read_json, sha256, write_json, written_aside

REPLACED = ["*.safetensors", "*.json", "*.jinja", "README.md", "figures/*"]  # what an upload replaces: old shards would be loaded beside the new
PRIVATE = (b"/home/", b"/root/", b"/mnt/", b"/Users/")


def run(module: str, *arguments: object) -> None:
    """One of our own commands; BadInput with what it said when it fails."""
    ran = subprocess.run([sys.executable, "-m", module, *map(str, arguments)], cwd=configs.PROJECT, capture_output=True, text=True, check=False)
    if ran.returncode:
        said = [line for line in ran.stderr.splitlines() if line.startswith(("error:", "FAULT:"))] or ran.stderr.splitlines()[-1:]
        raise BadInput(f"{module.rpartition('.')[2]} says: {'; '.join(said[:3])}")


def adapter_folder(folder: Path, out: Path) -> Path:
    """The adapter as it may be published, with the merged model's card and without the path of the machine that it was trained on."""
    with written_aside(out) as aside:
        for file in (folder / "adapter").iterdir():
            if file.suffix in (".safetensors", ".json", ".jinja"):
                shutil.copy(file, aside)
        told = read_json(aside / "adapter_config.json")
        base = told["base_model_name_or_path"]
        write_json(aside / "adapter_config.json", told | {"base_model_name_or_path": Path(base).name if Path(base).is_dir() else base})
        shutil.copy(folder / "merged" / "README.md", aside)
        if (folder / "merged" / "figures").is_dir():
            shutil.copytree(folder / "merged" / "figures", aside / "figures")
    return out


def listed(folder: Path) -> list[Path]:
    """The files that would be uploaded, printed with size and checksum; BadInput names one that tells of somebody's machine."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        if path.suffix in (".json", ".md", ".jinja") and any(place in path.read_bytes() for place in PRIVATE):
            raise BadInput(f"{path} names a folder of this machine: take it out before it is published")
        print(f"  {path.stat().st_size:>15,} bytes  {sha256(path)[:16]}  {path.relative_to(folder)}")
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="BUILD/models/NAME/merged")
    parser.add_argument("--repo", required=True, help="owner/name on the Hub")
    parser.add_argument("--upload", action="store_true", help="upload what is listed; without it nothing leaves this machine")
    parser.add_argument("--public", action="store_true", help="create the repositories as public ones (default: private)")
    args = parser.parse_args()
    try:
        hub.check(args.repo, args.upload)
        folder = args.model.resolve().parent
        if args.model.resolve().name != "merged" or not (folder / "adapter").is_dir() or not (folder / "config.yaml").is_file():
            raise BadInput(f"{args.model}: name the folder `merged` of a model that was trained here, BUILD/models/NAME/merged")
        run("axolotl_configs.card", folder)
        base = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["base_model"]
        run("axolotl_configs.verify", "--base", base, "--adapter", folder / "adapter", "--merged", folder / "merged")
        print("verified: the merged model is base + adapter")
        parts = {args.repo: folder / "merged", f"{args.repo}-adapter": adapter_folder(folder, folder / "publish-adapter")}
        for repo, part in parts.items():
            print(f"{repo} on the Hugging Face Hub, a model; made {'public' if args.public else 'private'} if it is not there yet")
            listed(part)
        if not args.upload:
            said = shlex.join(["python", "-m", "axolotl_configs.publish", *sys.argv[1:], "--upload"])
            print(f"nothing was uploaded. This uploads it, with a token in HF_TOKEN:\n  {said}")
            return
        for repo, part in parts.items():
            print(f"uploaded to {hub.upload(part, repo, 'model', args.public, REPLACED, 'Upload the model')}")
    except (BadInput, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
