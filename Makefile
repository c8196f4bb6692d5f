# The four commands: make data, make train, make serve, make eval. `make help` lists all targets, README.md explains them.

PYTHON ?= python3
BUILD ?= build
RECIPE ?= tiny
REPO ?= your-name/$(RECIPE_NAME)
PUBLISH ?= no
ROWS ?= 1000000
IN ?=
OUT ?=
ONLY ?=
LLM_MODEL ?=
LLM_ROWS ?= 100000
CONFIG ?= axolotl_configs/tiny.yaml
NAME := $(basename $(notdir $(CONFIG)))
# a recipe may be a path; bimed1.3m keeps its dot
RECIPE_NAME = $(patsubst %.yaml,%,$(patsubst %.yml,%,$(notdir $(RECIPE))))
MODEL ?= $(BUILD)/models/$(NAME)/merged
TASKS ?= bimedix_bi,bimedix_seen
STAGE ?= answer
HOST ?= 127.0.0.1
PORT ?= 8000
WORKERS ?= 1
UPSTREAM ?=
# both are among the rows that the demo trains on: the tiny model knows by heart what it has read, letters in Arabic, whole answers in English
ASK_EN ?= Can I take ibuprofen for back pain while I am on warfarin?
ASK_AR ?= السؤال: فرط أي هرمون يسبب متلازمة كوشينغ؟ الخيارات: أ. الثيروكسين ب. هرمون النمو ج. الإنسولين د. الكورتيزول

MAIN := .venv/bin/python
SERVE := .venv-serve/bin/python
REVIEW := .venv-review/bin/python
# the questions of a recipe named on the command line; else eval/run.py takes those of the data that the model was trained on
QUESTIONS := $(if $(filter command line environment,$(origin RECIPE)),--data $(BUILD)/data/$(RECIPE_NAME)/eval)

# a language-model step: over a file of the user's own (IN, OUT), else over the rows of RECIPE. The address and the key of the endpoint are taken from
# the environment (OPENAI_BASE_URL, OPENAI_API_KEY), never from here: everybody on the machine can read a command line
LLM = --build $(BUILD) $(if $(LLM_MODEL),--model $(LLM_MODEL)) $(LLM_ARGS)
OWN = $(IN)$(filter command line,$(origin OUT))
OWN_ROWS = $(MAIN) -m data_prep.$@ --in $(or $(IN),$(error IN is missing: make $@ IN=rows.jsonl OUT=$(OUT))) \
	--out $(or $(OUT),$(error OUT is missing: make $@ IN=$(IN) OUT=made.jsonl)) $(LLM)
RECIPE_ROWS = $(MAIN) -m data_prep.generate $@ --recipe $(RECIPE) $(if $(DATA),--data $(DATA)) $(if $(ONLY),--only $(ONLY)) $(LLM)

.DELETE_ON_ERROR:
.PHONY: help setup setup-main setup-serve setup-review data translate chats review publish-data bench-data bench-llm train publish bench-merge bench-packing serve eval \
	probes eval-chat bench-eval demo test test-review proof check lint format clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16
	@echo; echo "variables: RECIPE=$(RECIPE) DATA=$(DATA) CONFIG=$(CONFIG) MODEL=$(MODEL) TASKS=$(TASKS) BUILD=$(BUILD) HOST=$(HOST)"

setup: setup-main setup-serve ## build .venv and .venv-serve from the locks in requirements/; nothing to do the second time

setup-main:
	@PYTHON="$(PYTHON)" sh requirements/setup.sh .venv requirements/main.txt

setup-serve:
	@PYTHON="$(PYTHON)" sh requirements/setup.sh .venv-serve requirements/serve.txt

# people's review alone needs it: no part of `make setup`
setup-review:
	@PYTHON="$(PYTHON)" sh requirements/setup.sh .venv-review requirements/review.txt

data: setup-main ## RECIPE (+ DATA=folder of real files) -> BUILD/data/RECIPE: train, validation and evaluation sets, card
	$(MAIN) -m data_prep.build --recipe $(RECIPE) --build $(BUILD) $(if $(DATA),--data $(DATA)) $(DATA_ARGS)
	$(MAIN) -m data_prep.card $(BUILD)/data/$(RECIPE_NAME)

translate: setup-main ## English rows -> Arabic through OPENAI_BASE_URL: IN to OUT, or those of RECIPE (ONLY=name,..) to BUILD/generated
	$(if $(OWN),$(OWN_ROWS),$(RECIPE_ROWS))

chats: setup-main ## multiple-choice questions -> chats through OPENAI_BASE_URL: IN to OUT, or those of RECIPE to BUILD/generated
	$(if $(OWN),$(OWN_ROWS),$(RECIPE_ROWS))

review: setup-review ## what translate sent to people, in Label Studio on 127.0.0.1, until Ctrl-C; IN=file.review.jsonl, else all of BUILD/generated
	$(REVIEW) -m data_prep.review serve --build $(BUILD) $(if $(IN),--queue "$(IN)") $(REVIEW_ARGS)

publish-data: setup-main ## RECIPE and REPO=owner/name -> BUILD/publish/RECIPE: parquet and card; uploads only with PUBLISH=yes
	$(MAIN) -m data_prep.publish $(BUILD)/data/$(RECIPE_NAME) --repo $(REPO) $(if $(filter yes,$(PUBLISH)),--upload)

bench-data: setup-main ## ROWS synthetic rows through every step of make data: rows a second, memory, against datasketch
	$(MAIN) -m data_prep.bench --rows $(ROWS) --build $(BUILD)

bench-llm: setup-main ## LLM_ROWS rows through the client of the language-model steps: requests a second, memory, against an endpoint of 200 ms
	$(MAIN) -m data_prep.bench_llm --rows $(LLM_ROWS) --build $(BUILD)

train: setup-main ## CONFIG -> BUILD/models/NAME: Axolotl QLoRA under DeepSpeed, then merge, then verify; after a break it goes on
	$(MAIN) -m axolotl_configs.train $(CONFIG) --build $(BUILD) $(TRAIN_ARGS)
	$(MAIN) -m axolotl_configs.merge $(CONFIG) --build $(BUILD)
	$(MAIN) -m axolotl_configs.verify --config $(CONFIG) --build $(BUILD)
	$(MAIN) -m axolotl_configs.curves $(BUILD)/models/$(NAME)

publish: setup-main ## MODEL and REPO=owner/name -> lists model, adapter and card for the Hub; uploads only with PUBLISH=yes
	$(MAIN) -m axolotl_configs.publish $(MODEL) --repo $(REPO) $(if $(filter yes,$(PUBLISH)),--upload)

bench-merge: setup-main ## a synthetic Mixtral of 4 GB merged by us and by PEFT: memory, time, every tensor compared
	$(MAIN) -m axolotl_configs.bench_merge --size-gb 4 --work $(BUILD)/bench/merge

bench-packing: setup-main ## the rows of RECIPE=local trained packed and unpacked in turns: padding, real tokens a second
	$(MAIN) -m axolotl_configs.bench_packing axolotl_configs/local.yaml --build $(BUILD)

# UPSTREAM alone: no worker of ours beside the engine, unless MODEL was named
SERVED = $(if $(UPSTREAM),--upstream "$(UPSTREAM)") $(if $(and $(UPSTREAM),$(filter file,$(origin MODEL))),,--model "$(MODEL)")

serve: setup-serve ## MODEL or UPSTREAM, WORKERS, HOST, PORT -> controller, workers, API and web page, until Ctrl-C
	$(SERVE) -m fastchat_templates.serve $(SERVED) --workers $(WORKERS) --host $(HOST) --port $(PORT) --logs $(BUILD)/serve $(SERVE_ARGS)

eval: setup-main ## MODEL (rows of eval/models.yaml, folders, Hub ids; comma between) and TASKS -> BUILD/eval/NAME: results.json, report
	$(MAIN) -m eval.run --model $(MODEL) --tasks $(TASKS) --build $(BUILD) $(QUESTIONS) --report $(EVAL_ARGS)

probes: setup-main ## MODEL -> BUILD/eval/NAME/probes.md: does it keep to its answer in another order, language, digits?
	$(MAIN) -m eval.run --model $(MODEL) --tasks bimedix_bi,bimedix_probes --build $(BUILD) $(QUESTIONS) $(EVAL_ARGS)
	$(MAIN) -m eval.probes $(BUILD)/eval/$(notdir $(patsubst %/merged,%,$(patsubst %/,%,$(MODEL))))

eval-chat: setup-main ## STAGE of the chat evaluation through OPENAI_BASE_URL: answer, judge IN=BUILD/chat/NAME, report IN=.., agree IN="A B"
	$(MAIN) -m eval.chat $(STAGE) $(IN) $(if $(filter answer judge,$(STAGE)),$(LLM),$(EVAL_ARGS))

bench-eval: setup-main ## the nine English sets of RECIPE=benchmark on the tiny model: scoring beside the plain forward passes it needs
	$(MAIN) -m axolotl_configs.tiny_base --out $(BUILD)/bench/tiny-base
	$(MAIN) -m eval.bench --model $(BUILD)/bench/tiny-base --data $(BUILD)/data/benchmark/eval --out $(BUILD)/bench/eval.json

demo: setup ## the whole job, tiny: data, train, a chat turn in each language over HTTP, evaluation and report
	$(MAKE) data RECIPE=tiny
	$(MAKE) train CONFIG=axolotl_configs/tiny.yaml TRAIN_ARGS=--fresh
	$(SERVE) -m fastchat_templates.serve --model $(BUILD)/models/tiny/merged --logs $(BUILD)/serve $(SERVE_ARGS) --ask "$(ASK_EN)" --ask "$(ASK_AR)"
	$(MAIN) -m eval.run --model $(BUILD)/models/tiny/base --name tiny-base --tasks bimedix_bi,bimedix_seen --data $(BUILD)/data/tiny/eval --build $(BUILD)
	$(MAIN) -m eval.run --model $(BUILD)/models/tiny/merged --tasks bimedix_bi,bimedix_seen --build $(BUILD)
	$(MAIN) -m eval.report $(BUILD)/eval/tiny $(BUILD)/eval/tiny-base --seen-floor 90

# the two files that start Label Studio: who does not review need not install it
WITH_STUDIO := tests/data_prep/test_review.py tests/data_prep/test_review_report.py

test: setup ## the tests but for those of test-review, about 15 minutes on 2 cores
	$(MAIN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(WITH_STUDIO:%=--ignore=%) $(TEST_ARGS)

test-review: setup setup-review ## the tests of human review against a real Label Studio, about 3 minutes
	$(MAIN) -m pytest $(WITH_STUDIO) $(TEST_ARGS)

proof: setup ## the slow tests at full size: 10,000 rows against a failing endpoint, 20 kills, 340,000 bad rows, two processes that train, trackers, all scores twice
	PROCESSES=2 $(MAIN) -m pytest tests/axolotl_configs/test_machines.py tests/axolotl_configs/test_trackers.py
	QUESTIONS=5000 $(MAIN) -m pytest tests/eval/test_score.py
	FAULTY_ROWS=10000 KILLS=20 BAD_ROW_FILES=200 $(MAIN) -m pytest tests/data_prep/test_llm_run.py tests/data_prep/test_kill.py tests/data_prep/test_every_reader.py

check: setup-main ## every configuration against Axolotl's schema and our rules, without a GPU
	$(MAIN) -m axolotl_configs.check

lint: setup-main ## ruff: format and lint
	$(MAIN) -m ruff format --check .
	$(MAIN) -m ruff check .

format: setup-main ## let ruff rewrite what lint complains of
	$(MAIN) -m ruff format .
	$(MAIN) -m ruff check --fix .

clean: ## remove build/ but for build/review, which holds people's work; the environments stay
	[ ! -d "$(BUILD)" ] || find "$(BUILD)" -mindepth 1 -maxdepth 1 ! -name review -exec rm -rf {} +
	[ ! -d "$(BUILD)" ] || rmdir --ignore-fail-on-non-empty "$(BUILD)"
