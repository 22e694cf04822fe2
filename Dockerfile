# The hub's image: `docker build -t tieout .`. It runs as nobody in particular, writes only to /var/lib/tieout, and needs
# a configuration at /etc/tieout/tieout.toml (docs/scaling.md).
FROM python:3.13-slim AS build
WORKDIR /build
RUN python -m venv /opt/tieout
COPY requirements/image.txt requirements/image.txt
RUN /opt/tieout/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements/image.txt
COPY pyproject.toml LICENSE ./
COPY src src
RUN /opt/tieout/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation .

FROM python:3.13-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin tieout \
 && install -d -m 0700 -o tieout -g tieout /var/lib/tieout
COPY --from=build /opt/tieout /opt/tieout
ENV PATH=/opt/tieout/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TIEOUT_CONFIG=/etc/tieout/tieout.toml
USER tieout
WORKDIR /var/lib/tieout
EXPOSE 8700
# Of `up` and `serve`; a process that only works ends by itself when it cannot go on.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8700/healthz', timeout=2)"]
ENTRYPOINT ["tieout"]
CMD ["up"]
