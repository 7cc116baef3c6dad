//! Fragments to frames (PS3.5 A.4).

use dicom_core::value::PixelFragmentSequence;

/// One codestream a frame.
///
/// Errors: the reason why fragments cannot be told apart.
pub(super) fn frames(
    sequence: &PixelFragmentSequence<Vec<u8>>,
    frames: usize,
) -> Result<Vec<Vec<u8>>, String> {
    let fragments = sequence.fragments();
    let n = fragments.len();
    if n < frames {
        return Err(format!(
            "found {n} fragments of pixel data, expected one for each of {frames} frames at least"
        ));
    }
    if n == frames {
        return Ok(fragments.to_vec());
    }
    let starts = match sequence.offset_table() {
        _ if frames == 1 => vec![0],
        [] => first_fragments(fragments),
        table => by_offset(fragments, table),
    };
    if starts.len() != frames || starts.first() != Some(&0) {
        return Err(format!(
            "found {n} fragments for {frames} frames, and nothing that says which belongs to which"
        ));
    }
    let ends = starts[1..].iter().chain([&n]);
    Ok(starts.iter().zip(ends).map(|(start, end)| fragments[*start..*end].concat()).collect())
}

/// The fragments that a Basic Offset Table points at; each has an item header of 8 bytes.
fn by_offset(fragments: &[Vec<u8>], table: &[u32]) -> Vec<usize> {
    let mut at = 0u64;
    let mut starts = Vec::new();
    for (i, fragment) in fragments.iter().enumerate() {
        if table.iter().any(|offset| u64::from(*offset) == at) {
            starts.push(i);
        }
        at += 8 + fragment.len() as u64;
    }
    starts
}

/// The fragments that begin as a codestream of JPEG, JPEG-LS or JPEG 2000 does.
fn first_fragments(fragments: &[Vec<u8>]) -> Vec<usize> {
    let begins = |f: &[u8]| f.starts_with(&[0xFF, 0xD8, 0xFF]) || f.starts_with(&[0xFF, 0x4F, 0xFF, 0x51]);
    (0..fragments.len()).filter(|&i| begins(&fragments[i])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_go_to_their_frames() {
        let (a, b) = (vec![0xFF, 0xD8, 0xFF, 1], vec![2, 3]);
        let of = |table: Vec<u32>, fragments: &[&Vec<u8>]| {
            PixelFragmentSequence::new(table, fragments.iter().map(|f| f.to_vec()).collect::<Vec<_>>())
        };
        let whole = [a.clone(), b.clone()].concat();
        for (name, table, fragments, n, expected) in [
            ("one each", vec![], vec![&a, &b], 2, Some(vec![a.clone(), b.clone()])),
            ("one frame", vec![], vec![&a, &b], 1, Some(vec![whole.clone()])),
            ("table", vec![0, 12], vec![&a, &a, &b], 2, Some(vec![a.clone(), whole.clone()])),
            ("markers", vec![], vec![&a, &b, &a], 2, Some(vec![whole.clone(), a.clone()])),
            ("wrong table", vec![0, 13], vec![&a, &a, &b], 2, None),
            ("no table, no markers", vec![], vec![&b, &b, &b], 2, None),
            ("too few", vec![], vec![&a], 2, None),
        ] {
            let found = frames(&of(table, &fragments), n);
            assert_eq!(found.as_ref().ok(), expected.as_ref(), "{name}: {found:?}");
        }
    }
}
