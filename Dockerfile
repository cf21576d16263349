# The server and ffmpeg on Debian.
#
#   docker build -t restreamer .
#   docker run -d --name restreamer -p 8000:8000 -v /srv/archive:/archive:ro --stop-timeout 40 restreamer
#
# docs/install.md has more options for sandboxing. Options of the server follow the image name, or, better, go into the
# environment (-e RESTREAMER_LOG_LEVEL=warn), where the health check finds the port.

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
      org.opencontainers.image.description="HTTP server for an archive of recorded live streams: lists, HLS playlists, exact cuts" \
      org.opencontainers.image.licenses=MIT
# Not pinned: Debian keeps only the newest version of a package.
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install -y --no-install-recommends ffmpeg && \
    rm -rf /var/lib/apt/lists/*
COPY --from=build /usr/local/bin/restreamer /usr/local/bin/

# A numeric user suffices, because it owns no files. An archive that is not world-readable needs --user or --group-add.
USER 10001:10001
# No VOLUME: if the archive is not mounted the server must fail rather than serve an empty one.
ENV RESTREAMER_BASE_DIR=/archive
EXPOSE 8000
# The server finishes responses in progress, for at most 30 seconds; docker waits only 10 by default (--stop-timeout).
STOPSIGNAL SIGTERM
# bash is part of the image; curl is not.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/${RESTREAMER_PORT:-8000} && printf 'GET /health HTTP/1.0\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [[ $status == 200 ]]"]
ENTRYPOINT ["restreamer"]
