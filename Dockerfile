# One image for every part of signpipe: what a container does is the command it is given (docs/docker.md).
# No build step: Node runs the TypeScript as it stands.

ARG NODE_IMAGE=node:24-bookworm-slim

FROM ${NODE_IMAGE} AS packages
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# Without install scripts: none of the packages that run needs one, and the pinned Node that npm scripts use on other
# machines is the image's own here. Where packages come from a registry of your own, its settings are a secret of the
# build, which stays in no layer: docker build --secret id=npmrc,src=$HOME/.npmrc
RUN --mount=type=secret,id=npmrc NPM_CONFIG_USERCONFIG=/run/secrets/npmrc npm ci --omit=dev --ignore-scripts --no-audit --no-fund \
 && rm -rf node_modules/.bin/node node_modules/node

FROM ${NODE_IMAGE}
ENV NODE_ENV=production
# `signpipe` in the container is the command line: docker compose exec api signpipe list
RUN printf '#!/bin/sh\nexec node /app/src/cli.ts "$@"\n' > /usr/local/bin/signpipe \
 && chmod 755 /usr/local/bin/signpipe \
 && mkdir /data \
 && chown 1000:1000 /data
WORKDIR /app
COPY --from=packages /app/node_modules node_modules
COPY package.json ./
COPY docker/healthy.mjs docker/
COPY src src

ENV DATA_DIR=/data \
    API_HOST=0.0.0.0 \
    API_PORT=8080
# The user "node" of the base image. Any other number works as well: nothing but /data is written to.
USER 1000:1000
VOLUME /data
EXPOSE 8080
# Node is the first process and ends on SIGTERM by itself, after what runs has finished: no init is needed.
STOPSIGNAL SIGTERM
ENTRYPOINT ["node", "/app/src/cli.ts"]
CMD ["start"]
