"""Makes templates.json: chat templates in the ways that models write them, and what transformers renders with them.

Use: python make_templates.py OUT    (transformers; the golden file was made with transformers 5.23.0)
"""

import json
import sys

from transformers.utils.chat_template_utils import render_jinja_template

TEMPLATES = {
    "turns": "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe brief.<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "blocks": """{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] | trim %}
    {%- set rest = messages[1:] %}
{%- else %}
    {%- set system = '' %}
    {%- set rest = messages %}
{%- endif %}
{%- if system is not none and system|length > 0 %}
    {{- '<|system|>\\n' + system + eos_token }}
{%- endif %}
{%- for m in rest %}
    {%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
    {%- endif %}
    {{- '<|' ~ m.role ~ '|>\\n' ~ m.content.strip() ~ (eos_token if m.role == 'assistant' else '') ~ '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|assistant|>\\n' }}
{%- endif %}
""",
    "namespaces": """{% set ns = namespace(first=true, count=0) %}
{% for m in messages %}
  {% if m.role == "assistant" %}
    {% set ns.count = ns.count + 1 %}
[{{ ns.count }}] {{ m.content.split('</think>')[-1].lstrip('\\n') }}
  {% elif ns.first %}
    {% set ns.first = false %}
first: {{ m.content | upper }}
  {% else %}
{{ m.content.replace('a', 'A').title() }}
  {% endif %}
{% endfor %}
{%- if add_generation_prompt is defined and add_generation_prompt %}> {% endif %}""",
    "macros": """{%- macro turn(role, content, last=false) -%}
<start_of_turn>{{ 'model' if role == 'assistant' else role }}
{{ content | trim }}{% if not last %}<end_of_turn>{% endif %}
{% endmacro -%}
{{ bos_token }}{% for m in messages %}{{ turn(m.role, m.content) }}{% endfor %}
{%- if add_generation_prompt %}{{ turn('assistant', '', last=true) }}{% endif %}""",
    "json": "{% for m in messages %}{{ m | tojson }}{{ {'n': loop.index, 'last': loop.last, 'x': [1, 2.5, none, true]} | tojson }}\n{% endfor %}{{ messages | length }}{{ messages[0].content[::-1] }}{{ messages[0].content[:3] }}",
    "generation": "{% for m in messages %}{% if m.role == 'assistant' %}{%- generation -%} {{ m.content }}{{ eos_token }} {%- endgeneration -%}{% else %}{{ m.role }}: {{ m.content }}\n{% endif %}{% endfor %}",
    "controls": "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}{% if loop.index > 3 %}{% break %}{% endif %}{{ m.role[0] | upper }}{{ m.content if m.content is string else '' }}{{ '\\n' if not loop.last }}{% endfor %}{{ messages | map(attribute='role') | join(',') }}{{ messages | selectattr('role', 'equalto', 'user') | list | length }}",
}
DIALOGUES = [
    [("user", "Hi, who are you?"), ("assistant", "  Nobody.\n")],
    [("system", " Answer in “French”. "), ("user", "Où ça ?\n\n\ta"), ("assistant", "<think>x</think>\n\nLà-bas <b>&amp;</b> 日本"), ("user", "and \"now\"?"), ("assistant", "")],
]
cases = []
for name, template in TEMPLATES.items():
    for dialogue in DIALOGUES:
        for prompt in [False, True]:
            messages = [{"role": role, "content": content} for role, content in dialogue]
            (rendered,), _ = render_jinja_template(
                [messages], chat_template=template, add_generation_prompt=prompt, bos_token="<s>", eos_token="</s>"
            )
            cases.append({"template": name, "messages": messages, "prompt": prompt, "rendered": rendered})
with open(sys.argv[1], "w") as out:
    json.dump({"templates": TEMPLATES, "cases": cases}, out, ensure_ascii=False, indent=1)
