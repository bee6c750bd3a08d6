# A machine without a GPU: docker build -t autotrain-llm . && docker run --rm -v "$PWD:/work" autotrain-llm llm --help
FROM python:3.13-slim

WORKDIR /source
COPY constraints.txt ./
# torch first, from its index of builds for processors: the default one installs gigabytes of CUDA libraries.
RUN pip install --no-cache-dir --constraint constraints.txt torch --index-url https://download.pytorch.org/whl/cpu
COPY LICENSE README.md pyproject.toml setup.cfg setup.py ./
COPY src ./src
RUN pip install --no-cache-dir --constraint constraints.txt ".[tensorboard,gguf]" && rm -rf /source

RUN useradd --create-home --uid 1000 trainer && mkdir /work && chown trainer /work
USER 1000
WORKDIR /work
ENTRYPOINT ["autotrain"]
CMD ["--help"]
