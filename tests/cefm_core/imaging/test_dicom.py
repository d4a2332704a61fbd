"""DICOM photographs made here: every photometric interpretation gives the same picture, and no name ever gets out."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, generate_uid

from cefm_core.config import ManifestConfig
from cefm_core.errors import BadItemError
from cefm_core.imaging.decode import decode_image
from cefm_core.manifest.inspect import inspect_image

DERMOSCOPIC = "1.2.840.10008.5.1.4.1.1.77.1.7"
NAME = "Doe^Jane"
Y, X = np.mgrid[0:72, 0:96]
PICTURE = np.stack([150 + X, 110 + Y, 90 + 0 * X], axis=2).clip(0, 255).astype(np.uint8)
PLAIN = PICTURE.tobytes()


def dicom(pixels=PLAIN, syntax=ExplicitVRLittleEndian, encapsulated=False, **elements):
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = elements.pop("SOPClassUID", DERMOSCOPIC)
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = generate_uid()
    made.PatientName, made.PatientID, made.PatientBirthDate, made.InstitutionName = NAME, "PAT-4711", "19700101", "Clinic Doe"
    made.Rows, made.Columns = 72, 96
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PlanarConfiguration = 3, "RGB", 0
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit, made.PixelRepresentation = 7, 0
    for name, value in elements.items():
        setattr(made, name, value)
    if made.SamplesPerPixel == 1:
        del made.PlanarConfiguration
    if pixels is not None:
        made.PixelData = encapsulate([pixels]) if encapsulated else pixels
        made["PixelData"].VR = "OB" if made.BitsAllocated == 8 else "OW"
    sink = BytesIO()
    made.save_as(sink, enforce_file_format=True)
    return sink.getvalue()


def encoded(kind, **options):
    sink = BytesIO()
    Image.fromarray(PICTURE).save(sink, kind, **options)
    return sink.getvalue()


def grey(bits, picture=None):
    values = PICTURE[..., 0] if picture is None else picture
    stored = np.rint(values.astype(float) * (2**bits - 1) / 255).astype(np.uint8 if bits == 8 else np.uint16)
    sizes = {"BitsAllocated": 8 if bits == 8 else 16, "BitsStored": bits, "HighBit": bits - 1}
    return {"pixels": stored.tobytes(), "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2"} | sizes


def decoded(data):
    return decode_image(data, max_pixels=10**6, min_side_px=8)


def test_uncompressed_pixels_are_exact_in_either_order():
    assert np.array_equal(decoded(dicom()).rgb, PICTURE)
    planes = dicom(PICTURE.transpose(2, 0, 1).tobytes(), PlanarConfiguration=1)
    assert np.array_equal(decoded(planes).rgb, PICTURE)
    assert decoded(planes).repairs == ("dicom_photograph",)


@pytest.mark.parametrize(
    ("data", "tolerance"),
    [
        (dicom(encoded("JPEG", quality=95), JPEGBaseline8Bit, True, PhotometricInterpretation="YBR_FULL_422"), 6),
        (dicom(encoded("JPEG2000", irreversible=False, mct=1), JPEG2000Lossless, True, PhotometricInterpretation="YBR_RCT"), 0),
        (dicom(np.asarray(Image.fromarray(PICTURE).convert("YCbCr")).tobytes(), PhotometricInterpretation="YBR_FULL"), 3),
    ],
)
def test_luminance_and_chrominance_become_the_same_colours(data, tolerance):
    found = decoded(data)
    assert np.abs(found.rgb.astype(int) - PICTURE).max() <= tolerance
    assert found.repairs[1].endswith("_converted")


def test_grey_is_scaled_not_clipped_and_said():
    assert np.array_equal(decoded(dicom(**grey(8))).rgb[..., 1], PICTURE[..., 0])
    twelve = decoded(dicom(**grey(12)))
    assert np.abs(twelve.rgb[..., 0].astype(int) - PICTURE[..., 0]).max() <= 1
    assert twelve.repairs == ("dicom_photograph", "12_bit_scaled", "greyscale_source") and twelve.greyscale
    inverted = decoded(dicom(**grey(8) | {"PhotometricInterpretation": "MONOCHROME1"}))
    assert np.array_equal(inverted.rgb[..., 2], 255 - PICTURE[..., 0])


def test_palette():
    table = np.arange(256, dtype=np.uint16) * 257
    luts = {f"{c}PaletteColorLookupTableDescriptor": [256, 0, 16] for c in ("Red", "Green", "Blue")}
    luts |= {f"{c}PaletteColorLookupTableData": t.tobytes() for c, t in (("Red", table), ("Green", table[::-1]), ("Blue", table // 2))}
    found = decoded(dicom(**grey(8) | {"PhotometricInterpretation": "PALETTE COLOR"} | luts))
    assert np.array_equal(found.rgb[..., 0], PICTURE[..., 0]) and np.array_equal(found.rgb[..., 1], 255 - PICTURE[..., 0])
    assert "palette_converted" in found.repairs


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (dicom(PICTURE.tobytes() * 2, NumberOfFrames=2), "dicom_multiframe"),
        (dicom(SOPClassUID="1.2.840.10008.5.1.4.1.1.2"), "dicom_not_photograph"),
        (dicom(None), "truncated"),
        (dicom(BurnedInAnnotation="YES"), "dicom_burned_in_text"),
        (dicom(PhotometricInterpretation="HSV"), "dicom_unsupported"),
        (dicom(**grey(8) | {"PixelRepresentation": 1}), "dicom_unsupported"),
        (dicom(b"\0" * 500, JPEGLSLossless, True), "dicom_unsupported"),
        (dicom(PICTURE.tobytes()[:9000]), "truncated"),
        (dicom(encoded("JPEG")[:700], JPEGBaseline8Bit, True, PhotometricInterpretation="YBR_FULL_422"), "truncated"),
        (dicom()[:700], "truncated"),
        (dicom()[:140], "truncated"),
        (dicom(Rows=5000, Columns=5000), "too_large"),
        (dicom(Rows=4), "too_small"),
    ],
)
def test_what_cannot_be_used_is_a_reject_that_names_nobody(data, code):
    with pytest.raises(BadItemError) as caught:
        decoded(data)
    assert caught.value.code == code
    assert not any(part in caught.value.message for part in ("Doe", "4711", "1970"))


def test_a_damaged_byte_anywhere_is_a_reject_or_a_picture():
    good = dicom()
    for position in range(0, 900, 7):
        data = bytearray(good)
        data[position] ^= 0xFF
        try:
            assert decoded(bytes(data)).rgb.ndim == 3
        except BadItemError as error:
            assert "Doe" not in error.message


def test_the_manifest_learns_nothing_but_the_pixels():
    facts = inspect_image(dicom(), ManifestConfig())
    assert (facts["width_px"], facts["height_px"], facts["flags"]) == (96, 72, ["dicom_photograph"])
    assert not any(part in str(facts) for part in ("Doe", "4711", "1970"))
