"""The Debian package of 0 A.D.'s data: fetched, checked, and what of it is needed unpacked."""

import contextlib
import pathlib
import shutil
import subprocess
import tarfile
import urllib.error
import urllib.request

from tqdm import tqdm

from diffgs_jax.errors import DataError, UserError
from diffgs_jax.files import file_sha256, make_folder, one_line

NAME, VERSION = "0ad-data", "0.0.26-1"
SHA256 = "53745ae74d05bccf6783400fa98f3932b21729ab9d2e86151aa2c331c3455178"
SOURCE = "Debian package 0ad-data 0.0.26-1 (0 A.D., Wildfire Games, play0ad.com)"
LICENSE = "CC-BY-SA-3.0"
FILE = f"{NAME}_{VERSION}_all.deb"
_POOL = f"pool/main/0/{NAME}/{FILE}"
URLS = (
    f"https://deb.debian.org/debian/{_POOL}",
    f"https://snapshot.debian.org/archive/debian/20250520T000000Z/{_POOL}",
)
"""Where it is fetched from; the second keeps what the first drops with an old release of Debian."""
_ARCHIVE = "./usr/share/games/0ad/mods/public/public.zip"
_CHUNK = 2**20


def find_game_archive(work: pathlib.Path, package: pathlib.Path | None = None) -> pathlib.Path:
    """Returns the game's `public.zip`, from the package if it is not unpacked yet.

    Args:
        work: folder it is unpacked to, and the package is fetched to (4.7 GB together).
        package: the .deb file, if it is at hand.

    Raises:
        UserError: if there is no such file, nowhere to fetch it from, or no dpkg-deb.
        DataError: if it is another file, or cannot be unpacked.
    """
    archive = work / "public.zip"
    if archive.exists():
        return archive
    if shutil.which("dpkg-deb") is None:
        raise UserError("unpacking a Debian package needs dpkg-deb (package dpkg)")
    package = package or fetch_game_package(work)
    found = file_sha256(package)
    if found != SHA256:
        raise DataError(f"{package} is not {NAME} {VERSION}: its SHA-256 is {found}, not {SHA256}")
    make_folder(work)
    _unpack(package, archive)
    return archive


def fetch_game_package(work: pathlib.Path) -> pathlib.Path:
    """Returns the package's file in `work`, downloaded there if it is not yet; goes on where a download stopped.

    Raises:
        UserError: if it can be fetched from nowhere.
    """
    file = work / FILE
    if file.exists():
        return file
    make_folder(work)
    beside, reasons = work / f"{FILE}.part", []
    for url in URLS:
        try:
            _download(url, beside)
        except (OSError, urllib.error.URLError) as error:
            reasons.append(f"{url}: {one_line(error)}")
            continue
        beside.rename(file)
        return file
    raise UserError(f"the package cannot be fetched ({'; '.join(reasons)}): give {FILE} with --package")


def _download(url: str, beside: pathlib.Path) -> None:
    have = beside.stat().st_size if beside.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=60) as answer:
        have = have if answer.status == 206 else 0
        total = have + int(answer.headers.get("Content-Length") or 0)
        with (
            beside.open("ab" if have else "wb") as out,
            tqdm(total=total, initial=have, desc=f"fetching {FILE}", unit="B", unit_scale=True) as bar,
        ):
            while chunk := answer.read(_CHUNK):
                out.write(chunk)
                bar.update(len(chunk))
    if beside.stat().st_size < total:
        raise OSError("the connection ended early; run again to go on")


def _unpack(package: pathlib.Path, archive: pathlib.Path) -> None:
    """Writes the one file that is needed, without unpacking the others to disk."""
    beside = archive.with_suffix(".part")
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as members:
                for member in members:
                    if member.name == _ARCHIVE:
                        _copy(members, member, beside)
                        break
                else:
                    raise DataError(f"{package} holds no {_ARCHIVE}")
        except tarfile.TarError as error:
            raise DataError(f"{package} cannot be unpacked: {one_line(error)}") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
    beside.rename(archive)


def _copy(members: tarfile.TarFile, member: tarfile.TarInfo, to: pathlib.Path) -> None:
    source = members.extractfile(member)
    assert source is not None
    with source, to.open("wb") as out, tqdm(total=member.size, desc="unpacking", unit="B", unit_scale=True) as bar:
        while chunk := source.read(_CHUNK):
            out.write(chunk)
            bar.update(len(chunk))
