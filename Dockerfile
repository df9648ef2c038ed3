# An image for --kube_image: Hydra and what requirements.lock pins, every file checked against its hash. Not root; nothing is
# written at run time. With this image the pods need not have the Python of the controller.
# SOURCE_DATE_EPOCH=0 docker buildx build --output type=image,name=hydra:0.1.0,rewrite-timestamp=true .
ARG PYTHON=3.12
FROM python:${PYTHON}-slim AS build
WORKDIR /src
COPY requirements.lock ./
RUN python -m venv /opt/hydra \
    && /opt/hydra/bin/pip install --no-cache-dir --no-compile --require-hashes -r requirements.lock
COPY hydra ./hydra
RUN cp -r hydra "$(/opt/hydra/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/" \
    && printf '#!/opt/hydra/bin/python\nfrom hydra.__main__ import main\nmain()\n' > /opt/hydra/bin/hydra \
    && chmod 755 /opt/hydra/bin/hydra

FROM python:${PYTHON}-slim
COPY --from=build /opt/hydra /opt/hydra
ENV PATH=/opt/hydra/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
ENTRYPOINT ["hydra"]
