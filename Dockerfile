# The same program as from a checkout: an editable install keeps templates/, static/ and migrations/ beside the code.
FROM python:3.11-slim

ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    ATELIER_HOST=0.0.0.0 \
    ATELIER_DATA_DIR=/data

RUN useradd --system --uid 10001 --home-dir /data atelier \
 && install -d -o atelier -g atelier -m 700 /data

WORKDIR /srv/atelier
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY app ./app
COPY templates ./templates
COPY static ./static
COPY migrations ./migrations
RUN pip install -q -c requirements.lock -e .

USER atelier
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ.get('ATELIER_PORT', '8000')}/health\", timeout=4)"]
CMD ["atelier"]
