//! Samples that are not compressed.

use std::io::Read;

use super::Layout;

/// The words of one frame, [rows, columns, samples]; none where the bytes end before it does. Only of 1 bit a sample may
/// a frame begin within a byte (PS3.5 8.1.1).
pub(super) fn words(bytes: &[u8], layout: &Layout, frame: usize) -> Option<Vec<u32>> {
    if layout.allocated == 1 {
        let first = frame * layout.len();
        let bit = |i: usize| bytes.get(i / 8).map(|byte| u32::from(byte >> (i % 8) & 1));
        return (first..first + layout.len()).map(bit).collect();
    }
    let size = layout.bytes(1);
    let bytes = bytes.get(frame * size..(frame + 1) * size)?;
    if layout.halved {
        // Y Y Cb Cr become Y Cb Cr, Y Cb Cr (PS3.3 C.7.6.3.1.2).
        let pixel = |y: u8, b: u8, r: u8| [y, b, r].map(u32::from);
        return Some(
            bytes
                .chunks_exact(4)
                .flat_map(|c| [pixel(c[0], c[2], c[3]), pixel(c[1], c[2], c[3])].concat())
                .collect(),
        );
    }
    let words: Vec<u32> = match layout.allocated {
        8 => bytes.iter().map(|b| u32::from(*b)).collect(),
        16 => bytes.chunks_exact(2).map(|b| u32::from(u16::from_le_bytes([b[0], b[1]]))).collect(),
        _ => bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
    };
    Some(if layout.planar { interleave(&words, layout.samples) } else { words })
}

/// All samples of the first kind, then all of the next, … to the samples of the first pixel, of the next, …
pub(super) fn interleave(words: &[u32], samples: usize) -> Vec<u32> {
    let pixels = words.len() / samples;
    (0..words.len()).map(|i| words[i % samples * pixels + i / samples]).collect()
}

/// 32-bit words that were read as 16-bit words of big-endian data: their halves stand in the wrong order.
pub(super) fn swap_halves(bytes: &mut [u8]) {
    for word in bytes.chunks_exact_mut(4) {
        word.rotate_left(2);
    }
}

/// One frame, deflated (PS3.5 A.4.15): no more than `wanted` bytes of it.
pub(super) fn inflate(bytes: &[u8], wanted: usize) -> Result<Vec<u8>, String> {
    let mut frame = Vec::new();
    let decoder = flate2::read::DeflateDecoder::new(bytes);
    decoder.take(wanted as u64 + 2).read_to_end(&mut frame).map_err(|e| e.to_string())?;
    // One byte more makes an odd length even.
    if frame.len() == wanted || frame.len() == wanted + 1 {
        Ok(frame)
    } else {
        Err(format!("found {} bytes or more in a frame, expected {wanted}", frame.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::layout;
    use super::*;

    #[test]
    fn frames_of_one_bit_begin_within_bytes() {
        // Two frames of 1 × 5: 10110 and 01101, lowest bit first.
        let bytes = [0b1100_1101, 0b10];
        let one = layout(1, 5, 1, 1);
        assert_eq!(words(&bytes, &one, 0).unwrap(), [1, 0, 1, 1, 0]);
        assert_eq!(words(&bytes, &one, 1).unwrap(), [0, 1, 1, 0, 1]);
        assert_eq!(words(&bytes[..1], &one, 1), None);
    }

    #[test]
    fn halved_colour_and_planes() {
        let mut halved = layout(1, 2, 3, 8);
        halved.halved = true;
        assert_eq!(words(&[1, 2, 3, 4], &halved, 0).unwrap(), [1, 3, 4, 2, 3, 4]);
        let mut planar = layout(1, 2, 3, 8);
        planar.planar = true;
        assert_eq!(words(&[1, 2, 3, 4, 5, 6], &planar, 0).unwrap(), [1, 3, 5, 2, 4, 6]);
    }

    #[test]
    fn halves_are_swapped() {
        let mut bytes = [0x22, 0x11, 0x44, 0x33];
        swap_halves(&mut bytes);
        assert_eq!(words(&bytes, &layout(1, 1, 1, 32), 0).unwrap(), [0x1122_3344]);
    }

    #[test]
    fn a_deflated_frame_has_its_length() {
        // Python: zlib.compressobj(wbits=-15) of b"abc".
        let bytes = [0x4B, 0x4C, 0x4A, 0x06, 0x00];
        assert_eq!(inflate(&bytes, 3).unwrap(), b"abc");
        assert_eq!(inflate(&bytes, 2).unwrap(), b"abc");
        assert!(inflate(&bytes, 4).unwrap_err().contains("expected 4"));
        assert!(inflate(&bytes, 1).is_err());
    }
}
