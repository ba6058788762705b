# Builds authseal and puts the binary, its rules and the CA certificates into a small image that runs as nobody in particular.
FROM rust:1.95-slim-bookworm AS build
# librdkafka and OpenSSL are built from source and linked in
RUN apt-get update && apt-get install --yes --no-install-recommends gcc g++ make cmake perl && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# .dockerignore lets in only what the build needs
COPY . .
RUN cargo build --locked --release --bin authseal && strip target/release/authseal

FROM debian:bookworm-slim
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
  && useradd --system --uid 10001 --no-create-home authseal
COPY --from=build /src/target/release/authseal /usr/local/bin/authseal
COPY rules /etc/authseal/rules
COPY authseal.example.toml LICENSE /usr/share/doc/authseal/
USER authseal
WORKDIR /etc/authseal
EXPOSE 9464
STOPSIGNAL SIGTERM
ENTRYPOINT ["authseal"]
CMD ["run", "-c", "/etc/authseal/authseal.toml"]
