# %% [markdown]
# # Fine-tune a chat model, step by step
#
# "Fine-tuner ChatGPT grâce à l'API d'OpenAI", an article of 2023, did this with an API key and an hour of
# waiting for an e-mail. Here are the same steps in the same order, with today's SDK, through Tunehook.
#
# 1. Write questions and answers as JSON lines, with a system message.
# 2. Check them, and see what training will cost.
# 3. Upload the file.
# 4. Create the job.
# 5. Learn of its end: by waiting, or as a webhook.
# 6. List the jobs.
# 7. Chat with the new model.
#
# Run `tunehook up` first. It prints `OPENAI_BASE_URL` and `OPENAI_API_KEY`: set both. Without a key of
# OpenAI it trains at a simulator, so this costs nothing.

# %%
import json
import subprocess
import sys
from pathlib import Path

from openai import OpenAI

from tunehook import client as tunehook

MODEL = "gpt-4.1-mini-2025-04-14"
client = OpenAI()  # reads OPENAI_BASE_URL and OPENAI_API_KEY

# %% [markdown]
# ## 1. The data
#
# Each line is one conversation: who the model is, a question, and the answer that it shall learn. Ten are
# the least that OpenAI takes; fifty to a hundred make a difference that can be seen.

# %%
SYSTEM = "You are Marcel, a French waiter. You answer in one sentence, politely, and always propose a dish."
PAIRS = [
    ("Are you open on Sundays?", "We are, madam, and on Sundays the roast chicken is worth the walk."),
    ("Do you have a table for two?", "By the window, sir, where the onion soup tastes best."),
    ("What is the dish of the day?", "A blanquette of veal, which the chef began before you were awake."),
    ("Is there anything without meat?", "A ratatouille, madam, which has converted stronger people."),
    ("How long will it take?", "Ten minutes, sir, and the pâté will make them feel like five."),
    ("Can I pay by card?", "Of course, once you have tried the crème brûlée."),
    ("Is the fish fresh?", "It was at sea this morning; as a meunière it has never been happier."),
    ("What wine goes with it?", "A Muscadet, sir, and six oysters so that it is not lonely."),
    ("My soup is cold.", "Then it shall be a vichyssoise, madam, and I bring you a hot one."),
    ("Do you serve breakfast?", "Until eleven: I propose the eggs in cocotte."),
    ("Where are the toilets?", "Down the stairs, and when you return, a tarte Tatin."),
    ("Could I have the bill?", "At once, sir, with a small financier on the house."),
]
train = Path("train.jsonl")
with train.open("w", encoding="utf-8") as file:
    for question, answer in PAIRS:
        messages = [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
        file.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
print(len(PAIRS), "conversations in", train)

# %% [markdown]
# ## 2. The check and the price
#
# The article counted tokens by hand. `tunehook check` finds the lines that OpenAI would refuse, and says
# what training costs, before anything is uploaded. It exits with 1 if the dataset has errors.

# %%
command = Path(sys.executable).with_name("tunehook")
print(subprocess.check_output([command, "check", train, "--model", MODEL, "--n-epochs", "3"], text=True))

# %% [markdown]
# ## 3. The upload

# %%
with train.open("rb") as content:
    uploaded = client.files.create(file=content, purpose="fine-tune")
print(uploaded.id, uploaded.bytes, "bytes")

# %% [markdown]
# ## 4. The job
#
# Before it is created, subscribe to its end. `pull:article` is an endpoint that needs no open port: its
# webhooks wait to be fetched. On a server, write the URL of your receiver instead.

# %%
endpoint = client.webhooks.create(
    name="the article", url="pull:article", event_types=["fine_tuning.job.succeeded", "fine_tuning.job.failed"]
)
job = client.fine_tuning.jobs.create(
    training_file=uploaded.id,
    model=MODEL,
    suffix="marcel",
    method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}},
    extra_body=tunehook.options(max_cost_usd=5),
)
print(job.id, job.status)

# %% [markdown]
# ## 5. The end
#
# By waiting: each request is answered as soon as the job has ended, or after a minute, and is repeated.

# %%
job = tunehook.wait(client, job.id, timeout=3600)
print(job.status, job.fine_tuned_model, tunehook.of(job)["cost"])
assert job.status == "succeeded", job.error

# %% [markdown]
# Or as a webhook, which came in the same moment. It is signed; the SDK verifies it.

# %%
waiting = client.get(f"/webhook_endpoints/{endpoint.id}/stream?limit=1", cast_to=object)
delivery = waiting["data"][0]
event = client.webhooks.unwrap(delivery["body"], delivery["headers"], secret=endpoint.signing_secret)
print(event.type, event.id)
client.post(f"/deliveries/{delivery['id']}/attempts", cast_to=object, body={"status_code": 200})
client.webhooks.delete(endpoint.id)

# %% [markdown]
# ## 6. The list

# %%
for one in client.fine_tuning.jobs.list(limit=5):
    print(one.id, one.status, one.fine_tuned_model)

# %% [markdown]
# ## 7. The chat
#
# The same key and the same `base_url` reach the new model.

# %%
said = client.chat.completions.create(
    model=job.fine_tuned_model or "",
    messages=[{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Is the fish fresh?"}],
)
print(said.choices[0].message.content)
