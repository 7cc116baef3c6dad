//! One compressed frame, by the codec crates. What the codestream says of itself must fit what the header says.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use jpeg_decoder::{ColorTransform, PixelFormat};

use super::Layout;
use crate::read::syntax::Codec;

/// The words of one frame, [rows, columns, samples].
pub(super) fn words(codec: Codec, frame: &[u8], layout: &Layout) -> Result<Vec<u32>, String> {
    // A codec that comes upon damage must end this image, not the program.
    let decoded = catch_unwind(AssertUnwindSafe(|| match codec {
        Codec::Jpeg2000 => jpeg2000(frame, layout),
        Codec::JpegLs => jpeg_ls(frame, layout),
        _ => jpeg(frame, layout),
    }));
    let words = decoded.map_err(|_| "the codestream is damaged".to_owned())??;
    if words.len() != layout.len() {
        return Err(format!("found {} samples, expected {}", words.len(), layout.len()));
    }
    Ok(words)
}

/// Rows, columns, samples and bits of a codestream against those of the header.
fn fits(layout: &Layout, found: [usize; 3], bits: usize) -> Result<(), String> {
    let expected = [layout.rows, layout.columns, layout.samples];
    if found != expected {
        return Err(format!("the codestream has rows, columns, samples {found:?}, the header {expected:?}"));
    }
    if bits > layout.allocated as usize {
        return Err(format!("the codestream has {bits} bits, Bits Allocated is {}", layout.allocated));
    }
    Ok(())
}

fn jpeg(frame: &[u8], layout: &Layout) -> Result<Vec<u32>, String> {
    let mut decoder = jpeg_decoder::Decoder::new(Cursor::new(frame));
    // Without Adobe's marker the codestream does not say what its colours are, and the decoder would guess by
    // component names; the header knows.
    if layout.samples == 3 && !has_adobe_marker(frame) {
        let rgb = layout.photometric == "RGB";
        decoder.set_color_transform(if rgb { ColorTransform::RGB } else { ColorTransform::YCbCr });
    }
    decoder.read_info().map_err(|e| e.to_string())?;
    let info = decoder.info().ok_or("no frame in the codestream")?;
    let (samples, bits) = match info.pixel_format {
        PixelFormat::L8 => (1, 8),
        PixelFormat::L16 => (1, 16),
        PixelFormat::RGB24 => (3, 8),
        PixelFormat::CMYK32 => (4, 8),
    };
    fits(layout, [usize::from(info.height), usize::from(info.width), samples], bits)?;
    let bytes = decoder.decode().map_err(|e| e.to_string())?;
    Ok(match bits {
        8 => bytes.iter().map(|b| u32::from(*b)).collect(),
        _ => bytes.chunks_exact(2).map(|b| u32::from(u16::from_ne_bytes([b[0], b[1]]))).collect(),
    })
}

/// Whether APP14 "Adobe" stands before the first scan.
fn has_adobe_marker(frame: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&[0xFF, marker, high, low]) =
        frame.get(at..at + 4).and_then(|b| <&[u8; 4]>::try_from(b).ok())
    {
        match marker {
            0xEE if frame.get(at + 4..at + 9) == Some(b"Adobe") => return true,
            // Start of scan.
            0xDA => return false,
            _ => at += 2 + usize::from(u16::from_be_bytes([high, low])),
        }
    }
    false
}

fn jpeg2000(frame: &[u8], layout: &Layout) -> Result<Vec<u32>, String> {
    // Strict: without it a codestream that is cut off gives an image all the same.
    let parameters = jpeg2k::DecodeParameters::new().strict(true);
    let image = jpeg2k::Image::from_bytes_with(frame, parameters).map_err(|e| e.to_string())?;
    let components = image.components();
    let mut words = vec![0; layout.len()];
    for (sample, component) in components.iter().enumerate() {
        let [h, w] = [component.height(), component.width()].map(|n| n as usize);
        fits(layout, [h, w, components.len()], component.precision() as usize)?;
        // Where the codestream's sign is not the header's, its low bits still are the stored value: the header says
        // how to read them, as in every transfer syntax.
        let mask = u32::MAX >> (32 - layout.allocated);
        for (pixel, value) in component.data().iter().enumerate() {
            words[pixel * layout.samples + sample] = *value as u32 & mask;
        }
    }
    if components.is_empty() {
        return Err("no component in the codestream".to_owned());
    }
    Ok(words)
}

#[cfg(feature = "charls")]
fn jpeg_ls(frame: &[u8], layout: &Layout) -> Result<Vec<u32>, String> {
    let mut decoder = charls::CharLS::default();
    let info = decoder.get_frame_info(frame).map_err(|e| e.to_string())?;
    let [h, w] = [info.height, info.width].map(|n| n as usize);
    let [samples, bits] = [info.component_count, info.bits_per_sample].map(|n| n as usize);
    fits(layout, [h, w, samples], bits)?;
    // A decoder that has looked at a header wants a new source.
    let bytes = charls::CharLS::default().decode(frame).map_err(|e| e.to_string())?;
    let words: Vec<u32> = match bits {
        0..=8 => bytes.iter().map(|b| u32::from(*b)).collect(),
        _ => bytes.chunks_exact(2).map(|b| u32::from(u16::from_ne_bytes([b[0], b[1]]))).collect(),
    };
    let planar = samples > 1 && !interleaved(frame);
    Ok(if planar { super::native::interleave(&words, samples) } else { words })
}

/// Whether the first scan of a JPEG-LS codestream mixes its components: ILV of its header (ISO 14495-1 C.2.3).
#[cfg(feature = "charls")]
fn interleaved(frame: &[u8]) -> bool {
    let scan = frame.windows(2).position(|w| w == [0xFF, 0xDA]).unwrap_or(frame.len());
    let components = frame.get(scan + 4).map_or(0, |n| usize::from(*n));
    frame.get(scan + 6 + 2 * components).is_some_and(|ilv| *ilv != 0)
}

#[cfg(not(feature = "charls"))]
fn jpeg_ls(_: &[u8], _: &Layout) -> Result<Vec<u32>, String> {
    unreachable!("without charls JPEG-LS is no known codec")
}

#[cfg(test)]
mod tests {
    use super::super::tests::layout;
    use super::*;

    #[test]
    fn what_is_no_codestream_is_refused() {
        for codec in [Codec::Jpeg, Codec::Jpeg2000] {
            for bytes in [&[][..], &[0xFF, 0xD8, 0xFF], &[0xFF, 0x4F, 0xFF, 0x51, 0, 47], &[7; 100]] {
                assert!(words(codec, bytes, &layout(2, 2, 1, 16)).is_err(), "{codec:?} {bytes:?}");
            }
        }
    }

    #[test]
    fn a_codestream_of_another_size_is_refused() {
        let mut bytes = Vec::new();
        let picture = image::GrayImage::from_fn(4, 2, |x, y| image::Luma([(40 * (x + y)) as u8]));
        picture.write_to(&mut Cursor::new(&mut bytes), image::ImageFormat::Jpeg).unwrap();
        let found = words(Codec::Jpeg, &bytes, &layout(2, 4, 1, 8)).unwrap();
        assert!(found.iter().zip(picture.as_raw()).all(|(a, b)| a.abs_diff(u32::from(*b)) <= 4), "{found:?}");
        for other in [layout(4, 2, 1, 8), layout(2, 5, 1, 8), layout(2, 4, 3, 8)] {
            let e = words(Codec::Jpeg, &bytes, &other).unwrap_err();
            assert!(e.contains("the codestream has rows"), "{e}");
        }
    }
}
