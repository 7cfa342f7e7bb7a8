# Two targets: `docker build --target cpu .` (the default) and `docker build --target gpu .`
# The image holds the serving install alone: no compiler, no training packages.

FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY sidecar sidecar
COPY export export
ARG EXTRA=cpu,signing,postgres,peers
RUN python -m venv /opt/router \
 && /opt/router/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt ".[${EXTRA}]"

FROM build AS build-gpu
# The CPU and the GPU runtime overwrite each other's files: exactly one may be installed.
RUN /opt/router/bin/pip uninstall --yes onnxruntime \
 && /opt/router/bin/pip install --no-cache-dir --disable-pip-version-check ".[gpu]"

FROM python:3.11-slim-bookworm AS base
RUN useradd --system --uid 10001 --no-create-home router
ENV PATH=/opt/router/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER router
EXPOSE 8470
# The sidecar's own address stays loopback: containers of one pod share it. To open it, give `--config` with
# [tls] and tokens (README, The door), and ROUTER_SIDECAR_TLS_CA to the health check.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["router-sidecar", "health"]
ENTRYPOINT ["router-sidecar"]
CMD ["serve"]

FROM base AS gpu
COPY --from=build-gpu /opt/router /opt/router

FROM base AS cpu
COPY --from=build /opt/router /opt/router
