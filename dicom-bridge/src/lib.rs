//! DICOM in, DICOM out: series to unit images, results to derived DICOM objects.
