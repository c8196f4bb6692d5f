"""The model card: what a model is, what it came from, how it was trained and scored, under which terms, what it is not for.

    python -m axolotl_configs.card build/models/tiny

merge.py writes a first card; this command writes it again with what is there by now: the run's configuration, the figures of curves.py, the
data's manifest, the scores of `make eval`. No private path goes into it: of a local base only the last part of its path is named.
"""

import argparse
import re
import sys
from importlib.metadata import version
from pathlib import Path

import yaml

from data_prep.files import BadInput, git_commit, read_json, save

# what of report.md is folded or a picture
FOLDED = re.compile(r"^<details>.*?</details>|^!\[[^\n]*$", re.DOTALL | re.MULTILINE)
SHOWN = [  # of a configuration: what somebody who repeats the run needs
    *("base_model", "adapter", "load_in_4bit", "quantize_moe_experts", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "lora_target_parameters"),
    *("lora_modules_to_save", "sequence_len", "sample_packing", "micro_batch_size", "gradient_accumulation_steps", "num_epochs", "max_steps", "learning_rate"),
    *("lr_scheduler", "warmup_ratio", "warmup_steps", "optimizer", "weight_decay", "max_grad_norm", "bf16", "attn_implementation", "deepspeed", "seed"),
]
NOTICE = """> **For research, not for clinical use.** The answers can be wrong, in both languages; nobody should be diagnosed, treated or reassured by them.
>
> <p dir="rtl" lang="ar"><b>للأغراض البحثية فقط، وليس للاستخدام السريري.</b>
> قد تكون الإجابات خاطئة باللغتين، فلا يجوز الاعتماد عليها في التشخيص أو العلاج أو الاطمئنان.</p>"""
SNIPPET = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model_id = "."  # this repository, by its name on the Hub or the folder that holds it
tokenizer = AutoTokenizer.from_pretrained(model_id)
model = AutoModelForCausalLM.from_pretrained(model_id, dtype="auto", device_map="auto")
chat = [{"role": "user", "content": "ما هو فقر الدم؟"}]
inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True).to(model.device)
answer = model.generate(**inputs, max_new_tokens=256, do_sample=False)
print(tokenizer.decode(answer[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
```"""


INTO = {"published": "as published", "nf4": "rounded to nf4, as training saw it"}


def named(base: str) -> str:
    """A base model as a card may name it."""
    return f"a local folder called `{Path(base).name}`" if base.startswith(("/", "build/", ".")) or Path(base).exists() else base


def model_card(name: str, base: str, folder: Path, merge: dict) -> str:
    """The README.md of a model folder.

    `folder` is BUILD/models/NAME, of which what is there is told; `merge` is the merged folder's merge.json.
    """
    adapter = read_json(folder / "adapter" / "adapter_config.json")
    settings = settings_of(folder)
    front = {
        "language": ["en", "ar"],
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["medical", "mixtral", "moe", "bilingual", "arabic"],
        "license": "other",
        "license_name": "terms-of-base-and-data",
    }
    if named(base) == base:
        front |= {"base_model": base, "base_model_relation": "finetune"}
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---",
        f"# {name}",
        NOTICE,
        "A bilingual English and Arabic medical chat model, rebuilt after BiMediX (arXiv 2402.13253) with the public recipe of this project. "
        "It is not the authors' model.",
        f"- Base: {named(base)}\n"
        f"- Training: QLoRA of rank {adapter['r']} on attention, experts and router\n"
        f"- Merge: in float32, written in {merge['dtype']}, into the base {INTO[merge['into']]}",
        "## Prompt\n\nThe chat template is in the tokenizer: `<s>[INST] question [/INST] answer</s>[INST] next question [/INST]`. A system message "
        f"opens the first question, with an empty line after it.\n\n{SNIPPET}",
        _training(folder, settings) if settings else "",
        _data(folder, settings),
        _scores(folder.parent.parent / "eval" / name / "report.md"),
        "## Limits\n\n- It can state wrong facts and wrong doses with confidence, in either language.\n- It does not know the patient, and does not know "
        "what it does not know.\n- Arabic rows and chats of its training data, where there are any, were made by a language model.",
        "## Terms\n\nThose of the base model and of each source of the training data (docs/DATA.md of the project); the project's code is Apache-2.0.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(rows: dict[str, object]) -> str:
    return "| | |\n| --- | --- |\n" + "\n".join(f"| {key} | {value} |" for key, value in rows.items())


def settings_of(folder: Path) -> dict:
    """The configuration that a model's run was given; empty where there was no run."""
    path = folder / "config.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _training(folder: Path, settings: dict) -> str:
    """Hyper-parameters, versions, commit, and the run's figures where curves.py drew them."""
    shown = {f"`{key}`": f"`{settings[key]}`" for key in SHOWN if settings.get(key) is not None}
    shown["`base_model`"] = named(settings["base_model"])
    packages = ", ".join(f"{package} {version(package)}" for package in ("axolotl", "transformers", "peft", "bitsandbytes", "deepspeed", "torch"))
    text = f"## Training\n\n`make train CONFIG=axolotl_configs/{folder.name}.yaml` at commit `{git_commit()}`, with {packages}.\n\n{_table(shown)}"
    if (folder / "figures" / "router.png").is_file():
        text += "\n\n![Training loss](figures/loss.png)\n\n![Which experts serve Arabic, which English](figures/router.png)"
    return text


def _data(folder: Path, settings: dict) -> str:
    """How many rows and tokens were trained on, and the data set's own card."""
    fitted = folder / "rows" / "manifest.json"
    if not fitted.is_file():
        return ""
    files = read_json(fitted)["files"]
    rows = {
        name: f"{counts['rows_out']:,} rows, {counts['tokens']:,} tokens; {counts['exchanges_set_aside']:,} exchanges too long"
        for name, counts in files.items()
    }
    record = folder / "run.json"
    made = f"The recipe `{Path(read_json(record)['data']).name}` of the project; its DATASET_CARD.md lists sources and terms." if record.is_file() else ""
    return f"## Data\n\n{made} Longest row {settings.get('sequence_len', '?')} tokens.\n\n{_table(rows)}"


def _scores(report: Path) -> str:
    """The tables of accuracies of `make eval`, where it has been run, without pictures and commands: these name files that do not come along."""
    if not report.is_file():
        return "## Evaluation\n\nNot yet scored: `make eval` writes the nine benchmarks in both languages."
    sections = [section.split("\n", 1) for section in report.read_text(encoding="utf-8").split("\n## ")[1:]]
    tables = {title: FOLDED.sub("", text).strip() for title, text in sections if title.split(" (")[0] in ("Bilingual", "English", "Arabic")}
    how = "Accuracy in percent ± standard error, with its 95% interval, `make eval`."
    return f"## Evaluation\n\n{how}\n\n" + "\n\n".join(f"### {title}\n\n{table}" for title, table in tables.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="BUILD/models/NAME, trained and merged")
    args = parser.parse_args()
    try:
        merged = args.folder / "merged"
        if not (merged / "merge.json").is_file():
            raise BadInput(f"{merged} holds no merge.json: run `make train` first")
        settings = settings_of(args.folder)
        if not settings:
            raise BadInput(f"{args.folder} holds no config.yaml: `make train` writes it")
        text = model_card(args.folder.name, settings["base_model"], args.folder, read_json(merged / "merge.json"))
        for figure in ("loss.png", "router.png"):
            if f"figures/{figure}" in text:
                save(merged / "figures" / figure, (args.folder / "figures" / figure).read_bytes())
        save(merged / "README.md", text.encode())
    except (BadInput, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{merged / 'README.md'}: written")


if __name__ == "__main__":
    main()
