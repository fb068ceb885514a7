# Atlas, and the Label Studio beside it; see docs/howto/server.md.
#   docker build -t atlas .                                     on the CPU
#   docker build -t atlas:cuda --build-arg DEVICE=cuda .        on NVIDIA's GPUs
#   docker build -t atlas-label-studio --target label-studio .
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

FROM base AS build-label-studio
COPY requirements-label-studio.lock /src/
RUN python -m venv /opt/label-studio && \
    /opt/label-studio/bin/python -m pip install --no-deps --require-hashes \
      -r /src/requirements-label-studio.lock && \
    /opt/label-studio/bin/python -m pip uninstall --yes pip

FROM base AS label-studio
# A new volume takes its owner from the image that is the first to mount it: /project is Atlas's.
RUN useradd --uid 10002 --create-home label-studio && \
    install --directory --owner label-studio /data && \
    install --directory --owner 10001 /project
COPY --from=build-label-studio /opt/label-studio /opt/label-studio
ENV PATH=/opt/label-studio/bin:$PATH \
    LABEL_STUDIO_BASE_DATA_DIR=/data
USER 10002
WORKDIR /data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=180s --retries=3 \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/health', timeout=4)"]
CMD ["label-studio", "start", "--no-browser", "--internal-host", "0.0.0.0", "-p", "8080"]

FROM base AS build-atlas
# cpu or cuda
ARG DEVICE=cpu
# PyPI's torch for Linux brings NVIDIA's libraries along, gigabytes that a CPU has no use for. With
# the address of PyTorch's own package index for the CPU the image is without them.
ARG TORCH_CPU_INDEX=
WORKDIR /src
COPY pyproject.toml requirements.lock deploy/requirements.py ./
# The lock is complete and has the hash of every file on PyPI; PyTorch's index has other files of
# the same version.
RUN case "${DEVICE}" in \
      cpu) kind="${TORCH_CPU_INDEX:+lean}" ;; \
      cuda) kind=cuda ;; \
      *) echo "DEVICE is '${DEVICE}'; wanted: cpu or cuda" >&2; exit 2 ;; \
    esac && \
    python requirements.py "${kind:-cpu}" > wanted.txt && \
    python -m venv /opt/atlas && \
    /opt/atlas/bin/python -m pip install --no-deps --require-hashes -r wanted.txt && \
    if [ "${kind}" = lean ]; then \
      python requirements.py torch > torch.txt && \
      /opt/atlas/bin/python -m pip install --no-deps --index-url "${TORCH_CPU_INDEX}" -r torch.txt; \
    fi
RUN python requirements.py build > build.txt && \
    python -m venv /opt/build && \
    /opt/build/bin/python -m pip install --no-deps --require-hashes -r build.txt
COPY README.md LICENSE ./
COPY atlas atlas
COPY services services
COPY frontend_config frontend_config
RUN /opt/build/bin/python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . && \
    /opt/atlas/bin/python -m pip install --no-deps /wheels/*.whl && \
    /opt/atlas/bin/python -m pip uninstall --yes pip

FROM base AS atlas
RUN useradd --uid 10001 --create-home atlas && \
    install --directory --owner atlas /project /cache
COPY --from=build-atlas /opt/atlas /opt/atlas
ENV PATH=/opt/atlas/bin:$PATH \
    ATLAS_SERVICE__HOST=0.0.0.0 \
    HF_HOME=/cache/huggingface
USER 10001
WORKDIR /project
VOLUME /project /cache
EXPOSE 8090
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8090/healthz', timeout=4)"]
CMD ["atlas", "serve", "api", "/project"]
