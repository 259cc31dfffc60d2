"""Fresh random Secrets for the in-cluster stores: `python -m k8s.local_secrets FOLDER`.

One file a Secret, readable by you alone. local-kind makes its Secrets of them; elsewhere:

kubectl -n dgr create secret generic mlflow-s3 --from-env-file FOLDER/mlflow-s3.env
"""

import argparse
import json
import os
import secrets
import sys
from pathlib import Path

from dgr.errors import UserError

READ, WRITE = ("Read", "List"), ("Read", "Write", "List", "Tagging")
RIGHTS: dict[str, dict[str, tuple[str, ...]]] = {
    "mlflow-s3": {"mlflow": WRITE},
    "dgr-s3": {"pipelines": WRITE, "runs": WRITE, "models": WRITE, "data": READ},
    "dgr-promoter-s3": {"models": READ},
    "dgr-models-s3": {"models": READ},
}
"""Secret with the keys of a role -> bucket -> what the role may do there."""


def write(folder: Path) -> list[Path]:
    """All files, or `UserError` where some exist: keys that are in use are not lost by mistake."""
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder} holds Secrets already; remove it to make all of them anew")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    password = secrets.token_urlsafe(32)
    database = f"postgresql+pg8000://mlflow:{password}@postgres.dgr.svc:5432/mlflow"
    files = {
        "postgres.env": f"POSTGRES_PASSWORD={password}\n",
        "mlflow-database.env": f"MLFLOW_BACKEND_STORE_URI={database}\n",
    }
    identities = []
    for name, buckets in RIGHTS.items():
        key, secret = secrets.token_hex(10), secrets.token_urlsafe(32)
        files[f"{name}.env"] = f"AWS_ACCESS_KEY_ID={key}\nAWS_SECRET_ACCESS_KEY={secret}\n"
        identities.append(
            {
                "name": name,
                "credentials": [{"accessKey": key, "secretKey": secret}],
                "actions": [f"{what}:{bucket}" for bucket, may in buckets.items() for what in may],
            }
        )
    files["seaweedfs.json"] = json.dumps({"identities": identities}, indent=2) + "\n"
    return [_write_private(folder / name, text) for name, text in files.items()]


def _write_private(path: Path, text: str) -> Path:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    return path


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m k8s.local_secrets", description=__doc__)
    parser.add_argument("folder", type=Path)
    try:
        for path in write(parser.parse_args(arguments).folder):
            print(path)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
