//! Transfer syntaxes: which are decoded, how, and what the others are called.

use dicom_dictionary_std::uids;

/// Retired in 2006, but files remain.
pub(super) const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";

/// How pixels are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    /// Not at all: the value of Pixel Data is the samples of all frames.
    Native,
    /// Samples as they are, a fragment a frame.
    Fragment,
    /// The same, each frame deflated.
    Deflated,
    /// Runs of bytes (PS3.5 Annex G).
    Rle,
    /// JPEG, lossy of 8 bits or lossless.
    Jpeg,
    /// JPEG 2000.
    Jpeg2000,
    /// JPEG-LS.
    JpegLs,
}

/// Without the C++ library the name is still known.
const JPEG_LS: Option<Codec> = if cfg!(feature = "charls") { Some(Codec::JpegLs) } else { None };

/// Everything that comes up, with its name. Not decoded are video, remote pixels and JPEG 2000 of several components.
const KNOWN: [(&str, &str, Option<Codec>); 17] = [
    (uids::IMPLICIT_VR_LITTLE_ENDIAN, "Implicit VR Little Endian", Some(Codec::Native)),
    (uids::EXPLICIT_VR_LITTLE_ENDIAN, "Explicit VR Little Endian", Some(Codec::Native)),
    (uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, "Deflated Explicit VR Little Endian", Some(Codec::Native)),
    (BIG_ENDIAN, "Explicit VR Big Endian", Some(Codec::Native)),
    ("1.2.840.10008.1.2.1.98", "Encapsulated Uncompressed", Some(Codec::Fragment)),
    ("1.2.840.10008.1.2.8.1", "Deflated Image Frame", Some(Codec::Deflated)),
    (uids::RLE_LOSSLESS, "RLE Lossless", Some(Codec::Rle)),
    (uids::JPEG_BASELINE8_BIT, "JPEG Baseline", Some(Codec::Jpeg)),
    // Most of its files have 12 bits, which the decoder refuses.
    (uids::JPEG_EXTENDED12_BIT, "JPEG Extended", Some(Codec::Jpeg)),
    (uids::JPEG_LOSSLESS, "JPEG Lossless", Some(Codec::Jpeg)),
    (uids::JPEG_LOSSLESS_SV1, "JPEG Lossless, first-order prediction", Some(Codec::Jpeg)),
    (uids::JPEG2000_LOSSLESS, "JPEG 2000 Lossless", Some(Codec::Jpeg2000)),
    (uids::JPEG2000, "JPEG 2000", Some(Codec::Jpeg2000)),
    (uids::JPEGLS_LOSSLESS, "JPEG-LS Lossless", JPEG_LS),
    (uids::JPEGLS_NEAR_LOSSLESS, "JPEG-LS Near-Lossless", JPEG_LS),
    ("1.2.840.10008.1.2.4.201", "High-Throughput JPEG 2000 Lossless", None),
    ("1.2.840.10008.1.2.4.203", "High-Throughput JPEG 2000", None),
];

/// How a transfer syntax is decoded; none where it is not.
pub(super) fn codec(uid: &str) -> Option<Codec> {
    KNOWN.iter().find(|(known, ..)| *known == uid)?.2
}

/// UID and name of a transfer syntax, and what would help where it is not decoded.
pub(super) fn name_of(uid: &str) -> String {
    match KNOWN.iter().find(|(known, ..)| *known == uid) {
        Some((_, name, None)) if name.starts_with("JPEG-LS") => {
            format!("{name} ({uid}), which takes a build with --features anomalens-dicom-bridge/charls")
        }
        Some((_, name, _)) => format!("{name} ({uid})"),
        None => uid.to_owned(),
    }
}
