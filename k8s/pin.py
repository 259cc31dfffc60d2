"""From the tags of components/images to digests: `make pins REGISTRY=registry.example.org/dgr`.

A tag can mean another image tomorrow; a digest cannot. The digests are asked of the registries
now, by `crane` or `docker buildx`, with your credentials, and written to components/pins, which
production overlays refer to and git ignores: without it they do not even render. Keep the file
where you keep your overlay's settings.
"""

import argparse
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dgr.errors import UserError
from dgr.files import write_text

COMPONENTS = Path(__file__).parent / "components"
IMAGES = COMPONENTS / "images/kustomization.yaml"
PINS = COMPONENTS / "pins/kustomization.yaml"
CLIENTS = (
    ("crane", "digest"),
    ("docker", "buildx", "imagetools", "inspect", "--format", "{{.Manifest.Digest}}"),
)
"""Programs that ask a registry; the first that is installed is used."""
_HEADER = """\
# Written by `make pins` from components/images: what those tags were, asked of the registries.
"""


@dataclass(frozen=True)
class Image:
    """An image as components/images names it."""

    name: str
    repository: str
    tag: str

    @property
    def is_ours(self) -> bool:
        return "/" not in self.repository

    def place(self, registry: str, mirror: bool) -> str:
        """Where it is pulled from."""
        if self.is_ours or mirror:
            return f"{registry}/{self.repository.rpartition('/')[2]}"
        return self.repository


def wanted() -> list[Image]:
    """All images that are deployed."""
    found = yaml.safe_load(IMAGES.read_text())["images"]
    return [
        Image(each["name"], each.get("newName", each["name"]), each["newTag"]) for each in found
    ]


def resolve(reference: str) -> str:
    """The digest that a registry gives for a reference with a tag."""
    command = next(
        ([path, *client[1:]] for client in CLIENTS if (path := shutil.which(client[0]))), None
    )
    if command is None:
        raise UserError("no program to ask registries with; install crane, or docker with buildx")
    answer = subprocess.run([*command, reference], capture_output=True, text=True, check=False)
    digest = answer.stdout.strip()
    if answer.returncode or not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        said = " ".join((answer.stderr or answer.stdout).split())[:300]
        raise UserError(
            f"{reference} has no digest that {Path(command[0]).name} could find ({said}); push "
            "the image, mend its tag in k8s/components/images, or log in to the registry"
        )
    return digest


def pins(registry: str, mirror: bool) -> dict[str, Any]:
    """The kustomize component with every image by its digest."""
    found = []
    for image in wanted():
        place = image.place(registry, mirror)
        digest = resolve(f"{place}:{image.tag}")
        found.append({"name": image.name, "newName": place, "digest": digest})
        print(f"{image.name}: {place}@{digest}")
    return {
        "apiVersion": "kustomize.config.k8s.io/v1alpha1",
        "kind": "Component",
        "images": found,
    }


def copies(registry: str) -> list[str]:
    """What a mirror must hold: one line an image, from where to where."""
    return [
        f"{image.repository}:{image.tag} {image.place(registry, mirror=True)}:{image.tag}"
        for image in wanted()
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m k8s.pin", description=__doc__)
    parser.add_argument("--registry", required=True, help="where the images of dgr are")
    parser.add_argument(
        "--mirror", action="store_true", help="all others are pulled from there too"
    )
    parser.add_argument(
        "--copies", action="store_true", help="only print what such a mirror must hold"
    )
    given = parser.parse_args(arguments)
    registry = given.registry.rstrip("/")
    if given.copies:
        print("\n".join(copies(registry)))
        return 0
    try:
        found = pins(registry, given.mirror)
        write_text(PINS, _HEADER + yaml.safe_dump(found, sort_keys=False))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
