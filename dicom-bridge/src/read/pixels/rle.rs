//! RLE Lossless (PS3.5 Annex G), of any size of word. The decoder of dicom-rs has no 32-bit words, and a damaged frame
//! ends it by a panic.

use super::Layout;
use super::native::interleave;

/// The words of one frame, [rows, columns, samples].
pub(super) fn words(frame: &[u8], layout: &Layout) -> Result<Vec<u32>, String> {
    let pixels = layout.rows * layout.columns;
    let bytes_a_word = (layout.allocated / 8).max(1) as usize;
    let wanted = layout.samples * bytes_a_word;
    let number = |i: usize| {
        let bytes = frame.get(4 * i..4 * i + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let found = number(0).ok_or("the frame has no RLE header")?;
    if found != wanted || found > 15 {
        return Err(format!("found {found} RLE segments, expected {wanted}"));
    }
    let mut planes = vec![0u32; pixels * layout.samples];
    for segment in 0..wanted {
        let start = number(segment + 1);
        let end = if segment + 1 < wanted { number(segment + 2) } else { Some(frame.len()) };
        let bytes = start.zip(end).and_then(|(start, end)| frame.get(start..end));
        let bytes = bytes.and_then(|bytes| unpack(bytes, pixels));
        let bytes = bytes.ok_or_else(|| format!("RLE segment {} of {wanted} is damaged", segment + 1))?;
        // The most significant byte of a word comes first.
        let shift = 8 * (bytes_a_word - 1 - segment % bytes_a_word);
        let plane = &mut planes[segment / bytes_a_word * pixels..][..pixels];
        for (word, byte) in plane.iter_mut().zip(bytes) {
            *word |= u32::from(byte) << shift;
        }
    }
    Ok(interleave(&planes, layout.samples))
}

/// `wanted` bytes out of runs (G.3.2); none where they end before.
fn unpack(mut bytes: &[u8], wanted: usize) -> Option<Vec<u8>> {
    let mut unpacked = Vec::new();
    while unpacked.len() < wanted {
        let (&length, rest) = bytes.split_first()?;
        bytes = match length {
            0..=127 => {
                let (run, rest) = rest.split_at_checked(usize::from(length) + 1)?;
                unpacked.extend_from_slice(run);
                rest
            }
            // Does nothing.
            128 => rest,
            129.. => {
                let (&byte, rest) = rest.split_first()?;
                unpacked.resize(unpacked.len() + 257 - usize::from(length), byte);
                rest
            }
        };
    }
    unpacked.truncate(wanted);
    Some(unpacked)
}

#[cfg(test)]
mod tests {
    use super::super::tests::layout;
    use super::*;

    /// Header and segments of a frame.
    fn frame(segments: &[&[u8]]) -> Vec<u8> {
        let mut header = vec![segments.len() as u32];
        let mut at = 64;
        for segment in segments {
            header.push(at);
            at += segment.len() as u32;
        }
        header.resize(16, 0);
        let mut bytes: Vec<u8> = header.iter().flat_map(|n| n.to_le_bytes()).collect();
        bytes.extend(segments.concat());
        bytes
    }

    #[test]
    fn words_of_every_size() {
        let run = |byte: u8| [0xFF, byte];
        let [a, b, c, d] = [0x11, 0x22, 0x33, 0x44].map(run);
        assert_eq!(words(&frame(&[&a]), &layout(1, 2, 1, 8)).unwrap(), [0x11; 2]);
        assert_eq!(words(&frame(&[&a, &b]), &layout(1, 2, 1, 16)).unwrap(), [0x1122; 2]);
        assert_eq!(words(&frame(&[&a, &b, &c, &d]), &layout(1, 2, 1, 32)).unwrap(), [0x1122_3344; 2]);
        assert_eq!(words(&frame(&[&a, &b, &c]), &layout(1, 2, 3, 8)).unwrap(), [17, 34, 51, 17, 34, 51]);
        // Three as they are, nothing, four times 7.
        let mixed = [2, 1, 2, 3, 128, 253, 7];
        assert_eq!(words(&frame(&[&mixed]), &layout(1, 7, 1, 8)).unwrap(), [1, 2, 3, 7, 7, 7, 7]);
    }

    #[test]
    fn damaged_frames_are_refused() {
        let eight = layout(1, 2, 1, 8);
        let sound = frame(&[&[0xFF, 7]]);
        for bytes in
            [&[][..], &sound[..3], &sound[..64], &sound[..65], &frame(&[&[1, 2]]), &frame(&[&[1], &[2]])]
        {
            assert!(words(bytes, &eight).is_err(), "{bytes:?}");
        }
        let mut far = sound.clone();
        far[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(words(&far, &eight).is_err());
    }
}
