FROM python:3.12-slim AS build

COPY pyproject.toml constraints.txt README.md /src/
COPY tracker /src/tracker
COPY projections /src/projections
COPY ingest /src/ingest
RUN python -m venv /opt/tracker \
    && /opt/tracker/bin/pip install --no-cache-dir -c /src/constraints.txt "/src[server,postgres,s3]"

FROM python:3.12-slim

RUN useradd --create-home --uid 10001 tracker && mkdir /data && chown tracker /data
COPY --from=build /opt/tracker /opt/tracker
ENV PATH=/opt/tracker/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TRACKER_HOME=/data \
    TRACKER_PORT=5000

USER tracker
VOLUME /data
EXPOSE 5000
# A server that waits for its database listens already, but answers only when it is there.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['TRACKER_PORT'] + '/health', timeout=2)"]
CMD ["tracker", "server"]
