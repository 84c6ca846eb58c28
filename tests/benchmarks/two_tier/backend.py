"""The backend: one DuckDB connection; each request checks its token and reads the user."""

import secrets
import time
from typing import Annotated, Any

import duckdb
from fastapi import Depends, FastAPI, Header, HTTPException
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

KEY = OctKey.import_key(secrets.token_hex(32))
COLUMNS = ("id", "prompt", "model", "status", "video_url")
LIST = "select id, prompt, model, status, video_url from videos where user_id = ? order by created_at desc limit 24"
ONE = "select id, prompt, model, status, video_url from videos where user_id = ? and id = ?"

connection = duckdb.connect(":memory:")
connection.execute("create table users (id text primary key, email text, role text)")
connection.execute(
    "create table videos (id text primary key, user_id text, prompt text, model text, status text, video_url text,"
    " created_at timestamp)"
)
connection.execute("insert into users values ('ann', 'ann@studio.example', 'user')")
connection.execute(
    "insert into videos select 'video-' || n, 'ann', 'a paper boat ' || n, 'a model', 'queued', null,"
    " timestamp '2026-01-01' + to_seconds(n) from range(30) t(n)"
)

app = FastAPI()


def user(authorization: Annotated[str, Header()]) -> str:
    try:
        claims = jwt.decode(authorization.removeprefix("Bearer "), KEY).claims
    except JoseError:
        raise HTTPException(401) from None
    row = connection.cursor().execute("select id from users where id = ?", [claims["sub"]]).fetchone()
    if row is None or claims["exp"] < time.time():
        raise HTTPException(401)
    return str(row[0])


@app.post("/token")
async def token() -> dict[str, str]:
    """A token of the only user; passwords are not part of the comparison."""
    return {"token": jwt.encode({"alg": "HS256"}, {"sub": "ann", "exp": int(time.time()) + 3600}, KEY)}


@app.get("/videos")
async def videos(user: Annotated[str, Depends(user)]) -> list[dict[str, Any]]:
    rows = connection.cursor().execute(LIST, [user]).fetchall()
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


@app.get("/videos/{id}")
async def video(id: str, user: Annotated[str, Depends(user)]) -> dict[str, Any]:
    row = connection.cursor().execute(ONE, [user, id]).fetchone()
    if row is None:
        raise HTTPException(404)
    return dict(zip(COLUMNS, row, strict=True))
