"""FastChat's Gradio page under our title, with the research-only notice and with Arabic set right to left.

python -m fastchat_templates.web --controller-url http://127.0.0.1:21001 --port 7860
"""

import argparse
from collections.abc import Callable

import fastchat.serve.gradio_web_server as fastchat_web
import gradio

from fastchat_templates import conversation

TITLE = "BiMediX: a bilingual medical chat model"
NOTICE = f"""# {TITLE}

**For research, not for clinical use.** The answers can be wrong. Ask a doctor about your health; in an emergency call your local emergency number.

<div dir="rtl" style="text-align: right"><b>للبحث العلمي فقط، وليس للاستخدام السريري.</b> قد تكون الإجابات خاطئة. استشر طبيبا بشأن صحتك، وفي الحالات الطارئة اتصل برقم الطوارئ في بلدك.</div>
"""
# each paragraph and the input box take their direction from their own first letter
DIRECTION_CSS = """
#chatbot .message, #chatbot .message p, #chatbot .message li, #input_box textarea { unicode-bidi: plaintext; text-align: start; }
"""


def _notice(markdown: type[gradio.Markdown]) -> Callable[..., gradio.Markdown]:
    """gradio.Markdown, but for the two texts that FastChat writes inside the function that builds the page: its arena's heading and thanks."""
    ours = {"notice_markdown": NOTICE, "ack_markdown": ""}

    def make(value: str | None = None, **settings: object) -> gradio.Markdown:
        return markdown(ours.get(settings.get("elem_id"), value), **settings)

    return make


def build(controller_url: str) -> gradio.Blocks:
    """The page for the models that the controller knows now."""
    conversation.register()
    fastchat_web.set_global_vars(controller_url, False)
    models, _ = fastchat_web.get_model_list(controller_url, None, False)
    # FastChat's page reads these two as globals of its own `__main__`
    fastchat_web.models = models
    fastchat_web.args = argparse.Namespace(model_list_mode="once", show_terms_of_use=False)
    fastchat_web.block_css += DIRECTION_CSS
    original = gradio.Markdown
    gradio.Markdown = _notice(original)
    try:
        page = fastchat_web.build_demo(models)
    finally:
        gradio.Markdown = original
    page.title = TITLE
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--controller-url", default="http://127.0.0.1:21001", help="(%(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=7860, help="(%(default)s)")
    args = parser.parse_args()
    page = build(args.controller_url)
    page.queue(default_concurrency_limit=10, status_update_rate=10, api_open=False)
    page.launch(server_name=args.host, server_port=args.port, max_threads=200, show_api=False)


if __name__ == "__main__":
    main()
