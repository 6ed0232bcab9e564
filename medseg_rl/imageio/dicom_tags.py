"""The tags that are read of a DICOM image, and where a frame of a multi-frame file says the same.

Names only: `dicom_slices` reads them. None of them names a patient.
"""

from __future__ import annotations

SPLITTING_TAGS = (
    *("AcquisitionNumber", "TemporalPositionIdentifier", "EchoTime", "EchoNumbers", "InversionTime", "TriggerTime"),
    *("DiffusionBValue", "StackID", "ImageType", "AcquisitionDate", "AcquisitionTime", "ContentTime"),
)
IMAGE_TAGS = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "InstanceNumber"),
    *("Modality", "NumberOfFrames", "Rows", "Columns", "PixelSpacing", "ImageOrientationPatient"),
    *("ImagePositionPatient", "PhotometricInterpretation", "SamplesPerPixel", "BitsAllocated", "RescaleSlope"),
    *("RescaleIntercept", "RescaleType", "ModalityLUTSequence", "WindowCenter", "WindowWidth"),
)
PET_TAGS = (
    *("Units", "SUVType", "CorrectedImage", "DecayCorrection", "PatientWeight", "SeriesDate", "SeriesTime"),
    "RadiopharmaceuticalInformationSequence",
)
COUNTS = ("Rows", "Columns", "NumberOfFrames", "BitsAllocated", "SamplesPerPixel")
TAGS = (*SPLITTING_TAGS, *IMAGE_TAGS, *PET_TAGS)
GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
FRAME_VALUES = {  # the functional group in which a frame says each of these
    "PixelSpacing": "PixelMeasuresSequence",
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "WindowCenter": "FrameVOILUTSequence",
    "WindowWidth": "FrameVOILUTSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "RescaleType": "PixelValueTransformationSequence",
}
FRAME_TAGS = {  # where a frame says what a plain file says: the functional group, and its name there
    "AcquisitionNumber": (("FrameContentSequence", "FrameAcquisitionNumber"),),
    "TemporalPositionIdentifier": (("FrameContentSequence", "TemporalPositionIndex"),),
    "StackID": (("FrameContentSequence", "StackID"),),
    "AcquisitionTime": (("FrameContentSequence", "FrameAcquisitionDateTime"),),
    "EchoTime": (("MREchoSequence", "EffectiveEchoTime"),),
    "DiffusionBValue": (("MRDiffusionSequence", "DiffusionBValue"),),
    "TriggerTime": (("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),),
    "ImageType": tuple((f"{kind}ImageFrameTypeSequence", "FrameType") for kind in ("MR", "CT", "PET")),
    "InstanceNumber": (("UnassignedPerFrameConvertedAttributesSequence", "InstanceNumber"),),
}
