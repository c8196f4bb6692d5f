"""Read and write a model's safetensors files a tensor or a layer at a time; used by merge.py and verify.py."""

import re
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from axolotl_configs.tiny_base import disk_faults
from data_prep.files import write_json

LAYER = re.compile(r"(?:base_model\.model\.)?model\.layers\.(\d+)\.")
# a file is closed once it holds this much, so a model of many GiB has a file for each layer, and the tiny one has one file; bounds the memory
SHARD = 64 * 2**20


class Tensors:
    """The tensors of a folder's safetensors files by name, read when asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.where: dict[str, Path] = {}
        for path in sorted(folder.glob("*.safetensors")):
            try:
                with safe_open(path, "pt") as file:
                    self.where |= dict.fromkeys(file.keys(), path)
            except SafetensorError as error:
                raise ValueError(f"{path} cannot be read ({error}): write or fetch it again, it may be cut short") from error
        if not self.where:
            raise FileNotFoundError(f"{folder} holds no .safetensors file")

    def __getitem__(self, name: str) -> torch.Tensor:
        with safe_open(self.where[name], "pt") as file:
            return file.get_tensor(name)

    def layers(self) -> dict[int | None, list[str]]:
        """The names of the tensors of each decoder layer, in order; under None those outside of layers (embeddings, last norm, head)."""
        found: dict[int | None, list[str]] = {}
        for name in sorted(self.where):
            match = LAYER.match(name)
            found.setdefault(int(match[1]) if match else None, []).append(name)
        return dict(sorted(found.items(), key=lambda item: -1 if item[0] is None else item[0]))


def folder_of(base: str) -> Path:
    """The folder of a base model: itself, or the Hub's files of that id, fetched where they are not there yet."""
    folder = Path(base)
    return folder if folder.is_dir() else Path(snapshot_download(base, allow_patterns=["*.safetensors", "*.json", "tokenizer*"]))


class Writer:
    """Writes tensors to a folder in files of about SHARD bytes, or a layer each where layers are larger; `close` names the files and writes the index."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.held: dict[str, torch.Tensor] = {}
        self.files: list[tuple[Path, list[str], int]] = []

    def add(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take the tensors of a layer out of `tensors`; what is held goes to the disk once it is SHARD bytes."""
        self.held |= tensors
        tensors.clear()  # the caller's hold on them would keep two layers in memory
        if sum(tensor.nbytes for tensor in self.held.values()) >= SHARD:
            self._flush()

    def _flush(self) -> None:
        path = self.folder / f"part-{len(self.files) + 1}.safetensors"
        with disk_faults():
            save_file(self.held, path, metadata={"format": "pt"})
        self.files.append((path, list(self.held), sum(tensor.nbytes for tensor in self.held.values())))
        self.held = {}

    def close(self) -> int:
        """Returns the bytes of all tensors. One file is model.safetensors; several are numbered and have an index, as transformers has it."""
        if self.held:
            self._flush()
        total = sum(size for *_, size in self.files)
        if len(self.files) == 1:
            self.files[0][0].rename(self.folder / "model.safetensors")
            return total
        index = {}
        for number, (path, names, _) in enumerate(self.files, start=1):
            name = f"model-{number:05}-of-{len(self.files):05}.safetensors"
            path.rename(self.folder / name)
            index |= dict.fromkeys(names, name)
        write_json(self.folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": dict(sorted(index.items()))})
        return total
