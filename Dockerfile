# One image for API, worker and simulator: the command says which.

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build

# Wheels only: what the lock names runs as it was published, and no compiler is needed in any stage.
# pip writes bytecode as it installs: `import openai` takes 1.3 s without it.
RUN python -m venv --without-pip /opt/tunehook
COPY requirements.lock ./
RUN python -m pip --python /opt/tunehook/bin/python install --require-hashes --only-binary :all: -r requirements.lock

# The build backend is locked as well, and stays in this stage.
RUN python -m venv /opt/backend
COPY requirements-build.lock ./
RUN /opt/backend/bin/python -m pip install --require-hashes --only-binary :all: -r requirements-build.lock
COPY . ./
RUN /opt/backend/bin/python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheel . \
 && python -m pip --python /opt/tunehook/bin/python install --no-deps --no-index /wheel/*.whl


FROM python:3.13-slim
# A number and not a name, so that Kubernetes' runAsNonRoot can check it. A new volume on /data takes its owner from here.
RUN groupadd --gid 10001 tunehook \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin tunehook \
 && install -d -o 10001 -g 10001 -m 0700 /data
COPY --from=build /opt/tunehook /opt/tunehook
# PYTHONSAFEPATH: `python -m` would put the working directory first on the import path, and ours is writable.
ENV PATH=/opt/tunehook/bin:$PATH \
    PYTHONSAFEPATH=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    TUNEHOOK_HOST=0.0.0.0 TUNEHOOK_PORT=8080 TUNEHOOK_DATA_DIR=/data
USER 10001:10001
WORKDIR /data
EXPOSE 8080
CMD ["python", "-m", "service"]
