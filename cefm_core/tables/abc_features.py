"""Contract of ``abc_features``: both profiles, their levels, intervals and reasons."""

from __future__ import annotations

from cefm_core.tables.schema import Column, Table

_REASONS = "Reason code where {} null, else null"
_COLOURS = ("white", "red", "light_brown", "dark_brown", "blue_gray", "black")


def _number(name: str, description: str, low: float | None, high: float | None, reason: str, unit: str = "") -> Column:
    return Column(name, "float", description, unit, low, high, nullable=True, reason_column=reason)


def _count(name: str, description: str, low: int, high: int | None, reason: str, unit: str = "") -> Column:
    return Column(name, "int", description, unit, low, high, nullable=True, reason_column=reason)


def _reason(name: str, what: str) -> Column:
    return Column(name, "string", _REASONS.format(what), nullable=True)


def _level(name: str, of: str, reason: str) -> Column:
    return _count(name, f"Level of {of}: fifth of the reference set, 1 lowest", 1, 5, reason)


_PAPER = (
    _number(
        "a_grey",
        "Paper's A, released reading: grey difference between mask (0/255) and its mirror image, least over axes",
        0,
        255,
        "reason",
        "grey levels",
    ),
    _number(
        "b2_mean_curvature",
        "Paper's B2, released reading: mean absolute curvature of the contour in a frame 600 pixels long",
        0,
        None,
        "reason",
        "1/pixel",
    ),
    _number(
        "hue_std",
        "Paper's C, released reading: spread of hue over the white square frame",
        0,
        90,
        "paper_colour_reason",
        "OpenCV half degrees",
    ),
    _number(
        "saturation_std",
        "Paper's C, released reading: spread of saturation over the white square frame",
        0,
        128,
        "paper_colour_reason",
        "1/255",
    ),
    _number(
        "value_std", "Paper's C, released reading: spread of value over the white square frame", 0, 128, "paper_colour_reason", "1/255"
    ),
    _number(
        "a_grey_written",
        "Paper's A, written reading: grey difference of the lesion across its principal axis",
        0,
        255,
        "reason",
        "grey levels",
    ),
    _number("b2_written", "Paper's B2, written reading: mean signed curvature of the contour", 0, None, "reason", "1/pixel"),
    _number(
        "hue_std_written",
        "Paper's C, written reading: spread of hue inside the lesion",
        0,
        90,
        "paper_colour_reason",
        "OpenCV half degrees",
    ),
    _number(
        "saturation_std_written",
        "Paper's C, written reading: spread of saturation inside the lesion",
        0,
        128,
        "paper_colour_reason",
        "1/255",
    ),
    _number("value_std_written", "Paper's C, written reading: spread of value inside the lesion", 0, 128, "paper_colour_reason", "1/255"),
    _reason("paper_colour_reason", "a spread of hue, saturation or value is"),
)
_ASYMMETRY = (
    _number("asymmetry_score", "A: sum of the asymmetry of two perpendicular axes placed for the lowest sum", 0, 2, "asymmetry_reason"),
    _count("asymmetry_axes", "Axes of the pair whose asymmetry is at least one half", 0, 2, "asymmetry_reason"),
    _number("asymmetry_shape", "Share of lesion and mirror image not held in common, mean of both axes", 0, 1, "asymmetry_reason"),
    _number(
        "asymmetry_colour", "CIELAB distance between pixel and mirror pixel, mean of both axes", 0, None, "asymmetry_reason", "CIELAB units"
    ),
    _number("asymmetry_colour_relative", "The same over contrast with skin ** 0.25 and colour variety ** 0.5", 0, None, "asymmetry_reason"),
    _number("asymmetry_structure", "Relative difference of local contrast, mean of both axes", 0, 1, "asymmetry_reason"),
    _number("asymmetry_axis_deg", "Direction of the first axis, clockwise from the image's x axis", 0, 90, "asymmetry_reason", "degrees"),
    _number("asymmetry_visible_share", "Share of the lesion whose mirror image lies inside the frame", 0, 1, "asymmetry_reason"),
    _reason("asymmetry_reason", "the asymmetry is"),
)
_BORDER = (
    _number("border_score", "B: sum over eight sectors of how certainly the pigment breaks off there", 0, 8, "border_reason"),
    _count("border_sectors_abrupt", "Sectors where the pigment breaks off more likely than not", 0, 8, "border_reason"),
    _count("border_sectors_measured", "Sectors with a visible edge", 0, 8, "border_reason"),
    _number("border_drop_median", "Median loss of pigment across the edge", None, None, "border_reason", "CIELAB units"),
    _number("border_measured_share", "Share of the outline that is a visible edge and no cut by the frame", 0, 1, "border_reason"),
    _number("border_compactness", "Squared length of the outline over 4 pi times its area, 1 for a disc", 0.9, None, "reason"),
    _number("border_convexity", "Length of the convex hull over length of the outline", 0, 1, "reason"),
    _number("border_solidity", "Area over area of the convex hull", 0, 1, "reason"),
    _number("border_curvature_energy", "Length times integral of squared curvature over 4 pi squared, 1 for a circle", 0.9, None, "reason"),
    _number("border_fractal_dimension", "Box-counting dimension of the outline, about 1 for a smooth one", 0.7, 2, "reason"),
    _reason("border_reason", "the border score is"),
)
_COLOUR = (
    _count("colour_count", "C: how many of the six colours are present", 1, 6, "colour_reason"),
    *(
        Column(f"colour_{c}", "bool", f"Whether {c.replace('_', ' ')} is present", nullable=True, reason_column="colour_reason")
        for c in _COLOURS
    ),
    *(_number(f"colour_{c}_share", f"Share of the lesion that is {c.replace('_', ' ')}", 0, 1, "colour_reason") for c in _COLOURS),
    _reason("colour_reason", "the colours are"),
    _number(
        "colour_variety", "Root mean squared distance of the lesion's pixels from their mean colour", 0, None, "hue_reason", "CIELAB units"
    ),
    _number("hue_mean_deg", "Circular mean of hue", 0, 360, "hue_reason", "degrees"),
    _number("hue_circular_std_deg", "Circular standard deviation of hue", 0, None, "hue_reason", "degrees"),
    _number("hue_resultant", "Mean resultant length of hue, 1 where all pixels agree", 0, 1, "hue_reason"),
    _reason("hue_reason", "hue or variety are"),
    _number("skin_ita_deg", "Individual typology angle of the surrounding skin", -180, 180, "skin_reason", "degrees"),
    _number("skin_lightness", "Median CIELAB lightness of the surrounding skin", 0, 100, "skin_reason", "CIELAB units"),
    _reason("skin_reason", "the skin is"),
)
_STRUCTURE = (
    _count("structure_count", "D: how many of five structures are present", 1, 5, "structure_reason"),
    *(
        Column(f"structure_{s}", "bool", f"Whether {s} are present", nullable=True, reason_column="structure_reason")
        for s in ("network", "streaks", "globules", "dots")
    ),
    Column("structure_structureless", "bool", "Whether structureless areas are present", nullable=True, reason_column="structure_reason"),
    *(
        _number(f"structure_{s}_score", f"Log-odds for {s} above their cut; 0 is the border", None, None, "structure_reason")
        for s in ("network", "streaks", "globules")
    ),
    _number("structure_dots_score", "Logarithm of the response to small dark blobs above its cut", None, None, "structure_reason"),
    _number("structureless_share", "Share of the lesion where lightness hardly varies", 0, 1, "structure_reason"),
    _reason("structure_reason", "the structures are"),
)
_TDS = (
    _number("tds", "Total dermoscopy score 1.3 A + 0.1 B + 0.5 C + 0.5 D", 0.5, 8.9, "tds_reason"),
    _number("tds_without_structures", "The part 1.3 A + 0.1 B + 0.5 C of that score", 0.5, 6.4, "tds_reason"),
    Column(
        "tds_band",
        "string",
        "Literature's band of the score",
        nullable=True,
        allowed=("below_4_75", "4_75_to_5_45", "above_5_45"),
        reason_column="tds_reason",
    ),
    _reason("tds_reason", "the score is"),
)
_LEVELS = (
    _level("asymmetry_level", "A", "asymmetry_reason"),
    _level("border_level", "B", "border_reason"),
    _level("colour_level", "C", "colour_reason"),
    _level("structure_level", "D", "structure_reason"),
    _level("tds_level", "the total score", "tds_reason"),
    _level("a_grey_level", "the paper's A", "reason"),
    _level("b2_mean_curvature_level", "the paper's B2", "reason"),
    _level("hue_std_level", "the paper's hue spread", "paper_colour_reason"),
    _level("saturation_std_level", "the paper's saturation spread", "paper_colour_reason"),
    _level("value_std_level", "the paper's value spread", "paper_colour_reason"),
)
_INTERVALS = tuple(
    _number(f"{stem}_{end}", f"{word} value of {stem} over perturbed masks", low, high, "interval_reason")
    for stem, low, high in (("asymmetry", 0, 2), ("border", 0, 8), ("colour", 1, 6), ("tds", 0.5, 8.9))
    for end, word in (("low", "Least"), ("high", "Greatest"))
) + (
    _number(
        "interval_edge_share",
        "How far the edge was moved on average, over the radius of the disc of equal area: 1 - the Dice to be expected of the mask",
        0,
        1,
        "interval_reason",
    ),
    _reason("interval_reason", "an interval is"),
)

TABLE = Table(
    name="abc_features",
    stage="measure_abc",
    description="Asymmetry, border, colour and structure of one lesion: the paper's five numbers and the clinical ABCD rule",
    columns=(
        Column("image_id", "string", "Identifier of the image"),
        Column("mask_key", "string", "Store key of the mask that was measured", nullable=True),
        Column("mask_sha256", "string", "SHA-256 of that mask's bytes", nullable=True),
        _reason("reason", "the whole lesion is"),
        Column(
            "flags",
            "strings",
            "cut_by_frame, multiple_lesions, islands_ignored, greyscale_source, principal_axis_undefined, artefacts_over_lesion",
            nullable=True,
        ),
        _count("lesion_area_px", "Area of the measured component", 1, None, "reason", "px"),
        _number("lesion_area_share", "Their share of the image", 0, 1, "reason"),
        _count("components", "Components of the mask; the largest is measured", 1, None, "reason"),
        *_PAPER,
        *_ASYMMETRY,
        *_BORDER,
        *_COLOUR,
        *_STRUCTURE,
        *_TDS,
        *_LEVELS,
        *_INTERVALS,
    ),
)
