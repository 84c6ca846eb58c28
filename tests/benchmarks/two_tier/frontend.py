"""The frontend: asks the backend for everything and renders pages."""

import os
import secrets
from typing import Any

import requests
from flask import Flask, render_template_string, session

app = Flask(__name__)
app.secret_key = secrets.token_hex(32)
backend = os.environ["BACKEND"]
http = requests.Session()

PAGE = """<!doctype html><html lang="en"><head><title>Videos</title></head><body>
<nav><a href="/text">Text</a><a href="/image">Image</a><a href="/video">Video</a></nav>
<main>{% for video in videos %}<article><h3>{{ video.prompt }}</h3><p>{{ video.model }} · {{ video.status }}</p>
{% if video.video_url %}<video src="{{ video.video_url }}" controls></video>{% endif %}</article>{% endfor %}</main>
</body></html>"""


def ask(path: str) -> Any:
    answer = http.get(backend + path, headers={"Authorization": f"Bearer {session['token']}"}, timeout=30)
    answer.raise_for_status()
    return answer.json()


@app.post("/login")
def login() -> tuple[str, int]:
    session["token"] = http.post(backend + "/token", timeout=30).json()["token"]
    return "", 204


@app.get("/newest")
def newest() -> Any:
    return ask("/videos")[0]


@app.get("/videos")
def videos() -> str:
    return render_template_string(PAGE, videos=ask("/videos"))


@app.get("/videos/<id>")
def video(id: str) -> Any:
    return ask(f"/videos/{id}")
