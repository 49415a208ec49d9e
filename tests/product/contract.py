"""The published contract written out by hand, so that reader and simulator cannot share a mistake.

Keys are those of the documentation's tables: ZA is LSTzoom and PA LSTprecision in configuration A, B is both.
"""

from __future__ import annotations

from typing import Any

_CLASSES = {
    "scl_masks_bands": {
        "cloud_mask_classes": {"0": "clear", "1": "thick cloud", "2": "thin cloud", "3": "cloud shadow"},
        "castshadow_mask_classes": {"0": "clear", "1": "castshadow"},
        "landwater_mask_classes": {"0": "land", "1": "water"},
        "static_landwater_mask_classes": {"0": "land", "1": "water"},
    },
    "qa_mask_bands": {
        "blackfill_mask_classes": {"0": "valid", "1": "no data"},
        "saturated_mask_classes": {"0": "valid", "1": "saturated"},
        "untested_mask_classes": {"0": "valid", "1": "untested"},
    },
}
_TOP = {
    "product_id": "LSTPRECISION_SBA02_U155VHMQ_20260708T235815Z",
    "platform": "SBA02",
    "product_type": "L2",
    "product_name": "LSTprecision",
    "processing_scenario": "NRT",
    "acquisition_id": "somewhere_20260708",
    "acquisition_datetime": "2026-07-08T23:58:15.118000Z",
    "processing_time": "2026-07-09T14:12:48.694957Z",
    "parent_product_key": "parent",
    "link": "https://example.com/documentation",
    "source": "constellr",
    "use_limitations": "NA",
    "elevation_data_source": "COPERNICUS GLO30",
    "aerosol_model": "RURAL",
    "thick_cloud_percentage": 12.5,
    "thin_cloud_percentage": 2.25,
    "cloud_shadow_percentage": 3,
    **_CLASSES,
}
_RING = [[10.0, 48.0], [10.2, 48.0], [10.2, 48.1], [10.0, 48.1], [10.0, 48.0]]
_BAND = {
    "name": "vnir03",
    "eo:common_name": "green",
    "band_centre": 0.56,
    "band_width": 0.035,
    "band_wavelength_unit": "µm",
    "resolutions": [10],
    "resolution_unit": "m",
    "dimensions": [1500, 1500],
    "esun": {"value": 1823.0, "unit": "W/m²/µm"},
    "saturated_percentage": 0.0,
    "nodata_percentage": 0.0,
    "nottested_percentage": 100.0,
}
_GAS = {"TCO3": 320.0, "TCO3_unit": "Dobson Unit", "TCO3_source": "CAMS_fc"}
_AOT = {"AOT_median": 0.1, "AOT_unit": "1", "AOT_source": "CAMS_fc", "DDV_percentage": "NA"}
_SR_BANDS = {"vnir03": {"eo:common_name": "green", "clipped_pixels": 4}}
_CORRECTED = {"topographic_correction": True, "adjacency_correction": False}
_OLD_CORRECTED = {"topographic_correction": 1, "adjacency_correction": 0}
_SR = {
    "SR_unit": "1",
    "SR_type": "uint16",
    "SR_offset": -0.1,
    "SR_scale_factor": 0.0001,
    "SR_nodata": 65535,
    "SR_format": "COG",
}
_GEOMETRIC = {
    "geometry": {"type": "Polygon", "coordinates": [_RING]},
    "bbox": [10.0, 48.0, 10.2, 48.1],
    "centroid": {"lon": 10.1, "lat": 48.05},
    "earth_sun_distance": 1.0167,
    "solar_angles": {"view : sun_elevation": 58.5, "view : sun_azimuth": 142.0},
    "viewing_angles": {"view : off_nadir": 6.5, "view : incident_angle": 7.25, "view : azimuth": 101.5},
    "surface_altitude_median": 0.412,
}
_TIMES = {
    "acquisition_starttime": "2026-07-08T23:58:15.118Z",
    "acquisition_endtime": "2026-07-08T23:58:18.118Z",
}

PA: dict[str, Any] = {
    **_TOP,
    "atmospheric_data_source": "CAMS",
    "day_flag": True,
    "cloud_cover_computed": True,
    "aoi_cloud_cover": 14.0,
    "geometric": _GEOMETRIC,
    "sensors": {
        **_TIMES,
        "VNIR": {"sensor_id": ["VNIR"], "record_id": ["r1"], "bands": {"vnir03": _BAND}},
    },
    "products": {
        "VNIR": {
            "sensor_id": ["VNIR"],
            **_GAS,
            "AOT": {**_AOT, **_CORRECTED},
            "TCWV": {"TCWV_median": 1.9, "TCWV_source": "constellr", **_CORRECTED},
            "SR": {**_CORRECTED, "Bands": _SR_BANDS},
        },
        "TIR": {
            "sensor_id": ["TIR"],
            **_GAS,
            "AOT_median": 0.1,
            "AOT_source": "Fixed",
            "TCWV_median": 1.9,
            "TCWV_source": "ERA5",
        },
    },
}
"""LSTprecision, effective 20 January 2026: without any encoding."""

ZA: dict[str, Any] = {
    **{key: value for key, value in PA.items() if key != "aoi_cloud_cover"},
    "product_name": "LSTzoom",
    "earth_sun_distance": 1.0167,
    "sensors": {**_TIMES, "VNIR": {"bands": {"vnir03": _BAND}}},
    "products": {
        "VNIR": {
            "sensor_id": ["VNIR"],
            **_GAS,
            "AOT": {**_AOT, **_CORRECTED},
            "TCWV": {
                "TCWV_median": 1.9,
                "TCWV_source": "constellr",
                "TCWV_unit": "g/cm²",
                "TCWV_file_id": "tcwv.tiff",
                "TCWV_type": "uint16",
                "TCWV_offset": 0.0,
                "TCWV_scale_factor": 0.001,
                "TCWV_nodata": 65535,
                "TCWV_format": "COG",
                **_CORRECTED,
            },
            "SR": {**_SR, **_CORRECTED, "Bands": _SR_BANDS},
        },
        "TIR": {
            **PA["products"]["TIR"],
            "AOT_unit": "1",
            "TCWV_unit": "g/cm²",
        },
    },
}
"""LSTzoom, effective 20 January 2026."""

B: dict[str, Any] = {
    **_TOP,
    "atmospheric_data_source": "CAMS_forecast",
    "earth_sun_distance": 1.0167,
    "sensors": {
        **_TIMES,
        "bbox": [10.0, 48.0, 10.2, 48.1],
        "geometry": {"type": "Polygon", "coordinates": [_RING]},
        "crs": "EPSG:32632",
        "viewing_angles": {"azimuth_mean": 101.5, "zenith_mean": 7.25},
        "solar_angles": {"azimuth_mean": 142.0, "zenith_mean": 31.5},
        "surface_altitude_median": 412.0,
        "VNIR": {"sensor_id": ["VNIR"], "record_id": ["r1"], "bands": {"vnir03": _BAND}},
    },
    "products": {
        "VNIR": {
            "sensor_id": ["VNIR"],
            **_GAS,
            "AOT": {
                **_AOT,
                "AOT_file_id": "NA",
                "AOT_type": "uint16",
                "AOT_offset": 0.0,
                "AOT_scale_factor": 0.001,
                "AOT_nodata": 65535,
                "AOT_format": "COG",
                **_OLD_CORRECTED,
            },
            "TCWV": {**ZA["products"]["VNIR"]["TCWV"], **_OLD_CORRECTED},
            "SR": {**_SR, **_OLD_CORRECTED, "Bands": _SR_BANDS},
        },
        "TIR": {
            **ZA["products"]["TIR"],
            "AOT_file_id": "NA",
            "TCWV_file_id": "NA",
            "ST": {
                "ST_type": "uint16",
                "ST_offset": 0.0,
                "ST_scale_factor": 0.01,
                "ST_unit": "K",
                "ST_nodata": 65535,
                "ST_format": "COG",
            },
        },
    },
}
"""Both products before 20 January 2026."""

EDITIONS: dict[str, dict[str, Any]] = {"ZA": ZA, "PA": PA, "B": B}
