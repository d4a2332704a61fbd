"""The packages of the field as they unpack, with an example of each kind of file and table; docs and tests are made from this list.

An entry changes nothing by itself: it states what :mod:`cefm_core.manifest.names` and :mod:`cefm_core.manifest.metadata` make of a
layout, and the tests hold it to that.
"""

from __future__ import annotations

from dataclasses import dataclass, field

IMAGE, MASK = "image", "mask"


@dataclass(frozen=True)
class TableExample:
    """One table of a package: its name there, its first lines, and what is understood of the image in the last of them."""

    name: str
    text: str
    image_id: str
    diagnosis: str
    fields: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """One package.

    Attributes:
        title: What it is called.
        files: Name to ``image``, ``mask``, or the reason why it is ignored; folders as they unpack.
        tables: Its tables.
        note: What a user should know.
    """

    title: str
    files: dict[str, str]
    tables: tuple[TableExample, ...]
    note: str = ""


LAYOUTS: tuple[Layout, ...] = (
    Layout(
        "ISIC challenge 2016",
        {
            "ISBI2016_ISIC_Part3_Training_Data/ISIC_0000000.jpg": IMAGE,
            "ISBI2016_ISIC_Part1_Training_GroundTruth/ISIC_0000000_Segmentation.png": MASK,
        },
        (
            TableExample("ISBI2016_ISIC_Part3_Training_GroundTruth.csv", "ISIC_0000000,malignant\n", "ISIC_0000000", "unknown"),
            TableExample("ISBI2016_ISIC_Part3_Test_GroundTruth.csv", "ISIC_0000003,0.0\nISIC_0000013,1.0\n", "ISIC_0000013", "melanoma"),
        ),
        "The tables have no header. `benign` and `malignant` name no diagnosis; `manifest.unspecific_benign` decides on the first.",
    ),
    Layout(
        "ISIC challenge 2017",
        {
            "ISIC-2017_Training_Data/ISIC_0000000.jpg": IMAGE,
            "ISIC-2017_Training_Data/ISIC_0000000_superpixels.png": "superpixel",
            "ISIC-2017_Training_Part1_GroundTruth/ISIC_0000000_segmentation.png": MASK,
            "ISIC-2017_Training_Part2_GroundTruth/ISIC_0000000_features.json": "not_image",
        },
        (
            TableExample(
                "ISIC-2017_Training_Part3_GroundTruth.csv",
                "image_id,melanoma,seborrheic_keratosis\nISIC_0000000,0.0,0.0\n",
                "ISIC_0000000",
                "nevus",
            ),
            TableExample(
                "ISIC-2017_Training_Data_metadata.csv",
                "image_id,age_approximate,sex\nISIC_0000000,55,female\n",
                "ISIC_0000000",
                "unknown",
                {"age_years": 55.0, "sex": "female"},
            ),
        ),
        "Neither of the two columns means nevus. Give both tables: they are joined.",
    ),
    Layout(
        "ISIC challenge 2018",
        {
            "ISIC2018_Task1-2_Training_Input/ISIC_0000000.jpg": IMAGE,
            "ISIC2018_Task1-2_Training_Input/LICENSE.txt": "not_image",
            "ISIC2018_Task1_Training_GroundTruth/ISIC_0000000_segmentation.png": MASK,
            "ISIC2018_Task2_Training_GroundTruth_v3/ISIC_0000000_attribute_pigment_network.png": "attribute_mask",
            "ISIC2018_Task3_Training_Input/ISIC_0024306.jpg": IMAGE,
        },
        (
            TableExample(
                "ISIC2018_Task3_Training_GroundTruth.csv",
                "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\nISIC_0024306,0.0,1.0,0.0,0.0,0.0,0.0,0.0\n",
                "ISIC_0024306",
                "nevus",
            ),
            TableExample(
                "ISIC2018_Task3_Training_LesionGroupings.csv",
                "image,lesion_id,diagnosis_confirm_type\nISIC_0024306,HAM_0000550,serial imaging showing no change\n",
                "ISIC_0024306",
                "unknown",
                {"lesion_id": "HAM_0000550"},
            ),
        ),
        "Give the lesion groupings too: without them photographs of one lesion may look like many.",
    ),
    Layout(
        "ISIC challenge 2019",
        {
            "ISIC_2019_Training_Input/ISIC_0000001.jpg": IMAGE,
            "ISIC_2019_Training_Input/ISIC_0000000_downsampled.jpg": IMAGE,
        },
        (
            TableExample(
                "ISIC_2019_Training_GroundTruth.csv",
                "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK\nISIC_0000000_downsampled,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0\n",
                "ISIC_0000000",
                "melanoma",
            ),
            TableExample(
                "ISIC_2019_Training_Metadata.csv",
                "image,age_approx,anatom_site_general,lesion_id,sex\nISIC_0000000_downsampled,55.0,anterior torso,MSK4_0011169,female\n",
                "ISIC_0000000",
                "unknown",
                {"age_years": 55.0, "site": "anterior torso", "lesion_id": "MSK4_0011169"},
            ),
        ),
        "`_downsampled` is no part of an id.",
    ),
    Layout(
        "ISIC challenge 2020",
        {"train/ISIC_0015719.jpg": IMAGE, "train-dicom/ISIC_0015720.dcm": IMAGE},
        (
            TableExample(
                "ISIC_2020_Training_GroundTruth_v2.csv",
                "image_name,patient_id,lesion_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target\n"
                "ISIC_0015719,IP_3075186,IL_4649854,female,45,upper extremity,unknown,benign,0\n",
                "ISIC_0015719",
                "unknown",
                {"lesion_id": "IL_4649854", "site": "upper extremity"},
            ),
        ),
        "`--duplicates ISIC_2020_Training_Duplicates.csv` takes the curated list of 425 pairs. The archive of DICOM files is read as well.",
    ),
    Layout(
        "ISIC challenge 2024 (SLICE-3D)",
        {"train-image/image/ISIC_0015670.jpg": IMAGE},
        (
            TableExample(
                "train-metadata.csv",
                "isic_id,target,patient_id,age_approx,sex,anatom_site_general,image_type,attribution,copyright_license,lesion_id,iddx_full,iddx_1\n"
                "ISIC_0015670,0,IP_1235828,60,male,lower extremity,TBP tile: close-up,MSK,CC-BY,,Benign,Benign\n",
                "ISIC_0015670",
                "unknown",
                {"licence": "CC-BY", "attribution": "MSK"},
            ),
            TableExample("ISIC_2024_Training_GroundTruth.csv", "isic_id,malignant\nISIC_0015670,0.0\n", "ISIC_0015670", "unknown"),
        ),
        "Cut-outs of total-body photographs, not dermoscopy: each is flagged `not_dermoscopic`. `malignant` is any cancer, not melanoma.",
    ),
    Layout(
        "HAM10000",
        {
            "HAM10000_images_part_1/ISIC_0024306.jpg": IMAGE,
            "HAM10000_segmentations_lesion_tschandl/ISIC_0024306_segmentation.png": MASK,
        },
        (
            TableExample(
                "HAM10000_metadata",
                "lesion_id,image_id,dx,dx_type,age,sex,localization,dataset\nHAM_0000118,ISIC_0024306,nv,histo,80.0,male,trunk,vidir_modern\n",
                "ISIC_0024306",
                "nevus",
                {"lesion_id": "HAM_0000118", "age_years": 80.0, "site": "torso", "source": "vidir_modern"},
            ),
        ),
        "The table is read by its content, whatever its name ends in.",
    ),
    Layout(
        "PH2",
        {
            "PH2 Dataset images/IMD003/IMD003_Dermoscopic_Image/IMD003.bmp": IMAGE,
            "PH2 Dataset images/IMD003/IMD003_lesion/IMD003_lesion.bmp": MASK,
            "PH2 Dataset images/IMD003/IMD003_roi/IMD003_R1_Label4.bmp": "region_of_interest",
        },
        (
            TableExample(
                "PH2_dataset.txt",
                "||   Name || Histological Diagnosis || Clinical Diagnosis || Asymmetry | Streaks ||    Colors ||\n"
                "|| IMD003 ||                        ||                  2 ||         0 |       A ||  4  ||\n",
                "IMD003",
                "melanoma",
            ),
        ),
        "Of the table the name and the clinical diagnosis are read. The spreadsheet of the package is not: give the text file.",
    ),
    Layout(
        "derm7pt",
        {"images/NEL/Nel026.jpg": IMAGE},
        (
            TableExample(
                "meta.csv",
                "case_num,diagnosis,seven_point_score,location,sex,management,clinic,derm,notes\n"
                "1,blue nevus,0,head neck,female,no further examination,NEL/Nel025.jpg,NEL/Nel026.jpg,\n",
                "Nel026",
                "nevus",
                {"sex": "female", "site": "head/neck"},
            ),
        ),
        "The dermoscopic photograph of a case stands in column `derm`. Clinical photographs lie in the same folders and have no row: "
        "they are processed, flagged `no_metadata`, and never trained or scored on.",
    ),
    Layout(
        "ISIC archive, by `cefm fetch` or isic-cli",
        {"images/ISIC_0000000.jpg": IMAGE, "attribution.txt": "not_image", "licenses/CC-0.txt": "not_image"},
        (
            TableExample(
                "metadata.csv",
                "isic_id,attribution,copyright_license,age_approx,anatom_site_general,diagnosis_1,diagnosis_2,diagnosis_3,image_type,"
                "lesion_id,patient_id,sex\n"
                "ISIC_0000000,Anonymous,CC-0,55,anterior torso,Benign,Benign melanocytic proliferations,Nevus,dermoscopic,"
                "IL_7252831,IP_1,female\n",
                "ISIC_0000000",
                "nevus",
                {"licence": "CC-0", "attribution": "Anonymous", "lesion_id": "IL_7252831"},
            ),
        ),
        "",
    ),
)


def layouts_markdown() -> str:
    """Return the docs page of the supported layouts."""
    lines = [
        "# Data sets as they unpack",
        "",
        "A source is one folder or object-store prefix: unpack a package's archives of images and masks below it, give its tables with",
        "`--metadata` (again for each), and nothing has to be renamed. Images may also lie side by side without any folder. Formats:",
        "JPEG, PNG, TIFF, BMP and DICOM photographs, told by content. A file that is neither image nor mask is ignored, and counted.",
        "",
        "| package | files | tables | note |",
        "| --- | --- | --- | --- |",
    ]
    for layout in LAYOUTS:
        files = "<br>".join(f"`{name}`: {kind.replace('_', ' ')}" for name, kind in layout.files.items())
        tables = "<br>".join(f"`{table.name}`" for table in layout.tables)
        lines.append(f"| {layout.title} | {files} | {tables} | {layout.note} |")
    return "\n".join([*lines, "", "What the columns and values of tables mean stands in", "[mapping/](../cefm_core/manifest/mapping).", ""])
