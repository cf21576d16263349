# The server, with ffmpeg, on Debian.
#
#   docker build -t restreamer .
#   docker run -d --name restreamer -p 8000:8000 -v /srv/archive:/archive:ro --stop-timeout 40 restreamer
#
# docs/install.md has the options that shut it in further. Options of its own stand behind the image's name, or, better,
# in the environment (-e RESTREAMER_LOG_LEVEL=warn), where the health check finds the port, too.

ARG DEBIAN=bookworm
ARG RUST=1.90

FROM rust:${RUST}-slim-${DEBIAN} AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked && cp target/release/restreamer /usr/local/bin/

FROM debian:${DEBIAN}-slim
LABEL org.opencontainers.image.title=restreamer \
      org.opencontainers.image.description="Lists, plays and cuts an archive of recorded live streams, over HTTP" \
      org.opencontainers.image.licenses=MIT
# Debian keeps only the newest version of a package, so that a version named here would not be found for long.
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install -y --no-install-recommends ffmpeg && \
    rm -rf /var/lib/apt/lists/*
COPY --from=build /usr/local/bin/restreamer /usr/local/bin/

# A number suffices, for it owns nothing. An archive that not everybody may read needs --user, or --group-add.
USER 10001:10001
# No VOLUME: where the archive was forgotten, the server is to say so rather than serve an empty one.
ENV RESTREAMER_BASE_DIR=/archive
EXPOSE 8000
# It finishes what it is sending, for 30 seconds at most; docker's own patience is 10 (--stop-timeout).
STOPSIGNAL SIGTERM
# bash is in every Debian, where curl would have to be installed.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/${RESTREAMER_PORT:-8000} && printf 'GET /health HTTP/1.0\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [[ $status == 200 ]]"]
ENTRYPOINT ["restreamer"]
