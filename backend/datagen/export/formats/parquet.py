"""Parquet shards as Hugging Face's ``datasets`` reads them: images, masks and objects as columns.

The columns of images are not compressed, because PNG and JPEG are. pyarrow is an extra of this package.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Any

from datagen.errors import InputProblem
from datagen.export.formats.shards import MAX_SHARD_BYTES, objects_of, shard_name
from datagen.export.writer import ExportContext, ExportedSample, ExportWriter

#: Bytes of images that are collected to one row group, which readers load at once.
_ROW_GROUP_BYTES = 16_000_000
#: Rows of a row group at most.
_ROW_GROUP_ROWS = 1_000
#: Bytes that a row's other columns take at most beside its images, a count of a run-length mask.
_BYTES_PER_COUNT = 8
#: Bytes that are left of a shard for its footer.
_FOOTER_BYTES = 4_000_000


class ParquetWriter(ExportWriter):
    """Writes Parquet shards of at most 500 MB."""

    name = "parquet"
    sentence = "Parquet shards of at most 500 MB: images, instance masks, boxes and run-length masks as columns."
    limits = "Nothing of the labels."
    paths = (("parquet/", "Parquet: images, masks and objects; load_dataset('parquet', data_dir='parquet')"),)
    opened_by = "datasets, pyarrow, pandas, DuckDB"
    holds_images = True
    extra = "parquet"

    @classmethod
    def check(cls, labels: Sequence[str]) -> None:
        """Check that pyarrow is installed, besides the number of labels."""
        super().check(labels)
        try:
            import pyarrow.parquet  # noqa: F401 - an extra
        except ImportError as missing:
            raise InputProblem(
                "the format parquet needs pyarrow; install the extra: pip install 'label-studio-datagen[parquet]'"
            ) from missing

    def __init__(self, context: ExportContext) -> None:
        super().__init__(context)
        self._shards = {split: _ParquetShards(context, split) for split in context.splits}

    def add(self, sample: ExportedSample) -> Mapping[str, str]:
        """Add the row of one image."""
        objects = objects_of(sample, self.context.labels)
        del objects["label"]  # the category's names are in the schema
        provenance = json.dumps(dict(sample.provenance), ensure_ascii=False)
        row = {
            "key": sample.name,
            "image": {"bytes": sample.image, "path": f"{sample.name}{sample.image_suffix}"},
            "mask": {"bytes": sample.mask_png, "path": f"{sample.name}.png"},
            "width": sample.sample.image.width,
            "height": sample.sample.image.height,
            "objects": objects,
            "provenance": provenance,
        }
        counts = sum(len(mask["counts"]) for mask in objects["segmentation"])
        others = len(provenance) + counts * _BYTES_PER_COUNT
        return {"shard": self._shards[sample.split].add(row, len(sample.image) + len(sample.mask_png) + others)}

    def finish(self) -> None:
        """Complete the last shards."""
        for shards in self._shards.values():
            shards.finish()

    def discard(self) -> None:
        """Release pyarrow's writers."""
        for shards in self._shards.values():
            shards.discard()


class _ParquetShards:
    """The shards of one split, one open at a time."""

    def __init__(self, context: ExportContext, split: str) -> None:
        self._context, self._split = context, split
        self._schema = _schema(context.labels)
        self._number = 0
        self._rows: list[dict[str, Any]] = []
        self._rows_bytes = 0
        self._open()

    def add(self, row: dict[str, Any], size: int) -> str:
        """Add a row of about ``size`` bytes; return the path of its shard."""
        used = self._file.tell() + self._rows_bytes
        if used and used + size + _FOOTER_BYTES > MAX_SHARD_BYTES:
            self.finish()
            self._number += 1
            self._open()
        self._rows.append(row)
        self._rows_bytes += size
        if self._rows_bytes >= _ROW_GROUP_BYTES or len(self._rows) >= _ROW_GROUP_ROWS:
            self._write_rows()
        return self._path

    def finish(self) -> None:
        """Complete the open shard."""
        self._write_rows()
        self._writer.close()
        self._file.close()

    def discard(self) -> None:
        """Close the writer of the open shard while its file is open: pyarrow would do it when it is collected."""
        with suppress(OSError):  # the disk that is full, which the export's own error names
            self._writer.close()

    def _open(self) -> None:
        import pyarrow.parquet as pq

        self._path = self._context.path(f"parquet/{shard_name(self._split, self._number, 'parquet')}")
        self._file: IO[bytes] = self._context.sink.open(self._path, packed=True)
        packed = ("image.bytes", "mask.bytes")
        self._writer = pq.ParquetWriter(
            self._file,
            self._schema,
            compression={path: "none" if path in packed else "snappy" for path in _leaves(self._schema)},
            use_dictionary=False,
            write_statistics=False,
        )

    def _write_rows(self) -> None:
        import pyarrow as pa

        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows, self._rows_bytes = [], 0


def _schema(labels: Sequence[str]) -> Any:
    """Return the columns, with the description that ``datasets`` reads: which are images, and the categories' names."""
    import pyarrow as pa

    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    whole, small = pa.int64(), pa.int32()
    segmentation = pa.struct([("size", pa.list_(small)), ("counts", pa.list_(small))])
    objects = pa.struct(
        [
            ("id", pa.list_(small)),
            ("category", pa.list_(whole)),
            ("bbox", pa.list_(pa.list_(pa.float32()))),
            ("area", pa.list_(whole)),
            ("segmentation", pa.list_(segmentation)),
        ]
    )
    columns = [
        ("key", pa.string()),
        ("image", image),
        ("mask", image),
        ("width", small),
        ("height", small),
        ("objects", objects),
        ("provenance", pa.string()),
    ]
    features = {
        "key": _value("string"),
        "image": {"_type": "Image"},
        "mask": {"_type": "Image"},
        "width": _value("int32"),
        "height": _value("int32"),
        "objects": {
            "id": _sequence(_value("int32")),
            "category": _sequence({"names": list(labels), "_type": "ClassLabel"}),
            "bbox": _sequence(_sequence(_value("float32"))),
            "area": _sequence(_value("int64")),
            "segmentation": [{"size": _sequence(_value("int32")), "counts": _sequence(_value("int32"))}],
        },
        "provenance": _value("string"),
    }
    return pa.schema(columns, metadata={"huggingface": json.dumps({"info": {"features": features}})})


def _leaves(schema: Any) -> list[str]:
    """Return the paths of a schema's columns without children, as Parquet names them."""
    import pyarrow as pa

    def below(path: str, kind: Any) -> list[str]:
        if pa.types.is_struct(kind):
            return [leaf for field in kind for leaf in below(f"{path}.{field.name}", field.type)]
        if pa.types.is_list(kind):
            return below(f"{path}.list.element", kind.value_type)
        return [path]

    return [leaf for field in schema for leaf in below(field.name, field.type)]


def _value(dtype: str) -> dict[str, str]:
    return {"dtype": dtype, "_type": "Value"}


def _sequence(feature: Mapping[str, Any]) -> dict[str, Any]:
    return {"feature": dict(feature), "_type": "Sequence"}
