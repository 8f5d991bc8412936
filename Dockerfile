# One recipe for every service: docker build --build-arg SERVICE=worker -t freshet-worker .
#
#   SERVICE   api | scheduler | dispatcher | worker | recorder | emulator | migrate
#
# An image carries the dependencies of its own service and nothing to build with. It runs as user 10001, needs
# no file to be writable but under /tmp, and keeps no data. User code comes on top: FROM freshet-worker, install
# or COPY yours (/app is importable), and name its modules in FRESHET_PROCESSES.
ARG PYTHON=python:3.13-slim

# What every service needs: the same layer for all images.
FROM ${PYTHON} AS dependencies
# Only for builds that take packages from somewhere else than usual; they stay out of the final image.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
WORKDIR /source
COPY pyproject.toml README.md LICENSE constraints.txt ./
# Empty packages for now: a change in the source must not install the dependencies again.
RUN for package in shared/freshet services/api/freshet_api services/dispatcher/freshet_dispatcher \
      services/emulator/freshet_emulator services/recorder/freshet_recorder \
      services/scheduler/freshet_scheduler services/worker/freshet_worker; \
    do mkdir -p "$package" && touch "$package/__init__.py"; done
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv --without-pip /venv \
 && pip --python /venv/bin/python install -c constraints.txt .

FROM dependencies AS build
ARG SERVICE
RUN --mount=type=cache,target=/root/.cache/pip \
    case "$SERVICE" in \
      api|scheduler|dispatcher|worker|recorder) extras="$SERVICE"; start="python -m freshet_$SERVICE" ;; \
      # The sample jobs, which run as local processes here, talk to it with the real connector.
      emulator) extras="emulator,snowflake"; start="python -m freshet_emulator" ;; \
      migrate) extras="cli"; start="freshet migrate" ;; \
      *) echo "SERVICE=$SERVICE: say api, scheduler, dispatcher, worker, recorder, emulator or migrate" >&2; \
         exit 2 ;; \
    esac \
 && pip --python /venv/bin/python install -c constraints.txt ".[$extras]" \
 && printf '#!/bin/sh\nexec %s "$@"\n' "$start" > /venv/bin/start && chmod 755 /venv/bin/start
COPY shared shared
COPY services services
RUN pip --python /venv/bin/python install --no-deps --force-reinstall .

FROM ${PYTHON} AS service
ARG SERVICE
LABEL org.opencontainers.image.title="freshet-${SERVICE}" org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 freshet \
 && useradd --uid 10001 --gid 10001 --home-dir /app --create-home --skel /dev/null freshet \
 && chmod 755 /app
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp \
    FRESHET_HOST=0.0.0.0 FRESHET_PORT=8080 \
    FRESHET_EMULATOR_HOST=0.0.0.0 FRESHET_EMULATOR_PORT=8085 \
    FRESHET_HEALTH_HOST=0.0.0.0 FRESHET_HEALTH_PORT=8081 \
    SERVICE=${SERVICE}
WORKDIR /app
USER 10001:10001
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=6 \
  CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:%d/healthz' % {'api': 8080, 'emulator': 8085}.get(os.environ['SERVICE'], 8081), timeout=4)"]
ENTRYPOINT ["start"]

# The same with the examples in it, for a cluster on one machine: docker build --target samples …
FROM service AS samples
COPY examples /app/examples

# Last, therefore what is built when no target is named.
FROM service
