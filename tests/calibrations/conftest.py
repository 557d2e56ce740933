import pytest

from walltime.catalog.calibrations import FOLDER_VARIABLE

from .machines import written


@pytest.fixture
def keep(tmp_path, monkeypatch):
    """Keep calibrations in the user's folder, which is a new one; returns the path of the last."""
    folder = tmp_path / "calibrations"
    folder.mkdir()
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    monkeypatch.setattr("walltime.catalog.calibrations._shipped_folder", lambda: shipped)

    def write(*records):
        return [written(folder, record) for record in records][-1] if records else folder

    return write
