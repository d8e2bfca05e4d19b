FROM python:3.12-slim AS packages
COPY requirements.lock /tmp/
# The service needs only the lock's first section; pip refuses every file whose hash is not listed.
RUN python -m venv /opt/venv \
    && sed '/^# section: servers$/,$d' /tmp/requirements.lock > /tmp/run.txt \
    && /opt/venv/bin/pip install --no-cache-dir --require-hashes -r /tmp/run.txt

FROM python:3.12-slim
RUN useradd --system --user-group --home-dir /app --shell /usr/sbin/nologin order_service
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ORDER_SERVICE_IN_CONTAINER=1
# pyproject.toml, here, holds Alembic's settings: `docker compose exec web alembic upgrade head` works.
WORKDIR /app
COPY --from=packages /opt/venv /opt/venv
COPY pyproject.toml entrypoint.sh ./
COPY migrations migrations
COPY order_service order_service
COPY projections projections
USER order_service
EXPOSE 8000 5555
ENTRYPOINT ["/app/entrypoint.sh"]
CMD ["help"]
