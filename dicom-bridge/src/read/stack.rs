//! Slices to a stack: one grid, sorted along the normal, no gap and no duplicate.

use std::sync::Arc;

use dicom_dictionary_std::tags;

use super::{Series, Source};
use crate::attributes::{numbers, text};
use crate::error::ReadError;

/// Two slices nearer than this, in mm, are at one place: positions are written with micrometres at best, and no scanner
/// cuts this thin.
const SAME_PLACE: f64 = 0.01;
/// The distance between neighbours may vary by this part of the median.
const UNEVEN: f64 = 0.1;
/// Slices of two channels belong together within this many mm, a tenth of a fine pixel.
const ALIGNED: f64 = 0.05;

/// The sources of one series, sorted along the normal.
///
/// Errors: [`ReadError::Grid`], [`ReadError::Unplaced`], [`ReadError::Duplicate`], [`ReadError::Gap`].
pub(super) fn sort(
    channel: &str,
    series: &Series,
    decisions: &mut Vec<String>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Arc<Source>>, ReadError> {
    let images = &series.images;
    if images.len() == 1 {
        decisions.push(format!("channel '{channel}': a single slice, taken alone"));
        return Ok(images.clone());
    }
    for image in &images[1..] {
        grid(image, &images[0], "give the folder of one acquisition: a localiser may have got into it")?;
    }
    let mut placed = Vec::new();
    for image in images {
        let place = image.geometry.place().ok_or_else(|| ReadError::Unplaced {
            path: image.path.clone(),
            attribute: match image.geometry.position {
                None => "Image Position (Patient) (0020,0032)",
                Some(_) => "Image Orientation (Patient) (0020,0037)",
            },
            slices: images.len(),
        })?;
        placed.push((place, image.clone()));
    }
    placed.sort_by(|a, b| a.0.total_cmp(&b.0));
    even(channel, &placed, decisions, warnings)?;
    Ok(placed.into_iter().map(|(_, image)| image).collect())
}

/// Checks that sorted slices follow each other at one distance.
fn even(
    channel: &str,
    placed: &[(f64, Arc<Source>)],
    decisions: &mut Vec<String>,
    warnings: &mut Vec<String>,
) -> Result<(), ReadError> {
    let distances: Vec<f64> = placed.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    if let Some(i) = distances.iter().position(|d| *d < SAME_PLACE) {
        return Err(ReadError::Duplicate {
            path: placed[i].1.path.clone(),
            other: placed[i + 1].1.path.clone(),
            place: placed[i].0,
        });
    }
    let mut sorted = distances.clone();
    sorted.sort_by(f64::total_cmp);
    let median = sorted[(sorted.len() - 1) / 2];
    let declared = numbers::<1>(&placed[0].1.object, tags::SPACING_BETWEEN_SLICES).ok().flatten();
    let declared = declared.map(|[d]| d.abs()).filter(|d| *d > 0.0);
    // Between two slices nothing else tells whether a third is missing.
    let expected = if distances.len() == 1 { declared.unwrap_or(median) } else { median };
    for (i, &found) in distances.iter().enumerate() {
        if (found - expected).abs() > UNEVEN * expected {
            let missing = match (found / expected).round() as usize {
                n @ 2.. => format!("{} slice(s) missing", n - 1),
                _ => "the distances are uneven".to_owned(),
            };
            return Err(ReadError::Gap {
                path: placed[i].1.path.clone(),
                next: placed[i + 1].1.path.clone(),
                found,
                expected,
                missing,
            });
        }
    }
    decisions.push(format!(
        "channel '{channel}': {} slices, {expected:.3} mm apart, sorted along the normal",
        placed.len()
    ));
    if let Some(declared) = declared.filter(|d| (d - median).abs() > UNEVEN * median) {
        warnings.push(format!(
            "channel '{channel}': the slices are {median:.3} mm apart, Spacing Between Slices (0018,0088) says {declared}: is every second one missing?"
        ));
    }
    Ok(())
}

/// Whether a stack (sorted, not empty) lies on the grid of another, slice by slice; if not, it can be resampled: it is
/// of the same patient and in the same frame of reference.
///
/// Errors: [`ReadError::Grid`] where it cannot.
pub(super) fn on_grid(stack: &[Arc<Source>], reference: &[Arc<Source>]) -> Result<bool, ReadError> {
    const REMEDY: &str = "bring the series into one frame of reference and onto one grid first";
    let frames = [&stack[0], &reference[0]].map(|s| s.geometry.frame_of_reference.as_ref());
    let fail = |a: &Source, b: &Source, what, found: String, expected: String| ReadError::Grid {
        path: a.path.clone(),
        other: b.path.clone(),
        what,
        found: found.into(),
        expected: expected.into(),
        remedy: REMEDY,
    };
    if patient(&stack[0]) != patient(&reference[0]) {
        grid(&stack[0], &reference[0], REMEDY)?;
    }
    if frames[0] != frames[1] {
        // UIDs do not belong into messages.
        let (found, expected) = ("another one".into(), "the same".into());
        return Err(fail(&stack[0], &reference[0], "frame of reference", found, expected));
    }
    let difference = if stack.len() != reference.len() {
        let (found, expected) = (stack.len().to_string(), reference.len().to_string());
        Err(fail(&stack[0], &reference[0], "number of slices", found, expected))
    } else {
        stack.iter().zip(reference).try_for_each(|(a, b)| {
            grid(a, b, REMEDY)?;
            let far = |p: [f64; 3], q: [f64; 3]| p.iter().zip(q).any(|(x, y)| (x - y).abs() > ALIGNED);
            let (p, q) = (a.geometry.position, b.geometry.position);
            let same = p.zip(q).map_or(p.is_none() && q.is_none(), |(p, q)| !far(p, q));
            if same { Ok(()) } else { Err(fail(a, b, "position in mm", format!("{p:?}"), format!("{q:?}"))) }
        })
    };
    match difference {
        Ok(()) => Ok(true),
        // Without a frame of reference nobody knows where it lies in the other's.
        Err(_) if frames[0].is_some() => Ok(false),
        Err(e) => Err(e),
    }
}

/// Patient ID (0010,0020).
fn patient(source: &Source) -> Option<String> {
    text(&source.object, tags::PATIENT_ID)
}

/// Two objects of one patient on one grid, positions apart.
fn grid(a: &Source, b: &Source, remedy: &'static str) -> Result<(), ReadError> {
    let different = if patient(a) != patient(b) {
        // Identifiers do not belong into messages.
        Some(("Patient ID (0010,0020)", "another one".to_owned(), "the same".to_owned()))
    } else {
        a.geometry.differs(&b.geometry)
    };
    let Some((what, found, expected)) = different else { return Ok(()) };
    let (found, expected) = (found.into(), expected.into());
    Err(ReadError::Grid { path: a.path.clone(), other: b.path.clone(), what, found, expected, remedy })
}
