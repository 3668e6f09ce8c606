FROM python:3.12-slim

RUN useradd --create-home --uid 10001 tracker && mkdir /data && chown tracker /data
COPY pyproject.toml constraints.txt README.md /src/
COPY tracker /src/tracker
COPY projections /src/projections
COPY ingest /src/ingest
RUN pip install --no-cache-dir -c /src/constraints.txt "/src[server]"

USER tracker
VOLUME /data
EXPOSE 5000
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
    CMD python -c "import urllib.request as u; u.urlopen('http://127.0.0.1:5000/health', timeout=2)"
CMD ["tracker", "server"]
